"""Resuming: the last state of a run, and a trainer restored from it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainer.config.run_config import Config
from trainer.core.metric import Metric
from trainer.engine import checkpoint, checkpoint_schema, renamed_state
from trainer.engine.process_group import ProcessGroup
from trainer.engine.trainer import Trainer
from trainer.runs import consistency
from trainer.runs.results import Result
from trainer.utils.errors import ConfigError, SystemFault

log = logging.getLogger(__name__)


def load_saved_state(path: Path, *, fall_back: bool, mmap: bool = False) -> dict[str, Any] | None:
    """Load the last state of a run; None if it has none.

    Args:
        path: The run directory.
        fall_back: Whether the previous state may be loaded if the last one is damaged.
        mmap: Whether its tensors are mapped, as in ``checkpoint.load_checkpoint``.

    Raises:
        ConfigError: The state is damaged or belongs to another run.
    """
    if not checkpoint.has_checkpoint(path):
        return None
    state = checkpoint.load_newest(path, fall_back=fall_back, mmap=mmap)
    state = checkpoint.migrate_state(state, path / checkpoint.LAST)
    consistency.check_run(path, state, path / checkpoint.LAST)
    return state


def share_state(
    config: Config, path: Path, state: Mapping[str, Any] | None, process_group: ProcessGroup
) -> Mapping[str, Any] | None:
    """Return the last state of a run in each process.

    One with a sharded model may be too large for the memory of every process: each maps the file, and reads its shards.

    Args:
        config: Configuration of the run.
        path: The run directory.
        state: The state in process 0, None for a new run; the others pass anything.
        process_group: The processes, which call this together.

    Raises:
        SystemFault: This process does not find the file that process 0 has read.
    """
    if config.settings.strategy != "fsdp":
        return process_group.broadcast_state(state)
    position = process_group.broadcast_object(state and state["position"])
    if process_group.is_main or position is None:
        return state
    found = load_saved_state(path, fall_back=True, mmap=True)
    if found is None or found["position"] != position:
        raise SystemFault(
            f"{path / checkpoint.LAST} is not the state that process 0 has read; a run on several machines needs a"
            " shared folder"
        )
    return found


def with_saved_fingerprint(config: Config, state: Mapping[str, Any] | None) -> Config:
    """Return the configuration with the digests of the inputs of its run: its data, and its initial weights.

    Args:
        config: Configuration of the run.
        state: State or best weights of the run; None for a new run.
    """
    if state is None:
        return config
    metadata = state["run_metadata"]
    config = replace(config, source_digest=metadata.get("source_digest"), changes=metadata.get("changes", ()))
    return replace(config, fingerprint=state["data"]["fingerprint"]) if state["data"] else config


def warn_of_changed_code(state: Mapping[str, Any] | None, result: Result) -> None:
    """Log a warning if the packages or the commit have changed since a state was saved.

    Args:
        state: State of the run; None for a new run.
        result: Result of the run, with the current versions.
    """
    if state is None:
        return
    metadata = state["run_metadata"]
    saved = {**metadata.get("versions", {}), "commit": metadata.get("git")}
    current = {**result.versions, "commit": result.git}
    changes = [
        f"{name} {saved[name]} -> {current[name]}"
        for name in saved.keys() & current.keys()
        if saved[name] is not None and saved[name] != current[name]
    ]
    if changes:
        log.warning("the code has changed since the run was saved: %s", ", ".join(sorted(changes)))


def load_trainer_state(trainer: Trainer, state: dict[str, Any], path: Path) -> None:
    """Validate a state and restore a trainer from it.

    Args:
        trainer: The trainer, newly built.
        state: The last state.
        path: The run directory, which contains the best weights.

    Raises:
        ConfigError: The state does not belong to this trainer, or the best weights do not belong to the state.
    """
    file = path / checkpoint.LAST
    state = renamed_state.rename_parameters(state, trainer.task)
    consistency.check_weights(trainer.task, state, file)
    state = split_flat_states(trainer, state)
    checkpoint_schema.check_trained_state(state, trainer, file)
    best, last_best = None, state["best"]
    _check_direction(trainer.monitor_metric, last_best)
    if last_best["step"] is not None:
        mmap = not trainer.strategy.has_full_model
        best = renamed_state.rename_parameters(consistency.load_best(path, mmap=mmap), trainer.task)
        consistency.check_weights(trainer.task, best, path / checkpoint.BEST)
        consistency.check_decisions(trainer.task, best, path / checkpoint.BEST)
        checkpoint_schema.check_best(best, state, path / checkpoint.BEST)
        if best["step"] > last_best["step"]:
            # The run was killed between writing the two files, so that the best weights of this state are lost. The
            # next validation replaces them, and the later best weights are computed again, to the same bits.
            state = state | {"best": last_best | {"score": None, "tiebreak_score": None}}
    trainer.load_state_dict(state, best)
    if best is not None and best["step"] > last_best["step"] and trainer.is_finished():
        steps_text = (
            f"has weights of step {best['step']}; {file.name} of a run that is over, of step {last_best['step']}"
        )
        raise ConfigError(f"{path / checkpoint.BEST}: {steps_text}", "they were not saved together")


def _check_direction(metric: Metric, best: Mapping[str, Any]) -> None:
    """Raise ConfigError if the direction of the monitored metric has changed since the run was started."""
    higher_is_better = metric.higher_is_better
    if best.get("higher_is_better", higher_is_better) != higher_is_better:
        raise ConfigError(
            f"monitor: {metric.name} is declared with higher_is_better={higher_is_better}; when the run was started it"
            f" was {not higher_is_better}, which selected its best weights: resume it with that"
        )


def split_flat_states(trainer: Trainer, state: dict[str, Any]) -> dict[str, Any]:
    """Convert the flat optimizer states of checkpoint versions 1 and 2 to states by parameter name.

    Args:
        trainer: The trainer, for its parameter groups.
        state: The last state, of any version.
    """
    saved_groups = state["param_groups"]
    if not isinstance(saved_groups, Mapping):
        return state
    groups = trainer.param_groups
    states_by_name = {
        name: groups[name].split_flat_state(part) if name in groups and isinstance(part, Mapping) else part
        for name, part in saved_groups.items()
    }
    return state | {"param_groups": states_by_name}
