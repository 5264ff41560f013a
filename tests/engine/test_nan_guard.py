"""Updates that are not finite stop training, or are skipped without a trace."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.digest import digest
from tests.helpers.in_process import run
from tests.helpers.lab import lab
from tests.helpers.resumed_runs import ResumedRun, hash_state
from tests.helpers.simulated_cuda import simulate_cuda
from tests.helpers.tiny import CPU, MOMENTUM, LeastSquares, StopAt, rows, tiny, weights
from trainer.core.batch import Batch
from trainer.core.split import TensorSplit
from trainer.engine.nan_guard import MAX_SKIPPED_IN_ROW, CpuNanGuard, DeviceNanGuard, NanGuard, NonFiniteStepError
from trainer.engine.trainer import Trainer
from trainer.runs import run_dir
from trainer.utils.errors import NonFiniteError


class Normed(nn.Module):
    """A network with batch norm, which has seen a batch before its loss is known."""

    shapes = "x (B, F) -> (B)"

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.head = nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(x))[:, 0]


class NanAt(LeastSquares):
    """A task with a NaN in its loss at some steps."""

    def __init__(self, steps: range):
        super().__init__(Normed())
        self.steps = steps

    def loss(self, batch: Batch, group: str) -> Tensor:
        # The progress is the step, and is in the checkpoint.
        is_bad = round(float(self.progress) * 24) in self.steps
        x = batch.inputs["x"] * (torch.nan if is_bad else 1.0)
        return super().loss(Batch({"x": x}, batch.target, batch.index), group)


def make_trainer(steps: range, **changes: Any) -> Trainer:
    """Build a trainer of 24 steps in 3 epochs."""
    options = {"optimizer": MOMENTUM, "epochs": 3, "on_nonfinite": "skip", "ema": 0.5} | changes
    return tiny(NanAt(steps), train=rows(32), **options)


def get_state(trainer: Trainer) -> dict[str, Any]:
    """Return the parts of the state that a skipped update leaves as they are."""
    state = trainer.state_dict()
    task = {name: value.clone() for name, value in state["task"].items() if name != "progress"}
    group = state["param_groups"]["model"]
    return {"task": task, "optimizer": digest(group["optimizer"]), "ema": digest(group["ema"])}


def test_a_skipped_update_changes_nothing_but_the_position(caplog: pytest.LogCaptureFixture) -> None:
    trainer = make_trainer(range(5, 8))
    states = []
    step = trainer.update_param_group

    def record_step(*args: Any) -> None:
        step(*args)
        states.append(digest(get_state(trainer)))

    trainer.update_param_group = record_step  # type: ignore[method-assign]
    trainer.fit()
    assert states[4] == states[5] == states[6] == states[7]
    assert len({*states}) == 24 - 3
    assert (trainer.step, trainer.param_groups["model"].num_updates) == (24, 24)
    assert trainer.nan_guard.skipped() == {"total": 3, "in_row": {}}
    assert caplog.text.count("not finite at step ") == 3
    assert "loss or gradient not finite at step 6, epoch 1 (model): skipped; rows of the batch: " in caplog.text
    assert all(math.isfinite(value) for row in trainer.history for value in row.values())


def test_without_copies_batch_norm_would_keep_a_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NanGuard, "save_buffers", lambda *_: None)
    trainer = make_trainer(range(5, 6))
    trainer.fit()
    assert math.isnan(trainer.history[-1]["val_mse"])


def test_ten_skipped_updates_in_a_row_stop_training() -> None:
    trainer = make_trainer(range(5, 5 + MAX_SKIPPED_IN_ROW - 1))
    trainer.fit()
    assert trainer.step == 24
    trainer = make_trainer(range(5, 5 + MAX_SKIPPED_IN_ROW))
    before = weights(trainer)
    text = "10 updates in a row were not finite; the last one: loss nan, gradient norm nan at step 15, epoch 2"
    with pytest.raises(NonFiniteError, match=text) as caught:
        trainer.fit()
    assert caught.value.exit_code == 3
    assert bool(weights(trainer).isfinite().all())
    assert not torch.equal(weights(trainer), before)


def test_by_default_the_first_one_stops_training() -> None:
    trainer = make_trainer(range(5, 6), on_nonfinite="stop")
    with pytest.raises(NonFiniteError, match=r"^loss nan, gradient norm nan at step 6, epoch 1"):
        trainer.fit()


@pytest.mark.parametrize("step", [5, 6, 9, 13, 14])
def test_a_resumed_run_goes_on_counting(step: int, tmp_path: Path) -> None:
    """Nine are skipped, across an epoch; ten of them stop the run, wherever it was interrupted."""
    whole = make_trainer(range(5, 14))
    whole.fit()
    chain = ResumedRun(lambda **options: make_trainer(range(5, 14), **options), tmp_path)
    chain.start(StopAt(step))
    resumed = chain.resume()
    assert hash_state(resumed) == hash_state(whole)
    assert resumed.nan_guard.skipped() == whole.nan_guard.skipped() == {"total": 9, "in_row": {}}
    longer = ResumedRun(lambda **options: make_trainer(range(5, 15), **options), tmp_path)
    longer.start(StopAt(step))
    with pytest.raises(NonFiniteError, match="at step 15, "):
        longer.resume()


def make_guards(max_skipped: int) -> list[NanGuard]:
    return [CpuNanGuard(max_skipped), DeviceNanGuard(CPU, max_skipped)]


@pytest.mark.parametrize("guard", make_guards(3), ids=["host", "device"])
def test_guards_of_host_and_device_agree(guard: NanGuard) -> None:
    """A group that is not finite in a row is not hidden by another one that is finite."""
    losses = [1.0, math.nan, 2.0, math.inf, math.nan, 3.0]
    for loss in losses:
        skipped = guard.update(torch.tensor(loss), torch.tensor(2.0), "critic")
        assert (skipped is not None and bool(skipped)) == (not math.isfinite(loss))
        guard.update(torch.tensor(1.0), torch.tensor(2.0), "generator")
    guard.check()
    assert guard.skipped() == {"total": 3, "in_row": {}}
    assert guard.count_steps() == 9
    assert guard.compute_means() == pytest.approx((12 / 9, 2.0))
    for _ in range(2):
        guard.update(torch.tensor(math.nan), torch.tensor(0.0), "critic")
        guard.update(torch.tensor(1.0), torch.tensor(2.0), "generator")
    assert guard.skipped()["in_row"] == {"critic": 2}
    other = type(guard)(*([] if isinstance(guard, CpuNanGuard) else [CPU]), max_skipped=3)
    other.load_state_dict(guard.state_dict())
    assert other.skipped() == guard.skipped()

    def update_and_check() -> None:
        other.update(torch.tensor(1.0), torch.tensor(math.nan), "critic")
        other.check()

    with pytest.raises(NonFiniteStepError):
        update_and_check()


@pytest.mark.parametrize("mode", ["stop", "skip"])
def test_the_state_of_a_run_without_skipped_updates_has_no_counts(mode: str) -> None:
    trainer = make_trainer(range(0), on_nonfinite=mode, epochs=1)
    trainer.fit()
    assert trainer.state_dict()["running_totals"].keys() == {"sums", "steps", "seconds"}


def test_skipping_does_not_change_a_run_that_is_finite() -> None:
    stopping, skipping = (make_trainer(range(0), on_nonfinite=mode) for mode in ("stop", "skip"))
    stopping.fit()
    skipping.fit()
    assert hash_state(stopping) == hash_state(skipping)


def test_an_overflow_in_half_precision_is_not_counted() -> None:
    trainer = tiny(train=rows(16), precision="fp16", on_nonfinite="skip")
    trainer.scaler.load_state_dict(trainer.scaler.state_dict() | {"scale": 2.0**60})
    trainer.fit()
    assert trainer.nan_guard.skipped()["total"] == 0


@pytest.mark.slow
def test_both_networks_of_a_gan_are_skipped_separately() -> None:
    trainer = lab("model=gan", "data=ring", "data.rows=200", "max_steps=4", "on_nonfinite=skip").trainer
    compute = trainer.strategy.compute_gradient
    names: list[str] = []

    def compute_nan(trainer: Trainer, group: Any, batches: Any) -> Tensor:
        names.append(group.name)
        return compute(trainer, group, batches) * (torch.nan if group.name == names[0] else 1.0)

    trainer.strategy.compute_gradient = compute_nan  # type: ignore[method-assign]
    before = {name: group.params.data.clone() for name, group in trainer.param_groups.items()}
    trainer.fit()
    changed = {name for name, group in trainer.param_groups.items() if not torch.equal(group.params.data, before[name])}
    assert changed == {*trainer.param_groups} - {names[0]}


@pytest.fixture
def nan_in_epoch_2(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Change to a temporary folder, and make an input of the second epoch NaN."""
    monkeypatch.chdir(tmp_path)
    make_batch: Callable[..., Batch] = TensorSplit.batch

    def batch_with_nan(split: TensorSplit, index: Tensor, epoch: int) -> Batch:
        batch = make_batch(split, index, epoch)
        batch.inputs["x"] = torch.where((batch.index == 7)[:, None] & (epoch == 1), torch.nan, batch.inputs["x"])
        return batch

    monkeypatch.setattr(TensorSplit, "batch", batch_with_nan)


