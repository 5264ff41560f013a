"""What distinguishes two runs: their data, configuration, code and scores."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from trainer.analysis.run_record import RunRecord
from trainer.config import budget_keys
from trainer.config.run_config import RUNTIME_ONLY_KEYS, repeats_runtime_key
from trainer.runs import run_dir
from trainer.runs.run_files import MEMBERS_DIR

ABSENT = "-"
"""Stands for a key that only the other run has."""


JOINT_RUNS = "runs trained as one model"
"""Name of the number of runs whose gradients were computed together, in another order of additions."""


@dataclass(frozen=True)
class Difference:
    """A value that differs.

    Args:
        name: Name of the value.
        first: Its text in the first run.
        second: Its text in the second run.
        note: What follows from it; empty for nothing.
    """

    name: str
    first: str
    second: str
    note: str = ""


@dataclass(frozen=True)
class RunDifference:
    """Everything that differs between two runs.

    Args:
        data: The data set and its digests.
        settings: Keys of the configuration that affect training.
        runtime: Keys that do not affect training in exact arithmetic, such as ``device``, and seconds.
        code: Packages and commit.
        scores: Scores, position and times.
    """

    data: list[Difference]
    settings: list[Difference]
    runtime: list[Difference]
    code: list[Difference]
    scores: list[Difference]


def diff_runs(first: RunRecord, second: RunRecord) -> RunDifference:
    """Compare two runs.

    Args:
        first: A run.
        second: The run that differences refer to: ``+0.01`` is an increase from the first to the second one.
    """
    configs = budget_keys.drop_unused_length(first.config), budget_keys.drop_unused_length(second.config)
    keys = [key for key in [*dict.fromkeys([*configs[0], *configs[1]])] if key not in ("model", "data", "task")]
    options = _compare(first.results["options"], second.results["options"])
    runtime = [key for key in keys if all(_is_runtime(key, config) for config in configs)]
    settings = options + _compare(*configs, keys=[key for key in keys if key not in runtime])
    data = [each for each in settings if each.name.split(".")[0] == "data"]
    return RunDifference(
        data=data + _compare_data(first, second),
        settings=[each for each in settings if each not in data],
        runtime=_compare(*configs, keys=runtime) + _compare_machine(first, second) + _compare_seconds(first, second),
        code=_compare_code(first, second),
        scores=_compare_scores(first, second),
    )


def _is_runtime(key: str, config: Mapping[str, Any]) -> bool:
    group, _, name = key.partition(".")
    return group in RUNTIME_ONLY_KEYS or repeats_runtime_key(name, config.get(key), config)


def _compare(
    first: Mapping[str, Any], second: Mapping[str, Any], keys: Iterable[str] | None = None
) -> list[Difference]:
    names = dict.fromkeys([*first, *second]) if keys is None else keys
    return [
        Difference(name, _format(first, name), _format(second, name))
        for name in names
        if _format(first, name) != _format(second, name)
    ]


def _format(values: Mapping[str, Any], name: str) -> str:
    if name not in values:
        return ABSENT
    value = values[name]
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def _compare_data(first: RunRecord, second: RunRecord) -> list[Difference]:
    found = []
    for key, name in (("data_digest", "contents of the files"), ("exact_data_digest", "bytes of the files")):
        digests = [each.results.get(key) for each in (first, second)]
        if digests[0] != digests[1]:
            old, new = (ABSENT if digest is None else str(digest)[:12] for digest in digests)
            found.append(Difference(name, old, new))
    return found


def _compare_machine(first: RunRecord, second: RunRecord) -> list[Difference]:
    """Compare the device and the number of threads that were in fact used, and of runs that were trained together."""
    keys = ("device", "threads")
    values = [
        {**{f"{key} used": each.results.get(key) for key in keys}, JOINT_RUNS: _count_joint_runs(each)}
        for each in (first, second)
    ]
    return _compare(*values)


def _count_joint_runs(record: RunRecord) -> int:
    """Return the number of runs that were trained as one model with a run, or with a member of an ensemble."""
    members = (run_dir.read_results(path) for path in (record.path / MEMBERS_DIR).glob("*"))
    return max(results.get("joint_runs") or 1 for results in (record.results, *members))


def _compare_code(first: RunRecord, second: RunRecord) -> list[Difference]:
    versions = [{**each.results.get("versions", {}), "commit": each.results.get("git")} for each in (first, second)]
    changes = [{"changes": list(each.results.get("changes", ()))} for each in (first, second)]
    return _compare(*versions) + _compare(*changes)


def _compare_scores(first: RunRecord, second: RunRecord) -> list[Difference]:
    found = []
    for group in ("test", "val", "baseline", "best_possible"):
        scores = [each.results.get(group, {}) for each in (first, second)]
        for name in dict.fromkeys([*scores[0], *scores[1]]):
            values = scores[0].get(name), scores[1].get(name)
            directions = first.results.get("higher_is_better", {}), second.results.get("higher_is_better", {})
            is_higher_better = directions[0].get(name, directions[1].get(name))
            if not _is_equal(*values):
                found.append(_describe_change(f"{group}.{name}", values[0], values[1], is_higher_better))
    others = [
        {key: each.results.get(key) for key in ("best_epoch", "epochs", "steps", "params")} | {"status": each.status}
        for each in (first, second)
    ]
    return found + _compare(*others)


def _compare_seconds(first: RunRecord, second: RunRecord) -> list[Difference]:
    seconds = [float(each.results.get("seconds") or 0.0) for each in (first, second)]
    if min(seconds) <= 0.0 or seconds[0] == seconds[1]:
        return []
    return [Difference("seconds", f"{seconds[0]:.1f}", f"{seconds[1]:.1f}", f"x{seconds[1] / seconds[0]:.2f}")]


def _is_equal(first: float | None, second: float | None) -> bool:
    both_nan = first is not None and second is not None and math.isnan(first) and math.isnan(second)
    return both_nan or first == second


def _describe_change(name: str, first: float | None, second: float | None, is_higher_better: bool | None) -> Difference:
    old, new = (ABSENT if value is None else f"{value:.6g}" for value in (first, second))
    if first is None or second is None or not math.isfinite(second - first):
        return Difference(name, old, new)
    change = second - first
    verdict = "" if is_higher_better is None else " better" if (change > 0) == is_higher_better else " worse"
    return Difference(name, old, new, f"{change:+.3g}{'' if name.startswith(('baseline', 'best')) else verdict}")
