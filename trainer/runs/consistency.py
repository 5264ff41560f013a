"""Consistency of a run directory: configuration, results and checkpoints must describe the same run."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainer.config import migrations, secret_masking
from trainer.config.run_config import drop_runtime_keys
from trainer.core.task import Task
from trainer.engine import checkpoint, checkpoint_schema, renamed_state
from trainer.engine.checkpoint import LAST
from trainer.runs import hub_folder, recovery, run_dir, saved_run
from trainer.runs.run_command import format_saved_command
from trainer.utils.errors import ConfigError
from trainer.utils.text import format_dtype, join_names

log = logging.getLogger(__name__)

MAX_PROBLEMS = 5
DECISIONS = f"the decisions in {checkpoint.BEST}"
"""Name of the decisions in messages about what a run has lost."""


class ForeignWeightsError(ConfigError):
    """The weights of a checkpoint do not fit the model."""


def check_run(path: Path, state: Mapping[str, Any], file: Path) -> None:
    """Compare the configuration and results of a run directory with the run metadata of a checkpoint in it.

    Args:
        path: The run directory.
        state: The checkpoint.
        file: Its file, for messages.

    Raises:
        ConfigError: They differ, because one was edited or belongs to another run.
    """
    checkpoint_schema.check_plain_state(state, file)
    metadata = state["run_metadata"]
    raw, _ = saved_run.read_config(path)
    results = recovery.read_results(path)
    config, saved_config = (drop_runtime_keys(secret_masking.mask_tree(tree)) for tree in (raw, metadata["config"]))
    problems = [
        *_find_differences(recovery.find_file(path, run_dir.CONFIG_FILE), config, saved_config, file),
        *_find_differences(
            recovery.find_file(path, run_dir.RESULTS_FILE), *_select_common_keys(results, metadata), file
        ),
    ]
    if problems:
        more = [f"and {len(problems) - MAX_PROBLEMS} more"] if len(problems) > MAX_PROBLEMS else []
        raise ConfigError(*problems[:MAX_PROBLEMS], *more, "one of the two was edited or belongs to another run")


def _select_common_keys(
    results: Mapping[str, Any], metadata: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the keys that results and a checkpoint share; a seed from the environment is in the results only.

    Excluded are the digest of the data, because the results of a run resumed with changed data have the current one,
    and the identity of a run resumed from a checkpoint of an earlier version, which hashed other class paths.
    """
    options = metadata["options"]
    expected = {"options": options}
    if migrations.get_identity_version(results) == migrations.get_identity_version(metadata):
        expected["identity"] = metadata.get("identity")
    expected |= {group: options[group] for group in ("model", "data", "task") if group in options}
    if isinstance(seed := metadata["config"].get("seed"), int):
        expected["seed"] = seed
    return {key: results.get(key) for key in expected}, expected


def find_best(path: Path) -> Path:
    """Return the file of a run directory or hub folder with the best weights, which may not exist."""
    return path / (hub_folder.WEIGHTS_FILE if hub_folder.is_hub_folder(path) else checkpoint.BEST)


def load_best(path: Path, *, mmap: bool = False) -> dict[str, Any]:
    """Load the state of the best weights of a run directory or hub folder, checked as by ``check_run``.

    Args:
        path: The run directory or hub folder.
        mmap: Whether the tensors of a run directory are mapped, as in ``checkpoint.load_checkpoint``.

    Raises:
        ConfigError: There is no such state, it is damaged, or it belongs to another run.
    """
    file = find_best(path)
    if not file.exists() and (status := recovery.read_results(path).get("status")) not in (None, "finished"):
        command = format_saved_command("resume", path)
        raise ConfigError(f"{path} has no {file.name} yet: its run is {status}; {command} continues it")
    is_checkpoint = file.name == checkpoint.BEST
    state = checkpoint.load_checkpoint(file, mmap=mmap) if is_checkpoint else hub_folder.load_state(path)
    best = checkpoint.migrate_state(state, file)
    check_run(path, best, file)
    return best


def is_best_lost(path: Path, state: Mapping[str, Any] | None, epoch: int | None) -> bool:
    """Check whether the best weights of a finished run are missing, but can be restored from its last state.

    Args:
        path: The run directory.
        state: The last state; None if there is none.
        epoch: Epoch of the best weights; None if all scores were NaN, so that none were saved.

    Raises:
        ConfigError: The best weights are lost, damaged, or not those that the last state refers to.
    """
    file = path / checkpoint.BEST
    if epoch is None and not file.exists():
        return False
    try:
        best = load_best(path)
        problems = (
            []
            if state is None
            else list(_find_differences(file, _best_position(best), _best_position(state["best"]), path / LAST))
        )
    except ConfigError as error:
        problems = list(error.problems)
    if not problems:
        return False
    if state is None or not _contains_best_weights(state):
        raise ConfigError(*problems, f"it cannot be restored: {_describe_other_weights(state)}")
    if os.path.lexists(file):
        command = format_saved_command("resume", path)
        raise ConfigError(*problems, f"{LAST} contains the same weights: remove {file}, and {command} restores it")
    return True


def extract_best(state: Mapping[str, Any]) -> dict[str, Any]:
    """Extract the checkpoint of the best weights, without decisions, from a last state that contains them."""
    return {
        "task": state["task"],
        **state["best"],
        "decisions": {},
        **{key: state[key] for key in (migrations.KEY, "run_metadata", "data")},
    }


