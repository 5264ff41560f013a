"""Callbacks: hooks that observe and control training."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from torch import Tensor

from trainer.utils.errors import ConfigError, UserError

if TYPE_CHECKING:
    from trainer.engine.step_metrics import StepMetrics
    from trainer.engine.trainer import Trainer

log = logging.getLogger(__name__)


class Callback:
    """Base class of callbacks; every hook does nothing by default.

    A callback reads ``trainer.step``, ``trainer.epoch``, ``trainer.task``, ``trainer.history`` and so on, and ends
    training by setting ``trainer.should_stop``. State that must survive an interruption is returned by ``state_dict``
    and restored by ``load_state_dict``. A resumed run repeats only ``on_evaluation_batch_end``, because an interrupted
    validation starts again.

    Each of several processes has its own object and calls its hooks, except ``on_checkpoint`` and ``state_dict``, which
    process 0 alone calls; ``trainer.strategy.process_group.is_main`` says which one this is.
    """

    name = ""
    """Name in messages and checkpoints, such as ``callbacks.my_stop``; by default the name of the class."""

    def on_fit_start(self, trainer: Trainer) -> None:
        """Run before the first step, or the first step after resuming; weights and state are loaded."""

    def on_step_end(self, trainer: Trainer, metrics: StepMetrics) -> None:
        """Run after each optimizer step.

        Args:
            trainer: The trainer.
            metrics: Metrics of the step; a value is computed when it is read.
        """

    def on_evaluation_batch_end(self, trainer: Trainer) -> None:
        """Run after each batch of a validation or test."""

    def on_validation_end(self, trainer: Trainer, row: dict[str, float]) -> None:
        """Run after a validation.

        Args:
            trainer: The trainer.
            row: Last row of ``trainer.history``.
        """

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Run after an epoch and its validation, if any; ``trainer.epoch`` epochs are complete."""

    def on_checkpoint(self, trainer: Trainer, path: Path) -> None:
        """Run after a checkpoint has been saved, in process 0 alone.

        It must neither evaluate nor read the state of the trainer, for which other processes are needed.

        Args:
            trainer: The trainer.
            path: File of the checkpoint.
        """

    def on_exception(self, trainer: Trainer, error: BaseException) -> None:
        """Run when training ends with an exception, which is raised again afterwards.

        Args:
            trainer: The trainer.
            error: The exception, such as ``Interrupted``.
        """

    def on_fit_end(self, trainer: Trainer) -> None:
        """Run after the last step and validation; the weights are still the last ones, not the best ones."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state to save in the checkpoint: tensors and plain values only; in process 0 alone."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that ``state_dict`` of process 0 returned for the checkpoint, in every process."""


HOOKS = (
    *("on_fit_start", "on_step_end", "on_evaluation_batch_end", "on_validation_end", "on_epoch_end"),
    *("on_checkpoint", "on_exception", "on_fit_end"),
)


