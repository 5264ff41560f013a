"""Lookup for ``resume=auto``: the run of a configuration, or one of it on other data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainer.config import migrations
from trainer.config.compose import Config
from trainer.runs import run_dir, saved_run
from trainer.utils.errors import UserError


def find_matching_run(config: Config, preferred: Path, name: str | None = None) -> Path | None:
    """Find the run of this configuration on this data, as ``run_dir.find_run`` searches."""
    return run_dir.find_run(lambda results: _identity(results) == config.config_hash, preferred, name)


def describe_other_data(config: Config, preferred: Path, name: str | None = None) -> str:
    """Describe a run of this configuration on other data, and how to resume it; empty if there is none."""

    def is_of_other_data(results: dict[str, Any]) -> bool:
        digest = results.get("data_digest")
        is_other = isinstance(digest, str) and digest != config.data_digest
        return is_other and _identity(results) == config.compute_config_hash(digest)

    path = None if config.data_digest is None else run_dir.find_run(is_of_other_data, preferred, name)
    if path is None:
        return ""
    status = run_dir.read_results(path).get("status")
    hint = "" if status == "finished" else f": train resume {path} says what has changed"
    return f" ({path}, {status}, is of this configuration when the data was other{hint})"


def _identity(results: dict[str, Any]) -> str | None:
    """Return the identity of a run; for a run saved by an earlier version, as today's version computes it."""
    if not results or results.get(migrations.KEY, 1) == migrations.FORMAT_VERSION:
        return results.get("identity")
    try:
        return saved_run.load(Path(results["folder"])).compute_config_hash(results.get("data_digest"))
    except UserError:
        return None
