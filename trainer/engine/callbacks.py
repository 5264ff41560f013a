"""Callbacks: how training is watched and acted on, without a change of the loop."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from trainer.utils.errors import ConfigError, UserError

if TYPE_CHECKING:
    from trainer.engine.step_metrics import StepMetrics
    from trainer.engine.trainer import Trainer

log = logging.getLogger(__name__)


class Callback:
    """Base class of everything that watches a trainer; every method does nothing until it is overridden.

    A callback reads ``trainer.step``, ``trainer.epoch``, ``trainer.task``, ``trainer.history`` and so on, and ends
    training by setting ``trainer.should_stop``. What it has to remember across a stop it returns from ``state_dict``:
    a resumed run gives it back. Only ``on_evaluation_batch_end`` may be repeated by a resumed run, as a validation
    that was interrupted begins anew.
    """

    name = ""
    """How messages and checkpoints call it, as ``callbacks.my_stop``; empty takes the name of the class."""

    def on_fit_start(self, trainer: Trainer) -> None:
        """Before the first step, or the first after a resume; weights and state are in place."""

    def on_step_end(self, trainer: Trainer, metrics: StepMetrics) -> None:
        """After each optimizer step. ``metrics`` is a mapping whose values are computed when they are read."""

    def on_evaluation_batch_end(self, trainer: Trainer) -> None:
        """After each batch of validation or test rows that was scored."""

    def on_validation_end(self, trainer: Trainer, row: dict[str, float]) -> None:
        """After a validation. ``row`` is the newest row of ``trainer.history``."""

    def on_epoch_end(self, trainer: Trainer) -> None:
        """After an epoch and its validation, if it had one; ``trainer.epoch`` epochs are complete."""

    def on_checkpoint(self, trainer: Trainer, path: Path) -> None:
        """After a checkpoint was written to ``path``."""

    def on_exception(self, trainer: Trainer, error: BaseException) -> None:
        """When training ends by an exception, an interruption included; the exception goes on afterwards."""

    def on_fit_end(self, trainer: Trainer) -> None:
        """After the last step and validation; the weights are the last ones, not yet the best ones."""

    def state_dict(self) -> dict[str, Any]:
        """What is saved in the checkpoint: tensors and plain values only."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what ``state_dict`` returned when the checkpoint was saved."""


HOOKS = (
    *("on_fit_start", "on_step_end", "on_evaluation_batch_end", "on_validation_end", "on_epoch_end"),
    *("on_checkpoint", "on_exception", "on_fit_end"),
)