class CallbackList(Callback):
    """Calls the hooks of several callbacks in order.

    Args:
        callbacks: The callbacks; those with a state must have distinct names.

    Raises:
        ValueError: Two callbacks with a state have the same name.
        CallbackError: A hook of a user-defined callback has raised an exception, or its state cannot be saved.
        ConfigError: The saved state of a callback cannot be loaded.
    """

    def __init__(self, callbacks: Sequence[Callback] = ()):
        self.callbacks = list(callbacks)
        names = [get_callback_name(c) for c in self.callbacks if _is_overridden(c, "state_dict")]
        if len({*names}) < len(names):
            raise ValueError(f"callbacks with a state must have distinct names: {', '.join(names)}")
        # Only overridden hooks are called, so that unused ones cost nothing per step.
        self._hooks = {name: [c for c in self.callbacks if _is_overridden(c, name)] for name in HOOKS}

    def __iter__(self) -> Iterator[Callback]:
        return iter(self.callbacks)

    def on_fit_start(self, trainer: Trainer) -> None:
        self._run_hook("on_fit_start", trainer)

    def on_step_end(self, trainer: Trainer, metrics: StepMetrics) -> None:
        self._run_hook("on_step_end", trainer, metrics)

    def on_evaluation_batch_end(self, trainer: Trainer) -> None:
        self._run_hook("on_evaluation_batch_end", trainer)

    def on_validation_end(self, trainer: Trainer, row: dict[str, float]) -> None:
        self._run_hook("on_validation_end", trainer, row)

    def on_epoch_end(self, trainer: Trainer) -> None:
        self._run_hook("on_epoch_end", trainer)

    def on_checkpoint(self, trainer: Trainer, path: Path) -> None:
        self._run_hook("on_checkpoint", trainer, path)

    def on_exception(self, trainer: Trainer, error: BaseException) -> None:
        """Call the hook of every callback in reverse order, so that checkpoints are saved before other states change.

        Exceptions in user-defined callbacks are logged; they must not hide the cause.

        Args:
            trainer: The trainer.
            error: Exception that ends training.
        """
        for callback in reversed(self._hooks["on_exception"]):
            try:
                _call(callback, callback.on_exception, trainer, error)
            except CallbackError as second:
                log.warning("%s", second)

    def on_fit_end(self, trainer: Trainer) -> None:
        self._run_hook("on_fit_end", trainer)

    def _run_hook(self, hook: str, *args: Any) -> None:
        for callback in self._hooks[hook]:
            try:
                getattr(callback, hook)(*args)
            except Exception as error:
                _raise_callback_error(callback, hook, error)

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the callbacks that have one, by name.

        Raises:
            CallbackError: ``state_dict`` of a callback has failed, or its result cannot be saved.
        """
        states = {
            get_callback_name(c): _call(c, c.state_dict) for c in self.callbacks if _is_overridden(c, "state_dict")
        }
        for name, state in states.items():
            problem = "a mapping is needed" if not isinstance(state, dict) else _find_unsavable(state)
            if problem:
                raise CallbackError(f"{name}: state_dict() cannot be saved: {problem}")
        return {name: state for name, state in states.items() if state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state of each callback; a callback without a saved state keeps its initial one.

        Args:
            state: Result of ``state_dict``.

        Raises:
            ConfigError: ``load_state_dict`` of a built-in callback has raised ValueError.
            CallbackError: ``load_state_dict`` of a user-defined callback has failed.
        """
        for callback in self.callbacks:
            if get_callback_name(callback) in state:
                try:
                    _call(callback, callback.load_state_dict, state[get_callback_name(callback)])
                except ValueError as error:
                    raise ConfigError(f"{get_callback_name(callback)}: its state cannot be loaded: {error}") from error


class CallbackError(UserError):
    """An exception in a user-defined callback."""

    exit_code = ConfigError.exit_code


def get_callback_name(callback: Callback) -> str:
    """Return the name of a callback in messages and checkpoints."""
    return callback.name or type(callback).__name__


def _is_overridden(callback: Callback, method: str) -> bool:
    return getattr(type(callback), method) is not getattr(Callback, method)


def _call(callback: Callback, method: Callable[..., Any], *args: Any) -> Any:
    try:
        return method(*args)
    except Exception as error:
        _raise_callback_error(callback, method.__name__, error)


def _raise_callback_error(callback: Callback, method: str, error: Exception) -> NoReturn:
    """Raise the error that is being handled again, as CallbackError if it is one of a user-defined callback."""
    if isinstance(error, UserError) or type(callback).__module__.partition(".")[0] == __name__.partition(".")[0]:
        raise error
    log.info("%s failed", get_callback_name(callback), exc_info=error)
    raise CallbackError(_describe_failure(callback, method, error)) from error


def _describe_failure(callback: Callback, method: str, error: Exception) -> str:
    kind = type(callback)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"{get_callback_name(callback)}: {kind.__module__}.{kind.__name__}.{method} raised {type(error).__name__}:"
        f" {error} ({Path(frame.filename).name}, line {frame.lineno}); the error is in this callback"
    )


def _find_unsavable(value: Any, path: str = "") -> str | None:
    """Return why a value cannot be saved in a checkpoint; None if it consists of tensors and plain values."""
    if isinstance(value, dict | list | tuple):
        if isinstance(value, dict) and any(type(key) not in (str, int) for key in value):
            return f"{path or 'it'} has a key that is neither a string nor an integer"
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return next(filter(None, (_find_unsavable(item, f"{path}.{key}".lstrip(".")) for key, item in items)), None)
    if value is None or type(value) in (bool, int, float, str, bytes) or isinstance(value, Tensor):
        return None
    return f"{path} is of type {type(value).__name__}; only tensors, numbers, text, lists and mappings are"
