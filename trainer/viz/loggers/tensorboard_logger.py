"""Logger for TensorBoard: ``tensorboard --logdir outputs``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainer.utils.yaml_writer import to_yaml
from trainer.viz.loggers.logger import LoggedRun, Logger


class TensorBoardLogger(Logger):
    """Logger that writes event files of TensorBoard.

    Args:
        log_dir: Directory of the event files of all runs; default: ``tensorboard`` in the run directory.
    """

    package, extra = "tensorboard", "tensorboard"

    def __init__(self, log_dir: str | None = None):
        self.log_dir = log_dir
        self._writer: Any = None

    def open(self, run: LoggedRun, run_id: str | None, step: int) -> str:
        from torch.utils.tensorboard import SummaryWriter

        log_dir = run.run_dir / "tensorboard" if self.log_dir is None else Path(self.log_dir, run.name)
        is_new = not log_dir.exists()
        self._logged_before = {} if run_id is None else _read_last_steps(log_dir)
        # A run that was killed before its first checkpoint starts again, so its earlier events are dropped.
        self._writer = SummaryWriter(str(log_dir), purge_step=0 if run_id is None and not is_new else None)
        if is_new:
            self._writer.add_text("config", _format_code_block(to_yaml(run.config)), 0)
        return str(log_dir)

    def read_logged_steps(self) -> dict[str, int]:
        return self._logged_before

    def write_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def write_images(self, files: Sequence[Path], step: int) -> None:
        import numpy as np
        from PIL import Image

        for file in files:
            with Image.open(file) as image:
                self._writer.add_image(file.stem, np.asarray(image.convert("RGB")), step, dataformats="HWC")

    def flush(self) -> None:
        self._writer.flush()

    def close(self, status: str) -> None:
        self._writer.close()


def _read_last_steps(directory: Path) -> dict[str, int]:
    """Return the last step of each scalar in the event files of a directory."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(directory), size_guidance={"scalars": 1}).Reload()
    return {tag: events.Scalars(tag)[-1].step for tag in events.Tags()["scalars"]}


def _format_code_block(text: str) -> str:
    """Format text as a Markdown code block, so that TensorBoard keeps its lines."""
    return "".join(f"    {line}\n" for line in text.splitlines())
