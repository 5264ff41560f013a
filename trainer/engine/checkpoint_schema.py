"""Schema of checkpoints: keys, types, shapes and contents, validated before they are used."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from trainer.config import migrations
from trainer.config.schema import ProcessCount
from trainer.core import rng
from trainer.core.types import NonNegativeFloat, NonNegativeInt, Number, PositiveInt, find_mismatches, format_value
from trainer.engine import checkpoint
from trainer.engine.checkpoint_position import find_position_problems
from trainer.engine.checkpoint_retention import is_retained_state
from trainer.utils import digests
from trainer.utils.errors import ConfigError

if TYPE_CHECKING:
    from trainer.engine.trainer import Trainer

RUN_SCHEMA = {"config": dict[str, object], "identity": str, "threads": ProcessCount, "options": dict[str, str]}
"""Description of the run in every checkpoint."""
OPTIONAL_RUN_SCHEMA = {
    migrations.KEY: PositiveInt,
    "overrides": list[str],
    "working_dir": str,
    "config_dirs": list[str],
    "versions": dict[str, str],
    "data": dict[str, str],
    "data_digest": str | None,
    "exact_data_digest": str | None,
    "source_digest": str | None,
    "architecture": dict[str, str],
    "changes": list[str],
    "git": str | None,
}
"""Keys of the description that format 1 may lack; ``architecture`` describes a model that was saved elsewhere."""
BEST_SCHEMA = {
    "score": Number | None,
    "tiebreak_score": Number | None,
    "epoch": NonNegativeInt | None,
    "step": NonNegativeInt | None,
    "higher_is_better": bool,
}
STATE_SCHEMA = {
    "position": {"epoch": NonNegativeInt, "batch": NonNegativeInt, "step": NonNegativeInt},
    "running_totals": {
        "sums": tuple[Number, Number],
        "steps": NonNegativeInt,
        "seconds": NonNegativeFloat,
        "skipped": {"total": NonNegativeInt, "in_row": dict[str, PositiveInt]},
    },
    "history": list[dict[str, Number]],
    "best": BEST_SCHEMA,
    "should_stop": bool,
    "callbacks": dict[str, dict[str, object]],
}
"""Parts of the last state that do not depend on what is trained."""
TRAINED_KEYS = ("task", "param_groups", "scaler", "random")
"""Parts of the last state whose schema depends on the objects of the run."""
HISTORY_ROW_SCHEMA = {
    "epoch": NonNegativeInt,
    "step": NonNegativeInt,
    "seconds": NonNegativeFloat,
    "train_loss": Number,
}
"""Columns of every row of the history."""
OPTIONAL_KEYS = {"tiebreak_score", "higher_is_better", "skipped", "update_ratio"}
"""Keys that older versions did not save, or that a state only has if there is something to save."""
MAX_PROBLEMS = 5


def check_plain_state(state: Mapping[str, Any], file: Path) -> None:
    """Validate the parts of a checkpoint that do not depend on the objects of its run.

    Args:
        state: The checkpoint.
        file: Its file; that of the best weights has other keys than ``last.pt``.

    Raises:
        ConfigError: A key is missing, unknown or invalid.
    """
    is_last = file.name in (checkpoint.LAST, checkpoint.PREVIOUS) or is_retained_state(file.name)
    schema = (
        {**STATE_SCHEMA, **dict.fromkeys(TRAINED_KEYS, object)}
        if is_last
        else {**BEST_SCHEMA, "task": object, "decisions": dict[str, object]}
    )
    expected = {migrations.KEY: object, "run_metadata": object, "data": object, **schema}
    raise_problems(file, [*_find_problems(state, expected), *_find_run_problems(state), *_find_data_problems(state)])
    if is_last:
        raise_problems(file, list(_find_history_problems(state)))


def check_trained_state(state: Mapping[str, Any], trainer: Trainer, file: Path) -> None:
    """Validate the last state against the trainer that is to be resumed.

    Args:
        state: The state, already validated by ``check_plain_state``.
        trainer: The trainer, newly built.
        file: File of the state, for messages.

    Raises:
        ConfigError: A key, shape or value does not belong to this trainer.
    """
    schema = {
        "param_groups": _param_group_schema(trainer, state["param_groups"]),
        "scaler": _infer_schema(trainer.scaler.state_dict()),
    }
    problems = [problem for key, expected in schema.items() for problem in _find_problems(state[key], expected, key)]
    problems += [f"random: {problem}" for problem in rng.find_state_problems(state["random"])]
    raise_problems(file, [*problems, *find_position_problems(state, trainer), *_find_score_problems(state, trainer)])


def check_best(best: Mapping[str, Any], state: Mapping[str, Any], file: Path) -> None:
    """Validate the best weights against the last state of their run.

    They must be those that the state refers to, or later ones, because the best weights are saved first.

    Args:
        best: Checkpoint of the best weights, already validated by ``check_plain_state``.
        state: The last state, already validated by ``check_plain_state``.
        file: File of the best weights, for messages.

    Raises:
        ConfigError: They contradict each other.
    """
    last_best, last_step = state["best"], state["position"]["step"]
    if best["step"] == last_best["step"]:
        common_keys = (key for key in ("score", "tiebreak_score", "epoch") if key in best and key in last_best)
        problems = [
            f"{key} is {best[key]!r}; {checkpoint.LAST} has {last_best[key]!r}"
            for key in common_keys
            if best[key] != last_best[key] and not (_is_nan(best[key]) and _is_nan(last_best[key]))
        ]
    else:
        is_later = best["step"] is not None and best["step"] > last_best["step"] and best["step"] >= last_step
        last_position = f"{checkpoint.LAST}, of step {last_step}, has a best of step {last_best['step']}"
        problems = [] if is_later else [f"step is {best['step']}; {last_position}"]
    raise_problems(file, problems)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def raise_problems(file: Path, problems: list[str]) -> None:
    """Raise an error with the first problems of a file, if there are any.

    Args:
        file: The file.
        problems: Descriptions of the problems.

    Raises:
        ConfigError: There are problems.
    """
    if problems:
        suffix = [f"and {len(problems) - MAX_PROBLEMS} more"] if len(problems) > MAX_PROBLEMS else []
        messages = [f"{file}: {problem}" for problem in problems[:MAX_PROBLEMS]]
        raise ConfigError(*messages, *suffix, "it was edited, or belongs to another run")


def _find_problems(value: Any, schema: Any, path: str = "") -> Iterator[str]:
    """Yield where a value differs from its schema: a mapping of schemas, an example tensor, or an annotation."""
    if isinstance(schema, Mapping):
        if not isinstance(value, Mapping):
            yield f"{path} is {format_value(value)}, not a mapping"
            return
        for key in dict.fromkeys((*schema, *value)):
            name = f"{path}.{key}" if path else str(key)
            if key not in schema:
                yield f"{name}: unknown key"
            elif key in value:
                yield from _find_problems(value[key], schema[key], name)
            elif key not in OPTIONAL_KEYS:
                yield f"{name} is missing"
    elif isinstance(schema, Tensor):
        if not isinstance(value, Tensor) or value.shape != schema.shape or value.dtype != schema.dtype:
            yield f"{path} is {format_value(value)}; this run has {format_value(schema)}"
    else:
        yield from find_mismatches(value, schema, path)


def _infer_schema(value: Any) -> Any:
    """Infer a schema from the state of a newly built object.

    Integers are counts; values that are None at first become scores later.
    """
    if isinstance(value, Mapping):
        return {key: _infer_schema(item) for key, item in value.items()}
    if value is None:
        return Number | None
    if isinstance(value, int) and not isinstance(value, bool):
        return NonNegativeInt
    return value if isinstance(value, Tensor) else type(value)


def _param_group_schema(trainer: Trainer, saved: Any) -> dict[str, Any]:
    """Return the schema of the parameter groups; the state of an optimizer is present after its first step."""
    return {
        name: _infer_schema(group.example_state_dict(has_stepped=_has_stepped(saved, name)))
        | ({"ema": type(None)} if group.ema is None else {})
        for name, group in trainer.param_groups.items()
    }


def _has_stepped(saved: Any, name: str) -> bool:
    """Return whether the optimizer of a saved group has taken a step; steps skipped after an overflow do not count."""
    for key in (name, "optimizer", "steps"):
        saved = saved.get(key) if isinstance(saved, Mapping) else None
    return not isinstance(saved, Tensor) or bool(saved.any())


def _find_run_problems(state: Mapping[str, Any]) -> Iterator[str]:
    metadata = state.get("run_metadata")
    if not isinstance(metadata, Mapping):
        yield "the description of its run (run_metadata) is missing"
        return
    optional = {key: kind for key, kind in OPTIONAL_RUN_SCHEMA.items() if key in metadata}
    yield from _find_problems(metadata, {**RUN_SCHEMA, **optional}, "run_metadata")
    yield from _find_tensor_problems(metadata.get("config"), "run_metadata.config")


def _find_tensor_problems(value: Any, path: str) -> Iterator[str]:
    """Yield the tensors in a configuration, which must consist of plain values."""
    if isinstance(value, Tensor):
        yield f"{path} is {format_value(value)}, not a plain value"
    parts = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, item in parts:
        yield from _find_tensor_problems(item, f"{path}.{key}")


def _find_data_problems(state: Mapping[str, Any]) -> Iterator[str]:
    """Yield the parts of the saved data that do not match the saved digests."""
    data, metadata = state.get("data"), state.get("run_metadata")
    saved_digests = metadata.get("data") if isinstance(metadata, Mapping) else None
    if data is None and saved_digests is None:
        return
    if not isinstance(data, Mapping) or not isinstance(saved_digests, Mapping):
        yield f"{'run_metadata.data' if isinstance(data, Mapping) else 'data'} is missing, or is not what the run saved"
        return
    current_digests = digests.digest_parts(data)
    for key in dict.fromkeys((*saved_digests, *current_digests)):
        if saved_digests.get(key) != current_digests.get(key):
            yield f"data.{key} is {'not what the run saved' if key in current_digests else 'missing'}"


def _find_history_problems(state: Mapping[str, Any]) -> Iterator[str]:
    """Yield contradictions between the history, the best epoch and the position."""
    history, best, position = state["history"], state["best"], state["position"]
    keys = history[0].keys() if history else set()
    rows = [
        problem
        for index, row in enumerate(history)
        for problem in _find_problems(
            {key: row[key] for key in HISTORY_ROW_SCHEMA if key in row}, HISTORY_ROW_SCHEMA, f"history.{index}"
        )
    ]
    if rows:
        yield from rows
        return
    if any(row.keys() != keys for row in history):
        yield "history: its rows differ in their keys"
    if any(first["epoch"] >= second["epoch"] for first, second in pairwise(history)):
        yield "history: its epochs do not increase"
    if history and history[-1]["epoch"] > position["epoch"] + 1:
        yield f"history has epoch {history[-1]['epoch']}, position.epoch is {position['epoch']}"
    # Only the score may be unknown: then the best weights are lost and the next validation replaces them.
    missing_states = {best["epoch"] is None, best["step"] is None, best["epoch"] is None and best["score"] is None}
    best_position = (best["epoch"], best["step"])
    if len(missing_states) > 1 or (
        missing_states == {False} and best_position not in [(row["epoch"], row["step"]) for row in history]
    ):
        yield f"best: there is no row of the history with epoch {best_position[0]} and step {best_position[1]}"


def _find_score_problems(state: Mapping[str, Any], trainer: Trainer) -> Iterator[str]:
    """Yield columns that the history lacks, and a best score that it does not contain."""
    needed = {f"val_{trainer.monitor}", "grad_norm", *(f"lr_{name}" for name in trainer.param_groups)}
    history, best = state["history"], state["best"]
    missing = sorted(needed - history[0].keys()) if history else []
    yield from (f"history.0.{key} is missing" for key in missing)
    if not missing and best["epoch"] is not None and best["score"] is not None:
        score = next(row for row in history if row["epoch"] == best["epoch"])[f"val_{trainer.monitor}"]
        if score != best["score"] and not (_is_nan(score) and _is_nan(best["score"])):
            yield f"best.score is {best['score']!r}; the history has {score!r}"
