"""Finished runs below a directory, distinguished by their resolved configuration."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, cast

import yaml

from trainer.config import budget_keys, ensemble_keys, init_keys, migrations, parallel_keys, yaml_limits
from trainer.config.run_config import RUNTIME_ONLY_KEYS, drop_neutral_keys, repeats_runtime_key
from trainer.core.metric import Metric
from trainer.metrics.registry import find_metric
from trainer.runs import results as result
from trainer.runs import run_dir
from trainer.runs.run_files import find_run_files
from trainer.utils.errors import ConfigError

log = logging.getLogger(__name__)

REQUIRED_KEYS = {
    "monitor",
    "val",
    "test",
    "baseline",
    "best_possible",
    "overrides",
    "data",
    "model",
    "params",
    "seconds",
}
"""Keys that a results file must have."""
REPLICATE_KEYS = ("seed", "data.fold")
"""Keys in which the replicates of one setting differ."""
PATH_KEYS = ("data.path", "data.test_path")


@dataclass(frozen=True)
class FinishedRun:
    """A finished run with its results and configuration.

    Args:
        results: Contents of ``results.json``.
        config: Configuration by dotted key.
        mtime_ns: Modification time of the results, in nanoseconds.
        path: The run directory.
        failed_replicates: Seeds and folds of its setting that have failed, as those that diverged, and have no score.
    """

    results: Mapping[str, Any]
    config: Mapping[str, Any]
    mtime_ns: int
    path: Path
    failed_replicates: frozenset[tuple[str, str]] = frozenset()

    @property
    def monitor(self) -> str:
        """Name of the monitored metric."""
        return str(self.results["monitor"])

    @property
    def metric(self) -> Metric | None:
        """The monitored metric with its direction; None if the direction is unknown."""
        return find_metric(self.monitor, self.results.get("higher_is_better", {}))

    @cached_property
    def explicit_overrides(self) -> dict[str, Any]:
        """Overrides of its command line, the last one of each key."""
        nodes = {group: {"_target_": self.config.get(f"{group}._target_")} for group in ("model", "data", "task")}
        overrides = migrations.migrate_overrides(self.results["overrides"], nodes)
        pairs = (text.lstrip("+~").partition("=") for text in overrides)
        return {key: _parse_override_value(value) for key, _, value in pairs}

    def get_value(self, key: str) -> Any:
        """Return the value of a key, or the option of a group."""
        for source in (self.config, self.results.get("options", {}), self.explicit_overrides):
            if key in source:
                return source[key]
        return None

    @property
    def data_digest(self) -> str:
        """Digest of the user's data files; empty if there are none or it is unknown."""
        return str(self.results.get("data_digest") or "")

    @cached_property
    def setting_key(self) -> str:
        """Text that identifies everything that determines training, except seed and fold."""
        setting = {
            key: value
            for key, value in self.config.items()
            if not self.is_ignored_key(key) and key not in REPLICATE_KEYS
        }
        options = sorted((k, canonicalize_value(v)) for k, v in setting.items())
        return repr((self.results["model"], self.results["data"], self.data_digest, options))

    @cached_property
    def data_options(self) -> dict[str, Any]:
        """Options of its data set except the fold."""
        return {
            key: value
            for key, value in self.config.items()
            if key.startswith("data.") and key not in REPLICATE_KEYS and not self.is_ignored_key(key)
        }

    @property
    def replicate_key(self) -> tuple[str, str]:
        """Seed and fold of the run within its setting."""
        seed = self.get_value("seed")
        return str(self.results.get("seed") if seed is None else seed), str(self.get_value("data.fold"))

    def is_ignored_key(self, key: str) -> bool:
        """Return whether a key does not distinguish settings, or has a column of its own."""
        group, _, name = key.partition(".")
        is_runtime_key = group in RUNTIME_ONLY_KEYS or repeats_runtime_key(name, self.get_value(key), self.config)
        # The seeds of a setting with a budget have slightly different numbers of steps.
        is_length = key == ("budget" if self.get_value("budget") is None else "max_steps")
        is_other = is_runtime_key or is_length or self._follows_seed(key)
        return key in ("model", "data") or key.startswith("hydra") or is_other

    def _follows_seed(self, key: str) -> bool:
        """Return whether a key has the seed of the run as its default, as that of an augmentation."""
        group, _, name = key.partition(".")
        is_default = name == "seed" and group != "data" and key not in self.explicit_overrides
        return is_default and self.config.get(key) == self.config.get("seed")