def find_missing_weights(
    path: Path, state: Mapping[str, Any] | None, epoch: int | None, decisions: Mapping[str, float]
) -> list[str]:
    """Return what is missing of the best weights of a finished run: their file, or the decisions in it.

    Args:
        path: The run directory.
        state: The last state; None if there is none.
        epoch: Epoch of the best weights; None if all scores were NaN, so that none were saved.
        decisions: Decisions that the results of the run list.

    Raises:
        ConfigError: As ``is_best_lost``.
    """
    if is_best_lost(path, state, epoch):
        return [checkpoint.BEST]
    return [DECISIONS] if decisions and not load_best(path)["decisions"] else []


def _best_position(best: Mapping[str, Any]) -> dict[str, Any]:
    return {key: best.get(key) for key in ("epoch", "step", "score")}


def _contains_best_weights(state: Mapping[str, Any]) -> bool:
    """Return whether the last state contains the best weights: there is no later step and no EMA."""
    param_groups = state["param_groups"].values() if isinstance(state["param_groups"], Mapping) else [None]
    has_no_ema = all(isinstance(group, Mapping) and group.get("ema", 0) is None for group in param_groups)
    return bool(state["best"]["step"] == state["position"]["step"]) and has_no_ema


def _describe_other_weights(state: Mapping[str, Any] | None) -> str:
    if state is None:
        return f"there is no {LAST} either"
    best, last = state["best"]["step"], state["position"]["step"]
    last_text = f"of step {last}" if best != last else "before they were averaged"
    return f"the best weights were those of step {best}, and {LAST} contains those {last_text}; train a new run"


def load_weights(task: Task, state: Mapping[str, Any], file: Path) -> None:
    """Load the weights of a checkpoint into a task.

    Args:
        task: The task.
        state: The checkpoint.
        file: Its file, for messages.

    Raises:
        ConfigError: The weights do not fit the task or are not finite.
    """
    state = renamed_state.rename_parameters(state, task)
    check_weights(task, state, file)
    task.load_state_dict(state["task"])


def load_decisions(task: Task, best: Mapping[str, Any], file: Path) -> None:
    """Load the decisions of a checkpoint into a task, and warn if they have not been fitted yet.

    Args:
        task: The task.
        best: Checkpoint of the best weights.
        file: Its file, for messages.

    Raises:
        ConfigError: They are not those of the task.
    """
    check_decisions(task, best, file)
    task.decisions = dict(best["decisions"])
    missing = task.example_decisions().keys() - task.decisions.keys()
    if missing:
        names = join_names(sorted(missing))
        log.warning(
            "%s contains no %s, which the end of training fits on the validation rows: train resume %s",
            file,
            names,
            file.parent,
        )


def check_decisions(task: Task, best: Mapping[str, Any], file: Path) -> None:
    """Check that the decisions of a checkpoint are those that a task fits, or that none are fitted yet.

    Args:
        task: The task.
        best: Checkpoint of the best weights.
        file: Its file, for messages.

    Raises:
        ConfigError: A value is missing, unknown, not finite, or has another shape or dtype.
    """
    if best["decisions"]:
        problems = _find_tensor_problems(best["decisions"], task.example_decisions(), "task")
        _raise_problems(file, "decisions", problems, "its decisions do not belong to the task of its run")


def check_weights(task: Task, state: Mapping[str, Any], file: Path) -> None:
    """Check that the weights of a checkpoint fit a task.

    Args:
        task: The task.
        state: The checkpoint.
        file: Its file, for messages.

    Raises:
        ForeignWeightsError: A tensor is missing, unknown, not finite, or has another shape or dtype.
        ConfigError: There are no weights.
    """
    weights, model_state = state.get("task"), task.state_dict()
    if not isinstance(weights, Mapping):
        raise ConfigError(f"{file}: it contains no weights (task)")
    problems = _find_tensor_problems(weights, model_state, "model")
    _raise_problems(file, "task", problems, "its weights do not belong to the model of its run", ForeignWeightsError)


def _raise_problems(
    file: Path, key: str, problems: Iterable[tuple[str, str]], conclusion: str, kind: type[ConfigError] = ConfigError
) -> None:
    messages = [f"{file}: {key}.{name}: {problem}" for name, problem in problems]
    if messages:
        raise kind(*messages[:MAX_PROBLEMS], conclusion)


def _find_tensor_problems(
    weights: Mapping[Any, Any], expected: Mapping[str, Tensor], owner: str
) -> Iterator[tuple[str, str]]:
    """Yield name and problem of each tensor that does not match an expected one of a model or task."""
    for name, value in expected.items():
        weight = weights.get(name)
        if not isinstance(weight, Tensor):
            yield name, "missing" if weight is None else "not a tensor"
        elif weight.shape != value.shape or weight.dtype != value.dtype:
            yield name, f"{_describe_tensor(weight)}; the {owner} has {_describe_tensor(value)}"
        elif weight.is_floating_point() and not bool(torch.isfinite(weight).all()):
            yield name, "contains values that are not finite"
    for name in weights:
        if name not in expected:
            yield str(name), f"the {owner} has no such tensor"


def _describe_tensor(value: Tensor) -> str:
    return f"{format_dtype(value.dtype)} {list(value.shape)}"


def _find_differences(file: Path, value: Any, other_value: Any, other_file: Path, path: str = "") -> Iterator[str]:
    """Describe the keys in which two mappings differ."""
    if isinstance(value, Mapping) and isinstance(other_value, Mapping):
        for key in dict.fromkeys((*value, *other_value)):
            yield from _find_differences(
                file, value.get(key), other_value.get(key), other_file, f"{path}.{key}" if path else str(key)
            )
    elif value != other_value:
        yield f"{file}: {path} is {value!r}; {other_file.name} has {other_value!r}"
