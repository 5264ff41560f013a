"""Whether the files of a run folder are of one run: configuration, results and checkpoints vouch for each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainer import checkpoint, environment, folder, recovery, state_schema, stored
from trainer.config import NEUTRAL
from trainer.errors import ConfigError
from trainer.task import Task

MOST_PROBLEMS = 5


def check_run(path: Path, state: Mapping[str, Any], file: Path) -> None:
    """Compares the configuration and the results in a run folder with what a checkpoint in it says of its run.

    Raises ConfigError naming file and key of what differs: one of them was edited, or is of another run.
    """
    state_schema.check(state, file)
    about = state["about"]
    raw, _ = stored.read_config(path)
    results = recovery.read_results(path)
    problems = [
        *_differences(path / folder.CONFIG, environment.mask(raw), environment.mask(about["config"]), file),
        *_differences(path / folder.RESULTS, _vouched(results), _vouched(about), file),
    ]
    if problems:
        more = [f"and {len(problems) - MOST_PROBLEMS} more"] if len(problems) > MOST_PROBLEMS else []
        raise ConfigError(*problems[:MOST_PROBLEMS], *more, "one of the two was edited or is of another run")


def _vouched(found: Mapping[str, Any]) -> dict[str, Any]:
    """What both results and checkpoints say of a run."""
    return {key: found.get(key) for key in ("identity", "options")}


def load_best(path: Path) -> dict[str, Any]:
    """The best weights of a run, in a checkpoint that is compared as by ``check_run``."""
    file = path / checkpoint.BEST
    best = checkpoint.migrated(checkpoint.load(file), file)
    check_run(path, best, file)
    return best


def load_weights(task: Task, state: Mapping[str, Any], file: Path) -> None:
    """Loads the weights of a checkpoint into a task. Raises ConfigError as ``check_weights``."""
    check_weights(task, state, file)
    task.load_state_dict(state["task"])


def check_weights(task: Task, state: Mapping[str, Any], file: Path) -> None:
    """Raises ConfigError naming file and tensor for weights that are not those of this task, or not finite."""
    weights, own = state.get("task"), task.state_dict()
    if not isinstance(weights, Mapping):
        raise ConfigError(f"{file}: it holds no weights (task)")
    problems = [f"{file}: task.{name}: {fault}" for name, fault in _faults(weights, own)]
    if problems:
        raise ConfigError(*problems[:MOST_PROBLEMS], "its weights are not those of the model that its run describes")


def _faults(weights: Mapping[Any, Any], own: Mapping[str, Tensor]) -> Iterator[tuple[str, str]]:
    for name, value in own.items():
        found = weights.get(name)
        if not isinstance(found, Tensor):
            yield name, "missing" if found is None else "no tensor"
        elif found.shape != value.shape or found.dtype != value.dtype:
            yield name, f"{_described(found)}; the model has {_described(value)}"
        elif found.is_floating_point() and not bool(torch.isfinite(found).all()):
            yield name, "holds numbers that are not finite"
    for name in weights:
        if name not in own:
            yield str(name), "the model has no such tensor"


def _described(value: Tensor) -> str:
    return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"


def _differences(file: Path, mine: Any, theirs: Any, other: Path, at: str = "") -> Iterator[str]:
    """The keys in which two mappings differ; those that change nothing that is trained may."""
    if isinstance(mine, Mapping) and isinstance(theirs, Mapping):
        for key in dict.fromkeys((*mine, *theirs)):
            if str(key) not in NEUTRAL:
                yield from _differences(file, mine.get(key), theirs.get(key), other, f"{at}.{key}" if at else str(key))
    elif mine != theirs:
        yield f"{file}: {at} is {mine!r}; {other.name} has {theirs!r}"
