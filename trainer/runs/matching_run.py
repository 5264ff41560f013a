"""Search for ``resume=auto``: runs of a configuration on the same or on different data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from trainer.config import budget_keys, migrations
from trainer.config.run_config import Config
from trainer.runs import run_dir, run_finder, saved_run
from trainer.runs.run_command import format_saved_command
from trainer.runs.run_files import find_run_files
from trainer.utils.errors import UserError

MAX_SHARDS = 64
"""Largest number of shards of a run that is recognized as one of the same configuration with other shards."""


def find_matching_run(config: Config, preferred: Path, name: str | None = None) -> Path | None:
    """Find the newest run of this configuration on this data, unfinished ones first; None if there is none.

    Args:
        config: Configuration with the fingerprint of the data.
        preferred: Only this directory is searched if it exists, else all runs.
        name: Name that the directory must have.
    """

    def is_match(results: dict[str, Any]) -> bool:
        identities = _identity(results), results.get("budget_identity")
        return config.config_hash in identities and _may_have_same_data(results, config)

    return run_finder.find_run(is_match, preferred, name)


def list_finished_runs() -> dict[str, dict[str, Any]]:
    """Return the results of all finished runs by their identity, the newest one of each."""
    # A directory may have been moved since its results were written.
    results = (
        values | {"run_dir": str(file.parent)}
        for file in _list_results_files()
        if (values := run_dir.read_results(file.parent))
    )
    finished = (item for item in results if item.get("status") == "finished")
    return {identity: item for item in finished if (identity := _identity(item)) is not None}


def _list_results_files() -> list[Path]:
    """Return the results files of all runs, oldest first."""
    files = find_run_files(Path(run_dir.RUNS_ROOT), [run_dir.RESULTS_FILE])
    return [file for _, file in sorted((file.stat().st_mtime_ns, file) for file in files)]


def select_finished_run(config: Config, finished: dict[str, dict[str, Any]]) -> Path | None:
    """Return the finished run of a configuration on its data; None if there is none.

    Args:
        config: Configuration with the fingerprint of the data.
        finished: Result of ``list_finished_runs``.
    """
    results = finished.get(config.config_hash)
    return Path(results["run_dir"]) if results is not None and _may_have_same_data(results, config) else None


def with_saved_steps(config: Config, path: Path) -> Config:
    """Return the configuration of a command line with the steps that a matching run has fixed for its budget, if any.

    Args:
        config: Configuration of the command line.
        path: Directory of the run.
    """
    if not budget_keys.is_unfixed(config.tree):
        return config
    return budget_keys.with_saved_steps(config, saved_run.load(path, config.settings.plugins))


def describe_similar_run(config: Config, preferred: Path, name: str | None = None) -> str:
    """Describe a run that only its data or its number of shards distinguishes, and how to resume it; empty if none is.

    Args:
        config: Configuration with the fingerprint of the data.
        preferred: Only this directory is searched if it exists, else all runs.
        name: Name that the directory must have.
    """
    return _describe_other_data(config, preferred, name) or _describe_other_shards(config, preferred, name)


def _describe_other_data(config: Config, preferred: Path, name: str | None) -> str:
    def is_of_other_data(results: dict[str, Any]) -> bool:
        digest = results.get("data_digest")
        is_other = digest != config.data_digest or not _may_have_same_data(results, config)
        return isinstance(digest, str) and is_other and _identity(results) == config.compute_config_hash(digest)

    path = None if config.data_digest is None else run_finder.find_run(is_of_other_data, preferred, name)
    if path is None:
        return ""
    status = run_dir.read_results(path).get("status")
    hint = "" if status == "finished" else f": {format_saved_command('resume', path)} describes what has changed"
    return f" ({path}, {status}, has this configuration on different data{hint})"


def _describe_other_shards(config: Config, preferred: Path, name: str | None) -> str:
    """Describe an unfinished run with another number of shards, which by default is that of its processes."""
    own = config.settings.shards or 1
    shards_by_identity = {
        replace(config, tree={**config.tree, "shards": shards}).compute_config_hash(config.data_digest): shards
        for shards in range(1, MAX_SHARDS + 1)
        if shards != own
    }

    shards_by_path: dict[Path, int] = {}

    def is_unfinished(results: dict[str, Any]) -> bool:
        shards = None if results.get("status") == "finished" else shards_by_identity.get(str(_identity(results)))
        if shards is None or not _may_have_same_data(results, config):
            return False
        shards_by_path[Path(results["run_dir"])] = shards
        return True

    path = run_finder.find_run(is_unfinished, preferred, name)
    if path is None:
        return ""
    shards = shards_by_path[path]
    command = format_saved_command("resume", path)
    return f" ({path}, unfinished, has this configuration with shards={shards}: {command} continues it)"


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
