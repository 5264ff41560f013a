"""Numbers of skipped updates in the files of a run that was interrupted."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.helpers.in_process import read_metrics, run, send_signal_at
from tests.helpers.simulated_cuda import simulate_cuda
from trainer.core.batch import Batch
from trainer.core.split import TensorSplit
from trainer.runs import run_dir
from trainer.utils.errors import Interrupted, NonFiniteError


@pytest.fixture
def nan_of_epoch_2(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Change to a temporary folder, and make all inputs of the second of three epochs, of three steps each, NaN."""
    monkeypatch.chdir(tmp_path)
    make_batch: Callable[..., Batch] = TensorSplit.batch

    def batch_of_nan(split: TensorSplit, index: Tensor, epoch: int) -> Batch:
        batch = make_batch(split, index, epoch)
        return Batch({"x": batch.inputs["x"] * (torch.nan if epoch == 1 else 1.0)}, batch.target, batch.index)

    monkeypatch.setattr(TensorSplit, "batch", batch_of_nan)


def interrupt(monkeypatch: pytest.MonkeyPatch, step: int, *overrides: str) -> None:
    with monkeypatch.context() as context:
        send_signal_at(context, step, signal.SIGTERM)
        with pytest.raises(Interrupted):
            run(*overrides)


@pytest.mark.usefixtures("nan_of_epoch_2")
@pytest.mark.parametrize("step", [4, 7])
@pytest.mark.slow
def test_an_interrupted_run_counts_like_a_whole_one(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three updates are skipped; a third command, after which none may be, keeps their number."""
    options = ("epochs=4", "on_nonfinite=skip")
    run(*options, "hydra.run.dir=outputs/whole")
    interrupt(monkeypatch, step, *options, "hydra.run.dir=outputs/a")
    assert run_dir.read_results(Path("outputs/a")).get("skipped_updates", 0) == min(step, 6) - 3
    interrupt(monkeypatch, 8, "epochs=4", "resume=outputs/a", "on_nonfinite=skip")
    interrupt(monkeypatch, 10, "epochs=4", "resume=outputs/a", "on_nonfinite=stop")
    run("epochs=4", "resume=outputs/a", "on_nonfinite=skip")
    results = [run_dir.read_results(Path("outputs", name)) for name in ("a", "whole")]
    assert [each["skipped_updates"] for each in results] == [3, 3]
    assert results[0]["val"] == results[1]["val"]
    assert read_metrics(Path("outputs/a")) == read_metrics(Path("outputs/whole"))


@pytest.mark.usefixtures("nan_of_epoch_2")
@pytest.mark.parametrize("step", [4, 6])
@pytest.mark.slow
def test_the_warning_after_an_interrupted_epoch_counts_all_its_skipped_updates(
    step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("epochs=4", "device=cuda", "on_nonfinite=skip")
    with simulate_cuda():
        interrupt(monkeypatch, step, *options, "hydra.run.dir=outputs/a")
        interrupt(monkeypatch, 8, *options, "resume=outputs/a")
        result = run(*options, "resume=outputs/a")
    assert result.skipped_updates == 3
    warnings = [line for line in Path("outputs/a/train.log").read_text().splitlines() if " skipped in epoch " in line]
    (warning,) = warnings
    assert "3 updates skipped in epoch 2, because the loss or a gradient was not finite; 3 in all" in warning


@pytest.mark.usefixtures("nan_of_epoch_2")
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_update_that_stops_a_run_is_not_counted_as_skipped(device: str) -> None:
    with simulate_cuda(), pytest.raises(NonFiniteError):
        run("epochs=3", f"device={device}", "hydra.run.dir=outputs/a")
    assert "skipped_updates" not in run_dir.read_results(Path("outputs/a"))
