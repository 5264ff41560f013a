"""Event files, read back by TensorBoard itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.logged_runs import Points, check_points, describe_run, train_logged
from trainer.viz.loggers.logger import Logger
from trainer.viz.loggers.tensorboard_logger import TensorBoardLogger

accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def read(folder: Path, _: Logger) -> Points:
    found = accumulators.EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_each_step_is_logged_once_after_any_interruption(tmp_path: Path) -> None:
    loggers: list[TensorBoardLogger] = []

    def make(_: Path) -> TensorBoardLogger:
        loggers.append(TensorBoardLogger())
        return loggers[-1]

    # The writer's thread would end with the process that crashed, and not write on beside the resumed run.
    check_points(make, read, tmp_path, leave=lambda: loggers[-1].close("crashed"))


def test_configuration_and_figures_are_logged(tmp_path: Path) -> None:
    pixels = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    Image.fromarray(pixels).save(tmp_path / "confusion.png")
    logger = TensorBoardLogger()
    logger.setup(describe_run(tmp_path), 1)
    logger._is_open = True
    logger._open(0)
    logger.log_images([tmp_path / "confusion.png"], 12)
    logger.end("finished")
    found = accumulators.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    (image,) = found.Images("confusion")
    assert (image.step, image.width, image.height) == (12, 5, 4)
    (text,) = found.Tensors("config/text_summary")
    shown = text.tensor_proto.string_val[0].decode()
    assert "epochs: 3" in shown
    assert "api_key: '***'" in shown


def test_a_sweep_directory_has_a_directory_for_each_run(tmp_path: Path) -> None:
    run = tmp_path / "run7"
    run.mkdir()
    train_logged(run, TensorBoardLogger(str(tmp_path / "all")))
    assert list((tmp_path / "all" / "run7").glob("events.out.tfevents.*"))
