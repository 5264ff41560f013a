"""Finished runs below a directory, distinguished by their resolved configuration."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, cast

import yaml

from trainer.config import migrations, yaml_limits
from trainer.config.compose import RUNTIME_ONLY_KEYS
from trainer.core.metric import Metric
from trainer.metrics.registry import find_metric
from trainer.runs import results as result
from trainer.runs import run_dir
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
    """Results of a run, and its configuration by dotted key; ``mtime_ns`` is when it ended."""

    results: Mapping[str, Any]
    config: Mapping[str, Any]
    mtime_ns: int

    @property
    def monitor(self) -> str:
        return str(self.results["monitor"])

    @property
    def metric(self) -> Metric | None:
        """The monitored metric with its direction; None where neither the run nor the registry knows it."""
        return find_metric(self.monitor, self.results.get("higher_is_better", {}))

    @cached_property
    def explicit_overrides(self) -> dict[str, Any]:
        """The overrides of its command line, the last one of each key."""
        nodes = {group: {"_target_": self.config.get(f"{group}._target_")} for group in ("model", "data", "task")}
        overrides = migrations.migrate_overrides(self.results["overrides"], nodes)
        pairs = (text.lstrip("+~").partition("=") for text in overrides)
        return {key: _parse_override_value(value) for key, _, value in pairs}

    def get_value(self, key: str) -> Any:
        """Return the value of a key, or the option of a group."""
        for known in (self.config, self.results.get("options", {}), self.explicit_overrides):
            if key in known:
                return known[key]
        return None

    @property
    def data_digest(self) -> str:
        """Digest of the user files it was trained on; empty where there are none, or it is unknown."""
        return str(self.results.get("data_digest") or "")

    @cached_property
    def setting_key(self) -> str:
        """Everything that determines training except seed and fold."""
        kept = {
            key: value for key, value in self.config.items() if not is_ignored_key(key) and key not in REPLICATE_KEYS
        }
        options = sorted((k, canonicalize_value(v)) for k, v in kept.items())
        return repr((self.results["model"], self.results["data"], self.data_digest, options))

    @cached_property
    def data_options(self) -> dict[str, Any]:
        """Options of its data set except the fold."""
        return {
            key: value
            for key, value in self.config.items()
            if key.startswith("data.") and key not in REPLICATE_KEYS and not is_ignored_key(key)
        }

    @property
    def replicate_key(self) -> tuple[str, str]:
        """Seed and fold of the run within its setting."""
        seed = self.get_value("seed")
        return str(self.results.get("seed") if seed is None else seed), str(self.get_value("data.fold"))


def is_ignored_key(key: str) -> bool:
    """Return whether a key does not distinguish settings, or has a column of its own."""
    parts = key.split(".")
    if parts[0] == "callbacks":  # those of the user's may do anything to what is trained
        return False
    is_neutral = parts[0] in RUNTIME_ONLY_KEYS or parts[-1] in RUNTIME_ONLY_KEYS
    return key in ("model", "data") or key.startswith("hydra") or is_neutral


def read_runs(path: Path) -> list[FinishedRun]:
    """Read the finished runs with scores below a directory, ordered by name.

    Runs whose score was never a number selected no weights and are left out, as are feature extractors.
    """
    files = {file.resolve(): file for file in sorted(path.glob(f"**/{run_dir.RESULTS_FILE}"))}
    found = []
    for file in files.values():
        results = run_dir.read_results(file.parent)
        if results.get("status") != "finished" or not results.keys() >= REQUIRED_KEYS:
            continue
        wrong = result.find_wrong_types(results)
        if wrong:
            log.warning("%s is left out: %s", file, wrong[0])
        elif _is_scored(results):
            is_helper = file.parent.parent.name == run_dir.CLASSIFIERS_DIR and not results["overrides"]
            if not is_helper:
                found.append(FinishedRun(results, _read_config_keys(file.parent, results), file.stat().st_mtime_ns))
    return found


def _is_scored(results: Mapping[str, Any]) -> bool:
    """Return whether the monitored score exists."""
    return all(results["monitor"] in results[split] for split in ("val", "test"))


def _read_config_keys(path: Path, results: Mapping[str, Any]) -> dict[str, Any]:
    """Read the configuration of a run by dotted key; if the file is lost, its overrides."""
    try:
        read = _load_yaml(yaml_limits.read_yaml(path / run_dir.CONFIG_FILE))
    except ConfigError:
        read = None
    if isinstance(read, dict):
        version = read.pop(migrations.KEY, 1)
        read = migrations.migrate_config(read, version) if isinstance(version, int) else read
        found = dict(_flatten_keys(read, ""))
    else:
        pairs = (str(text).lstrip("+~").partition("=") for text in results["overrides"])
        found = {key: _parse_override_value(value) for key, _, value in pairs if not key.startswith("hydra")}
    paths = {key: os.path.relpath(found[key]) for key in PATH_KEYS if isinstance(found.get(key), str) and found[key]}
    return found | paths


def _flatten_keys(node: Mapping[str, Any], prefix: str) -> Iterable[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _flatten_keys(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


class _Loader(yaml.SafeLoader):
    """YAML loader that keeps dates as text, as Hydra does."""

    yaml_implicit_resolvers: ClassVar = {
        first: [pair for pair in pairs if pair[0] != "tag:yaml.org,2002:timestamp"]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def _load_yaml(text: str) -> Any:
    """Load a YAML text. Raises ConfigError for invalid or excessive YAML."""
    yaml_limits.check_text(text, "a value")
    try:
        found = _Loader(text).get_single_data()
        repr(found)  # Python refuses to print a whole number of thousands of digits
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError) as error:  # of a tag, as !!bool x
        raise ConfigError(f"not YAML: {error}") from error
    return found


def _parse_override_value(text: str) -> Any:
    """Parse the value of an override; its text where it is not YAML."""
    try:
        return _load_yaml(text)
    except ConfigError:
        return text


def canonicalize_value(value: object) -> str:
    """Return the same text for equal values, such as 1 and 1.0."""
    is_exact = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53
    return repr(float(cast(int, value))) if is_exact else repr(value)
