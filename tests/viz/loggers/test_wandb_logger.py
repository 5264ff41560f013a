"""Offline runs of Weights & Biases: the records of their files, and what a killed process leaves of them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.logged_runs import Points, check_points, train_logged
from trainer.viz.loggers.logger import Logger
from trainer.viz.loggers.wandb_logger import WandbLogger, read_records

wandb = pytest.importorskip("wandb")
pytestmark = pytest.mark.filterwarnings("ignore")


def records(folder: Path) -> list[Any]:
    """Of all parts of a run, once the process that writes them has come to their end."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        found = parse_files(folder)
        kinds = [record.WhichOneof("record_type") for record in found]
        if kinds and kinds.count("exit") == len(find_files(folder)):
            return found
        time.sleep(0.05)
    raise TimeoutError(folder)


def find_files(folder: Path) -> list[Path]:
    """Return one file for each part of a run; that of the newest part may still be empty."""
    return sorted(folder.glob("wandb/offline-run-*/run-*.wandb"), key=lambda path: path.stat().st_mtime_ns)


def parse_files(folder: Path) -> list[Any]:
    from wandb.proto import wandb_internal_pb2

    found = []
    for file in find_files(folder):
        for data in read_records(file.read_bytes()):
            found.append(wandb_internal_pb2.Record())
            found[-1].ParseFromString(data)
    return found


def read(folder: Path, _: Logger) -> Points:
    points: dict[str, list[tuple[int, float]]] = {}
    for record in records(folder):
        for item in record.history.item:
            name = item.key or "/".join(item.nested_key)
            if "/" in name:
                points.setdefault(name, []).append((record.history.step.num, json.loads(item.value_json)))
    return points


@pytest.mark.slow
def test_each_step_is_logged_once_after_any_interruption(tmp_path: Path) -> None:
    check_points(lambda _: WandbLogger(), read, tmp_path, leave=wandb.teardown)
    for name in ("stopped", "crashed"):
        assert len({r.run.run_id for r in records(tmp_path / name) if r.WhichOneof("record_type") == "run"}) == 1


@pytest.mark.slow
def test_the_configuration_is_that_of_the_run(tmp_path: Path) -> None:
    train_logged(tmp_path, WandbLogger(tags=["mine"]))
    (run,) = [record.run for record in records(tmp_path) if record.WhichOneof("record_type") == "run"]
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert config["epochs"] == 3
    assert config["model"] == {"hidden": [4], "api_key": "***"}
    assert (run.project, list(run.tags), run.display_name) == ("train", ["mine"], tmp_path.name)


@pytest.mark.slow
def test_a_truncated_file_is_read_up_to_its_end(tmp_path: Path) -> None:
    train_logged(tmp_path, WandbLogger())
    records(tmp_path)
    (file,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    data = file.read_bytes()
    whole = list(read_records(data))
    assert len(whole) > 12
    for cut in (0, 5, 100, len(data) // 2, len(data) - 1):
        part = list(read_records(data[:cut]))
        assert part == whole[: len(part)]
        assert len(part) < len(whole)