def read_runs(path: Path) -> list[FinishedRun]:
    """Read the finished runs with scores below a directory, ordered by name.

    Runs that have failed, or whose scores were all NaN, have no best weights and are left out; those of the same
    setting name them. Feature networks of FID and runs with ``debug=fast`` are left out, too.
    """
    files = {file.resolve(): file for file in sorted(find_run_files(path, [run_dir.RESULTS_FILE]))}
    ended = [run for file in files.values() if (run := _read_ended_run(file)) is not None]
    scored = [run for run in ended if _is_scored(run.results)]
    failed: dict[str, set[tuple[str, str]]] = {}
    for run in ended:
        if not _is_scored(run.results):
            failed.setdefault(run.setting_key, set()).add(run.replicate_key)
    if not failed:
        return scored
    for run in scored:  # those that were trained again
        failed.get(run.setting_key, set()).discard(run.replicate_key)
    return [replace(run, failed_replicates=frozenset(failed.get(run.setting_key, ()))) for run in scored]


def _read_ended_run(file: Path) -> FinishedRun | None:
    """Read a run that is finished or has failed; None for another one, or one that is in no comparison."""
    results = run_dir.read_results(file.parent)
    is_ended = results.get("status") in ("finished", "failed") and results.keys() >= REQUIRED_KEYS
    if not is_ended or results.get("debug"):
        return None
    problems = result.find_wrong_types(results)
    if problems:
        log.warning("%s is left out: %s", file, problems[0])
        return None
    if file.parent.parent.name == run_dir.CLASSIFIERS_DIR and not results["overrides"]:
        return None
    return read_run(file.parent, results)


def read_run(path: Path, results: Mapping[str, Any]) -> FinishedRun:
    """Read the configuration of a finished run.

    Args:
        path: The run directory.
        results: Its results, with ``REQUIRED_KEYS``.
    """
    file = path / run_dir.RESULTS_FILE
    mtime_ns = file.stat().st_mtime_ns if file.is_file() else 0  # of results recovered from a checkpoint
    return FinishedRun(results, _read_config_keys(path, results), mtime_ns, path)


def _is_scored(results: Mapping[str, Any]) -> bool:
    """Return whether a run is finished, and its monitored validation and test scores exist."""
    has_scores = all(results["monitor"] in results[split] for split in ("val", "test"))
    return results["status"] == "finished" and has_scores


def _read_config_keys(path: Path, results: Mapping[str, Any]) -> dict[str, Any]:
    """Read the configuration of a run by dotted key; if the file is lost, its overrides."""
    try:
        config = _load_yaml(yaml_limits.read_yaml(path / run_dir.CONFIG_FILE))
    except ConfigError:
        config = None
    if isinstance(config, dict):
        version = config.pop(migrations.KEY, 1)
        config = migrations.migrate_config(config, version) if isinstance(version, int) else config
        config = ensemble_keys.select_identity(parallel_keys.select_identity(init_keys.select_identity(config, None)))
        config = drop_neutral_keys(config)
        values = dict(_flatten_keys(config, ""))
    else:
        pairs = (str(text).lstrip("+~").partition("=") for text in results["overrides"])
        values = {key: _parse_override_value(value) for key, _, value in pairs if not key.startswith("hydra")}
    paths = {key: os.path.relpath(values[key]) for key in PATH_KEYS if isinstance(values.get(key), str) and values[key]}
    return budget_keys.drop_unused_length(values | paths)


def _flatten_keys(node: Mapping[str, Any], prefix: str) -> Iterable[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _flatten_keys(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


class _Loader(yaml_limits.LOADER):
    """YAML loader that keeps dates as text, as Hydra does."""

    yaml_implicit_resolvers: ClassVar = {
        first: [pair for pair in pairs if pair[0] != "tag:yaml.org,2002:timestamp"]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def _load_yaml(text: str) -> Any:
    """Load a YAML text. Raises ConfigError for invalid or excessive YAML."""
    yaml_limits.check_text(text, "a value")
    try:
        value = _Loader(text).get_single_data()
        repr(value)  # Python raises for integers with thousands of digits
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError) as error:  # of a tag, as !!bool x
        raise ConfigError(f"not YAML: {error}") from error
    return value


def _parse_override_value(text: str) -> Any:
    """Parse the value of an override; return its text if it is not YAML."""
    try:
        return _load_yaml(text)
    except ConfigError:
        return text


def canonicalize_value(value: object) -> str:
    """Return the same text for equal values, such as 1 and 1.0."""
    is_exact = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53
    return repr(float(cast(int, value))) if is_exact else repr(value)
