"""The watch over the other processes of a run, and their files."""

from __future__ import annotations

import csv
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.helpers.states import run_in_child
from trainer.runs import run_artifacts, run_dir, worker_processes
from trainer.utils import atomic_write
from trainer.utils.errors import SystemFault
from trainer.viz import plots
from trainer.viz.loggers import csv_logger

HISTORY = [{"epoch": 1, "step": 3, "val_loss": 0.5}, {"epoch": 2, "step": 6, "val_loss": 0.25}]


def lose_worker_and_hang(worker: worker_processes.Worker) -> None:
    worker.process.kill()
    time.sleep(30)


def write_half_of_a_figure(folder: Path, hang: Callable[[], None], patched: pytest.MonkeyPatch) -> None:
    def draw(_: Any, __: Any, path: Path, *___: Any) -> None:
        path.write_bytes(b"half")
        hang()

    patched.setattr(plots, "draw_training_curves", draw)
    result: Any = SimpleNamespace(monitor="loss", best_epoch=1)
    run_artifacts.draw_curves(folder, HISTORY, result)


def replace_half_of_a_table(folder: Path, hang: Callable[[], None], patched: pytest.MonkeyPatch) -> None:
    patched.setattr(atomic_write, "sync_to_disk", lambda _: hang())
    csv_logger.write_rows(folder / run_dir.METRICS_FILE, HISTORY[1:])


def append_half_of_a_row(folder: Path, hang: Callable[[], None], patched: pytest.MonkeyPatch) -> None:
    def write(writer: csv.DictWriter[str], row: Any) -> None:
        writer.writer.writerow(list(row.values())[:1])
        hang()

    patched.setattr(csv.DictWriter, "writerow", write)
    csv_logger.append_row(folder / run_dir.METRICS_FILE, HISTORY[1], list(HISTORY[0]))


@pytest.mark.parametrize("write", [write_half_of_a_figure, replace_half_of_a_table, append_half_of_a_row])
def test_a_process_that_is_ended_while_it_writes_leaves_no_partial_file(
    write: Callable[[Path, Callable[[], None], pytest.MonkeyPatch], None],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store_dir = tmp_path_factory.mktemp("store")
    monkeypatch.setattr(worker_processes, "GRACE_SECONDS", 0.1)
    csv_logger.write_rows(tmp_path / run_dir.METRICS_FILE, HISTORY[:1])
    (tmp_path / run_dir.CURVES_FILE).write_bytes(b"all of it")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def train() -> None:
        process = subprocess.Popen(["sleep", "60"], stdin=subprocess.DEVNULL)
        with tempfile.TemporaryFile() as output:
            worker = worker_processes.Worker(1, process, output)
            with worker_processes.WorkerWatch([worker], store_dir):
                write(tmp_path, lambda: lose_worker_and_hang(worker), monkeypatch)

    assert run_in_child(train) == SystemFault.exit_code
    assert not store_dir.exists()
    temporary_names = {path.name for path in tmp_path.glob(atomic_write.TEMP_FILE_PATTERN)}
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name not in temporary_names}
    assert files == before
    atomic_write.remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == before.keys()