class CallbackList(Callback):
    """Calls the callbacks of a trainer in their order.

    An exception in a callback that is not of this package is reported as that callback's.

    Raises:
        CallbackError: A callback of the user's has raised an exception, or its state cannot be saved.
        ConfigError: The state of one of ours in a checkpoint is not what it saves there.
    """

    def __init__(self, callbacks: Sequence[Callback] = ()):
        self.callbacks = list(callbacks)
        names = [name_of(c) for c in self.callbacks if _is_overridden(c, "state_dict")]
        if len({*names}) < len(names):
            raise ValueError(f"callbacks with a state need names that differ: {', '.join(names)}")
        # Only methods that do something: a step must not pay for those that do not.
        self._hooks = {name: [c for c in self.callbacks if _is_overridden(c, name)] for name in HOOKS}

    def __iter__(self) -> Iterator[Callback]:
        return iter(self.callbacks)

    def on_fit_start(self, trainer: Trainer) -> None:
        for callback in self._hooks["on_fit_start"]:
            _call(callback, callback.on_fit_start, trainer)

    def on_step_end(self, trainer: Trainer, metrics: StepMetrics) -> None:
        for callback in self._hooks["on_step_end"]:
            _call(callback, callback.on_step_end, trainer, metrics)

    def on_evaluation_batch_end(self, trainer: Trainer) -> None:
        for callback in self._hooks["on_evaluation_batch_end"]:
            _call(callback, callback.on_evaluation_batch_end, trainer)

    def on_validation_end(self, trainer: Trainer, row: dict[str, float]) -> None:
        for callback in self._hooks["on_validation_end"]:
            _call(callback, callback.on_validation_end, trainer, row)

    def on_epoch_end(self, trainer: Trainer) -> None:
        for callback in self._hooks["on_epoch_end"]:
            _call(callback, callback.on_epoch_end, trainer)

    def on_checkpoint(self, trainer: Trainer, path: Path) -> None:
        for callback in self._hooks["on_checkpoint"]:
            _call(callback, callback.on_checkpoint, trainer, path)

    def on_exception(self, trainer: Trainer, error: BaseException) -> None:
        """Tell every callback, the last one first: the state is saved before another changes its own.

        What goes wrong in one of the user's does not take the place of the cause.
        """
        for callback in reversed(self._hooks["on_exception"]):
            try:
                _call(callback, callback.on_exception, trainer, error)
            except CallbackError as second:
                log.warning("%s", second)

    def on_fit_end(self, trainer: Trainer) -> None:
        for callback in self._hooks["on_fit_end"]:
            _call(callback, callback.on_fit_end, trainer)

    def state_dict(self) -> dict[str, Any]:
        """The states of all callbacks that have one, by name."""
        states = {name_of(c): _call(c, c.state_dict) for c in self.callbacks if _is_overridden(c, "state_dict")}
        for name, state in states.items():
            problem = "a mapping is needed" if not isinstance(state, dict) else _find_unsavable(state)
            if problem:
                raise CallbackError(f"{name}: state_dict() cannot be saved: {problem}")
        return {name: state for name, state in states.items() if state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Give each callback its state; one that was not there when the checkpoint was saved begins anew."""
        for callback in self.callbacks:
            if name_of(callback) in state:
                try:
                    _call(callback, callback.load_state_dict, state[name_of(callback)])
                except ValueError as error:
                    raise ConfigError(f"{name_of(callback)}: its state cannot be loaded: {error}") from error


class CallbackError(UserError):
    """An exception in a callback of the user's."""

    exit_code = ConfigError.exit_code


def name_of(callback: Callback) -> str:
    """How messages and checkpoints call a callback."""
    return callback.name or type(callback).__name__


def _is_overridden(callback: Callback, method: str) -> bool:
    return getattr(type(callback), method) is not getattr(Callback, method)


def _call(callback: Callback, method: Callable[..., Any], *args: Any) -> Any:
    try:
        return method(*args)
    except UserError:
        raise
    except Exception as error:
        if type(callback).__module__.partition(".")[0] == __name__.partition(".")[0]:
            raise
        log.info("%s failed", name_of(callback), exc_info=error)
        raise CallbackError(_describe_failure(callback, method.__name__, error)) from error


def _describe_failure(callback: Callback, method: str, error: Exception) -> str:
    kind = type(callback)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"{name_of(callback)}: {kind.__module__}.{kind.__name__}.{method} raised {type(error).__name__}: {error}"
        f" ({Path(frame.filename).name}, line {frame.lineno}); the error is in this callback"
    )


def _find_unsavable(value: Any, at: str = "") -> str | None:
    """Why a value would not be read back from a checkpoint, which holds tensors and plain values only."""
    if isinstance(value, dict | list | tuple):
        if isinstance(value, dict) and any(type(key) not in (str, int) for key in value):
            return f"{at or 'it'} has a key that is neither text nor a whole number"
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return next(filter(None, (_find_unsavable(item, f"{at}.{key}".lstrip(".")) for key, item in items)), None)
    if value is None or type(value) in (bool, int, float, str, bytes) or isinstance(value, Tensor):
        return None
    return f"{at} is of type {type(value).__name__}; only tensors, numbers, text, lists and mappings are"
