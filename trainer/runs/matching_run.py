"""Search for ``resume=auto``: runs of a configuration on the same or on different data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainer.config import migrations
from trainer.config.run_config import Config
from trainer.runs import run_dir, saved_run
from trainer.utils.errors import UserError


def find_matching_run(config: Config, preferred: Path, name: str | None = None) -> Path | None:
    """Find the newest run of this configuration on this data, unfinished ones first; None if there is none.

    Args:
        config: Configuration with the fingerprint of the data.
        preferred: Only this directory is searched if it exists, else all runs.
        name: Name that the directory must have.
    """

    def is_match(results: dict[str, Any]) -> bool:
        return _identity(results) == config.config_hash and _may_have_same_data(results, config)

    return run_dir.find_run(is_match, preferred, name)


def describe_other_data(config: Config, preferred: Path, name: str | None = None) -> str:
    """Describe a run of this configuration on different data, and how to resume it; empty if there is none.

    Args:
        config: Configuration with the fingerprint of the data.
        preferred: Only this directory is searched if it exists, else all runs.
        name: Name that the directory must have.
    """

    def is_of_other_data(results: dict[str, Any]) -> bool:
        digest = results.get("data_digest")
        is_other = digest != config.data_digest or not _may_have_same_data(results, config)
        return isinstance(digest, str) and is_other and _identity(results) == config.compute_config_hash(digest)

    path = None if config.data_digest is None else run_dir.find_run(is_of_other_data, preferred, name)
    if path is None:
        return ""
    status = run_dir.read_results(path).get("status")
    hint = "" if status == "finished" else f": train resume {path} describes what has changed"
    return f" ({path}, {status}, has this configuration on different data{hint})"


def _may_have_same_data(results: dict[str, Any], config: Config) -> bool:
    """Return whether every byte of the data files is the same, as far as it was recorded."""
    saved, current = results.get("exact_data_digest"), config.exact_data_digest
    return saved is None or current is None or saved == current


def _identity(results: dict[str, Any]) -> str | None:
    """Return the identity of a run; for a run of an earlier version, as the current version computes it."""
    if not results or migrations.get_identity_version(results) == migrations.FORMAT_VERSION:
        return results.get("identity")
    try:
        return saved_run.load(Path(results["run_dir"])).compute_config_hash(results.get("data_digest"))
    except UserError:
        return None