@pytest.mark.usefixtures("nan_in_epoch_2")
def test_a_run_may_be_resumed_to_skip() -> None:
    with pytest.raises(NonFiniteError):
        run("epochs=3", "save_every=0", "hydra.run.dir=outputs/a")
    result = run("epochs=3", "resume=outputs/a", "on_nonfinite=skip")
    assert (result.status, result.skipped_updates) == ("finished", 1)
    assert run_dir.read_results(Path("outputs/a"))["skipped_updates"] == 1


@pytest.mark.usefixtures("nan_in_epoch_2")
def test_updates_that_a_device_skips_are_counted_without_waiting_and_reported_after_the_epoch(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[int] = []
    update = Trainer.update_param_group
    with simulate_cuda() as device:

        def update_and_record(*args: Any) -> None:
            before = len(device.waits)
            update(*args)
            waits.append(len(device.waits) - before)

        monkeypatch.setattr(Trainer, "update_param_group", update_and_record)
        result = run("epochs=3", "device=cuda", "on_nonfinite=skip", "hydra.run.dir=outputs/a")
    assert waits[1:] == [0] * (3 * 3 - 1)
    assert (result.status, result.skipped_updates) == ("finished", 1)
    assert run_dir.read_results(Path("outputs/a"))["skipped_updates"] == 1
    text = "1 update skipped in epoch 2, because the loss or a gradient was not finite; 1 in all"
    assert capsys.readouterr().out.count(text) == Path("outputs/a/train.log").read_text().count(text) == 1


def test_a_device_that_skips_none_forgets_those_in_a_row() -> None:
    guard = DeviceNanGuard(CPU)
    guard.load_skipped({"total": 4, "in_row": {"critic": 2, "generator": 1}})
    guard.update(torch.tensor(1.0), torch.tensor(2.0), "critic")
    assert guard.state_dict()["skipped"] == {"total": 4, "in_row": {"generator": 1}}
