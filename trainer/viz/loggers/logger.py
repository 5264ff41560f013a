"""The base class of loggers: what is logged and when, and what happens when a tool fails."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from trainer.core import rng
from trainer.engine.callbacks import Callback, get_callback_name
from trainer.utils.errors import ConfigError, Interrupted

if TYPE_CHECKING:
    from trainer.engine.step_metrics import StepMetrics
    from trainer.engine.trainer import Trainer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoggedRun:
    """What a logger is told of its run.

    config: its configuration without secrets. metrics_file: where the table of its validations is.
    """

    run_dir: Path
    metrics_file: Path
    config: Mapping[str, Any]

    @property
    def name(self) -> str:
        return self.run_dir.name

    def flatten_config(self) -> dict[str, Any]:
        """Each value of the configuration by its dotted key."""
        return dict(_flatten(self.config, ""))


def _flatten(node: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


class Logger(Callback):
    """Sends ``train/...`` every ``log_every`` steps, ``epoch/...`` and ``val/...`` after each validation, and at the
    end ``test/...`` and pictures to a tool.

    A subclass opens and closes the tool and writes to it; what fails there is told once, and ends the logging but not
    the training. A resumed run goes on in the run of the tool whose id the checkpoint holds. The steps between that
    checkpoint and a crash are trained again, to the same numbers: those that the tool has already are left out.
    """

    package: ClassVar[str] = ""
    """The module that must be installed, and the extra of train-zoo that installs it."""
    extra: ClassVar[str] = ""

    # Defaults of the class, so that a subclass need not call an __init__.
    run: LoggedRun | None = None
    log_every = 1
    run_id: str | None = None
    _is_open = False
    _logged_steps: Mapping[str, int] = MappingProxyType({})

    def setup(self, run: LoggedRun, log_every: int) -> None:
        """Learn which run is to be logged. Raises ConfigError where the package of the tool is not installed."""
        if self.package and importlib.util.find_spec(self.package) is None:
            raise ConfigError(
                f"{get_callback_name(self)}: the package {self.package} is not installed:"
                f" pip install 'train-zoo[{self.extra}]'"
            )
        self.run, self.log_every = run, log_every

    # What a subclass writes.

    def open(self, run: LoggedRun, run_id: str | None, step: int) -> str:
        """Open the tool for a run that stands at ``step``, and give the id of the run in the tool.

        Args:
            run: What is logged.
            run_id: The id that this method returned before the run was stopped; None for a new run.
            step: Steps that are complete. What the tool has of later ones will come again.
        """
        raise NotImplementedError

    def read_logged_steps(self) -> dict[str, int]:
        """The last step of each metric that the tool has of a run that goes on."""
        return {}

    def write_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Write numbers of a step."""
        raise NotImplementedError

    def write_images(self, files: Sequence[Path], step: int) -> None:
        """Write the pictures of a finished run."""

    def flush(self) -> None:
        """Have the tool write what it holds back."""

    def close(self, status: str) -> None:
        """Leave the tool. ``status`` is finished, interrupted or failed."""

    # When it is called.

    def on_fit_start(self, trainer: Trainer) -> None:
        self._is_open = self.run is not None
        self._attempt(self._open, trainer.step)

    def _open(self, step: int) -> None:
        assert self.run is not None
        is_resumed = self.run_id is not None
        self.run_id = self.open(self.run, self.run_id, step)
        self._logged_steps = self.read_logged_steps() if is_resumed else {}

    def on_step_end(self, trainer: Trainer, metrics: StepMetrics) -> None:
        if trainer.step % self.log_every == 0 or trainer.step == trainer.total_steps:
            self.log_metrics({f"train/{name}": value for name, value in metrics.items()}, trainer.step)

    def on_validation_end(self, trainer: Trainer, row: dict[str, float]) -> None:
        metrics = {rename_column(name): value for name, value in row.items() if name != "step"}
        self.log_metrics(metrics, trainer.step)

    def on_exception(self, trainer: Trainer, error: BaseException) -> None:
        self.end("interrupted" if isinstance(error, Interrupted | KeyboardInterrupt) else "failed")

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Write those numbers of a step that the tool does not have yet."""
        new = {name: value for name, value in metrics.items() if step > self._logged_steps.get(name, -1)}
        if new:
            self._attempt(self.write_metrics, new, step)

    def log_images(self, files: Sequence[Path], step: int) -> None:
        """Write pictures."""
        if files:
            self._attempt(self.write_images, files, step)

    def end(self, status: str) -> None:
        """Close the tool, if it is open."""
        self._attempt(self.close, status)
        self._is_open = False

    def _attempt(self, action: Callable[..., None], *args: Any) -> None:
        """Call the tool, whose random numbers are none of training's; the first failure turns the logger off."""
        if not self._is_open:
            return
        try:
            with rng.preserve_generators():
                action(*args)
        except Interrupted:
            raise
        except Exception as error:
            self._is_open = False
            log.info("%s failed", get_callback_name(self), exc_info=error)
            reason = (str(error).splitlines() or [""])[0][:300]
            what = f"{get_callback_name(self)}: {type(error).__name__}: {reason}"
            log.warning("%s; it logs nothing more, training goes on", what)

    def state_dict(self) -> dict[str, Any]:
        """The id of the run in the tool, which has by then all that comes before the checkpoint."""
        self._attempt(self.flush)
        return {"run_id": self.run_id}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        run_id = state.get("run_id")
        if run_id is not None and not isinstance(run_id, str):
            raise ValueError(f"run_id is {run_id!r}, not text")
        self.run_id = run_id


def rename_column(name: str) -> str:
    """The metric of a column of metrics.csv: of ``val_accuracy`` ``val/accuracy``, else as ``epoch/train_loss``."""
    return f"val/{name.removeprefix('val_')}" if name.startswith("val_") else f"epoch/{name}"
