"""State of a trainer in a checkpoint: everything that the rest of a run depends on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainer.core import rng
from trainer.engine.strategy import STATE_KEYS
from trainer.utils.errors import ConfigError

if TYPE_CHECKING:
    from trainer.engine.trainer import Trainer


def collect_state(trainer: Trainer) -> dict[str, Any]:
    """Return the state of a trainer, as tensors and plain values.

    Args:
        trainer: The trainer.

    Raises:
        NonFiniteError: A loss or gradient was not finite; running statistics may hold it, although no weight does.
    """
    trainer.strategy.request_state()
    trainer.check_finite()
    return {
        "task": trainer.task.state_dict(),
        "param_groups": {name: group.state_dict() for name, group in trainer.param_groups.items()},
        "scaler": trainer.scaler.state_dict(),
        "random": rng.get_rng_state(trainer.device),
        "position": {"epoch": trainer.epoch, "batch": trainer.batch, "step": trainer.step},
        "running_totals": trainer.nan_guard.state_dict() | {"seconds": trainer.elapsed_seconds},
        "history": trainer.history,
        "best": trainer.best.state_dict(),
        "should_stop": trainer.should_stop,
        "callbacks": trainer.callbacks.state_dict(),
    }


def restore_state(trainer: Trainer, state: dict[str, Any], best: dict[str, Any] | None) -> None:
    """Restore the state of a trainer.

    Args:
        trainer: The trainer.
        state: Result of ``collect_state``.
        best: Checkpoint of the best weights, if there is one.

    Raises:
        ConfigError: A key of the state is missing.
    """
    if missing := STATE_KEYS - state.keys():
        raise ConfigError(f"the checkpoint lacks part of the state: {', '.join(sorted(missing))}")
    trainer.task.load_state_dict(state["task"])
    for name, group in trainer.param_groups.items():
        group.load_state_dict(state["param_groups"][name])
    trainer.scaler.load_state_dict(state["scaler"])
    trainer.epoch, trainer.batch, trainer.step = (state["position"][key] for key in ("epoch", "batch", "step"))
    trainer.task.progress.fill_(max(0, trainer.step - 1) / max(1, trainer.total_steps))
    trainer.nan_guard.load_state_dict(state["running_totals"])
    trainer.previous_seconds = state["running_totals"]["seconds"]
    trainer.history = list(state["history"])
    trainer.best.load_state_dict(state["best"], best)
    trainer.should_stop = state["should_stop"]
    trainer.callbacks.load_state_dict(state["callbacks"])
    rng.set_rng_state(state["random"], trainer.device)
