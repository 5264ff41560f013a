"""The loop: what a step is, what a validation is, when a run ends."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Silent, lab
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from tiny import (
    CYCLE,
    MOMENTUM,
    SGD,
    Formula,
    LeastSquares,
    Linear,
    NoisyLeastSquares,
    Numbers,
    StopAt,
    Unweighted,
    number,
    pull,
    rows,
    tiny,
    weights,
)
from torch import Tensor, nn

from trainer import checkpoint
from trainer.batch import IGNORE, Batch
from trainer.checkpoint import RunKeeper
from trainer.data.base import TensorSplit
from trainer.errors import Interrupted, NonFiniteError
from trainer.tasks.classification import Classification
from trainer.trainer import Trainer


@pytest.mark.parametrize(("batch_size", "accumulate"), [(4, 3), (1, 11), (3, 4), (7, 2)])
def test_accumulation_is_one_large_batch(batch_size: int, accumulate: int) -> None:
    large, small = (tiny(train=rows(11), batch_size=b, accumulate=a) for b, a in ((11, 1), (batch_size, accumulate)))
    naive = tiny(Unweighted(Linear()), train=rows(11), batch_size=batch_size, accumulate=accumulate)
    for trainer in (large, small, naive):
        trainer.fit()
        assert trainer.step == 1
    torch.testing.assert_close(weights(small), weights(large), rtol=1e-6, atol=1e-6)
    assert large.history[0]["train_loss"] == pytest.approx(small.history[0]["train_loss"], rel=1e-6)
    assert large.history[0]["grad_norm"] == pytest.approx(small.history[0]["grad_norm"], rel=1e-6)
    if batch_size > 1:  # (with batches of one row the mean of means is the mean)
        assert not torch.allclose(weights(naive), weights(large), rtol=1e-3, atol=1e-3)


class PerStep(nn.Module):
    """x (B, F) -> (B, C, T)"""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2 * 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x).view(len(x), 2, 5)


class PerStepUnweighted(Classification):
    def weight(self, batch: Batch) -> Tensor:
        return torch.tensor(1)


def masked(split: TensorSplit, counted: list[int]) -> TensorSplit:
    """Class targets of five steps a row, of which only the first few count."""
    target = (torch.arange(len(split) * 5).view(-1, 5) * 7 // 3) % 2
    for row, count in enumerate(counted):
        target[row, count:] = IGNORE
    return TensorSplit(split.inputs, target)


def classify(kind: type[Classification], counted: list[int], **changes: Any) -> Trainer:
    torch.manual_seed(0)
    task = kind(PerStep(), num_classes=2, label_smoothing=0.1, scores=["nll"])
    trainer = tiny(task, train=masked(rows(len(counted)), counted), **changes)
    while trainer.step < trainer.total_steps:
        trainer.train_epoch()
    return trainer


def test_accumulation_over_masked_parts_is_one_large_batch() -> None:
    counted = [5, 1, 0, 3, 5, 2, 4, 1, 1, 5, 3]
    large = classify(Classification, counted, batch_size=11)
    small = classify(Classification, counted, batch_size=4, accumulate=3)
    naive = classify(PerStepUnweighted, counted, batch_size=4, accumulate=3)
    torch.testing.assert_close(weights(small), weights(large), rtol=1e-6, atol=1e-6)
    assert not torch.allclose(weights(naive), weights(large), rtol=1e-4, atol=1e-4)


def test_a_part_in_which_nothing_counts_adds_nothing() -> None:
    counted = [5, 0, 0, 3]
    large = classify(Classification, counted, batch_size=4)
    small = classify(Classification, counted, batch_size=1, accumulate=4)
    torch.testing.assert_close(weights(small), weights(large), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("clip", "mode", "moved"),
    [
        (None, "norm", [3.0, 4.0]),
        (1.0, "norm", [0.6, 0.8]),
        (10.0, "norm", [3.0, 4.0]),
        (3.5, "value", [3.0, 3.5]),
        (0.5, "value", [0.5, 0.5]),
    ],
)
def test_clipping(clip: float | None, mode: str, moved: list[float]) -> None:
    task = Formula(Numbers(w=[0.0, 0.0]), pull([3.0, 4.0]))
    trainer = tiny(task, optimizer=SGD | {"lr": 1.0}, max_steps=1, grad_clip=clip, grad_clip_mode=mode)
    trainer.fit()
    assert task.model.get_parameter("w").tolist() == pytest.approx([-m for m in moved], rel=1e-5)
    assert trainer.history[0]["grad_norm"] == pytest.approx(5.0)  # before clipping


class Latest(Silent):
    """Remembers the weights after each finished step."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def stepped(self, trainer: Trainer) -> None:
        if trainer.task.training:
            self.seen.append(weights(trainer))


def test_a_bad_row_stops_the_run_before_it_reaches_the_weights() -> None:
    split = rows(16)
    split.inputs["x"][7] = math.nan
    watcher = Latest()
    trainer = tiny(train=split, watcher=watcher, epochs=3)
    at = next(step for step, index in enumerate(trainer.train_loader.order(0)) if 7 in index)
    bad_rows = ", ".join(map(str, trainer.train_loader.order(0)[at].tolist()))
    with pytest.raises(NonFiniteError) as stopped:
        trainer.fit()
    assert len(watcher.seen) == trainer.step == at > 0
    assert torch.equal(weights(trainer), watcher.seen[-1])
    assert stopped.value.exit_code == 3
    for word in (
        f"loss nan, gradient norm nan at step {at}, epoch 1 (model, lr 0.1)",
        f"rows of the batch: {bad_rows}",
        "model.head.weight",
        "no checkpoint yet",
    ):
        assert word in str(stopped.value)


GRADIENTS = {
    "inf": lambda model: model.w.sum() + model.z.sqrt().sum(),  # the derivative of the root at 0
    "nan": lambda model: model.w.sum() + (model.z - model.z.detach()).abs().sqrt().sum(),
}


@pytest.mark.parametrize(
    ("kind", "clip", "mode"),
    [
        ("inf", None, "norm"),
        ("nan", None, "norm"),
        ("inf", 1.0, "norm"),
        ("nan", 1.0, "norm"),
        ("inf", 1.0, "value"),
        ("nan", 1.0, "value"),
    ],
)
def test_a_bad_gradient_under_a_good_loss_is_named(kind: str, clip: float | None, mode: str) -> None:
    trainer = tiny(
        Formula(Numbers(w=[1.0, 2.0], z=[0.0]), GRADIENTS[kind]), epochs=1, grad_clip=clip, grad_clip_mode=mode
    )
    before = weights(trainer)
    with pytest.raises(NonFiniteError, match=r"loss 3, gradient norm (inf|nan) at step 0") as stopped:
        trainer.fit()
    assert torch.equal(weights(trainer), before)
    assert "not finite: model.z\n" in str(stopped.value)


def test_bf16_learns_and_is_not_full_precision() -> None:
    half, full = (tiny(train=rows(200), epochs=5, precision=p) for p in ("bf16", 32))
    target = rows(10, seed=1).target
    assert target is not None
    guess_mean = float(target.var(correction=0))
    for trainer in (half, full):
        trainer.fit()
    assert half.history[-1]["val_mse"] == pytest.approx(full.history[-1]["val_mse"], rel=0.05)
    assert half.history[-1]["val_mse"] < 0.4 * guess_mean
    assert not torch.equal(weights(half), weights(full))


def test_fp16_skips_an_overflow_and_its_scale_survives_a_stop(tmp_path: Path) -> None:
    trainer = tiny(train=rows(64), precision="fp16", epochs=2, keeper=RunKeeper(tmp_path, {}))
    trainer.scaler.load_state_dict(trainer.scaler.state_dict() | {"scale": 2.0**60})
    before = weights(trainer)
    trainer.train_epoch()
    assert torch.equal(weights(trainer), before), "a step was taken with an overflowing gradient"
    assert trainer.scaler.get_scale() == 2.0 ** (60 - 16)
    trainer.scaler.load_state_dict(trainer.scaler.state_dict() | {"scale": 2.0**10})
    trainer.epoch, trainer.batch = 1, 0
    trainer.train_epoch()
    assert not torch.equal(weights(trainer), before)
    trainer.save()
    again = tiny(train=rows(64), precision="fp16", epochs=2)
    assert again.scaler.state_dict() != trainer.scaler.state_dict()
    again.load_state_dict(checkpoint.load_newest(tmp_path), None)
    assert again.scaler.state_dict() == trainer.scaler.state_dict()
    again.scaler.scale(torch.ones(()))
    assert again.scaler.get_scale() == 2.0**10


# --- a schedule's length ---


class Spy:
    """Asks a schedule, and remembers for which step and with which answer."""

    def __init__(self, inner: Any):
        self.inner = inner
        self.asked: list[int] = []
        self.rate = math.nan

    def __call__(self, step: int) -> tuple[float, float | None]:
        self.asked.append(step)
        self.rate, momentum = self.inner(step)
        return self.rate, momentum

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def spied(trainer: Trainer) -> dict[str, Spy]:
    for player in trainer.players.values():
        player.schedule = Spy(player.schedule)  # type: ignore[assignment]
    return {name: player.schedule for name, player in trainer.players.items()}  # type: ignore[misc]


class Game(LeastSquares):
    """A critic that moves every step and a generator that moves every ``n``-th."""

    def __init__(self, n: int):
        super().__init__(Linear())
        self.other = Linear()
        self.n = n

    def players(self) -> dict[str, Iterable[nn.Parameter]]:
        return {"critic": self.model.parameters(), "generator": self.other.parameters()}

    def turns(self, step: int) -> tuple[str, ...]:
        return ("critic", "generator") if step % self.n == self.n - 1 else ("critic",)

    def loss(self, batch: Batch, player: str) -> Tensor:
        return (self.error(batch) + self.other(batch.inputs["x"])).square().mean()


lengths = {
    "n": st.integers(1, 14),
    "batch_size": st.integers(1, 5),
    "accumulate": st.integers(1, 4),
    "drop_last": st.booleans(),
    "epochs": st.integers(1, 3),
    "max_steps": st.none() | st.integers(1, 9),
    "stop": st.none() | st.integers(1, 12),
    "turns": st.none() | st.integers(1, 3),
}


@given(**lengths)
@examples(max_examples=60, deadline=None)
def test_a_schedule_ends_on_its_players_last_step(
    n: int,
    batch_size: int,
    accumulate: int,
    drop_last: bool,
    epochs: int,
    max_steps: int | None,
    stop: int | None,
    turns: int | None,
) -> None:
    def make(watcher: Any = None) -> Trainer:
        return tiny(
            LeastSquares(Linear()) if turns is None else Game(turns),
            train=rows(n),
            scheduler=CYCLE,
            watcher=watcher,
            batch_size=batch_size,
            accumulate=accumulate,
            drop_last=drop_last and n >= batch_size,
            epochs=epochs,
            max_steps=max_steps,
        )

    first = make(StopAt(stop or 0))
    spies = [spied(first)]
    last = first
    if stop is not None and stop < first.total_steps:
        with pytest.raises(Interrupted):
            first.fit()
        last = make()
        last.load_state_dict(copy.deepcopy(first.state_dict()), None)
        spies.append(spied(last))
    elif stop is not None:
        first.watcher = Silent()
    last.fit()
    assert last.step == last.total_steps == (max_steps or epochs * math.ceil(len(first.train_loader) / accumulate))
    assert len([row for row in last.history if row["step"] == last.step]) == 1
    for name, player in last.players.items():
        schedule = spies[-1][name].inner
        asked = [step for part in spies for step in part[name].asked]
        assert asked == list(range(schedule.total)) == list(range(player.steps))
        if schedule.total > 1:
            assert player.rate == schedule.end
    if max_steps is None:
        assert last.epoch == epochs


# --- validation ---


def test_averages_are_validated_and_the_weights_come_back() -> None:
    seen: list[float] = []
    task = Formula(Numbers(w=[0.0]), pull([-1.0]))

    def look(_: dict[str, Tensor]) -> dict[str, float]:
        seen.append(number(task))
        return {"mse": 1.0 / len(seen)}

    task.metrics = look  # type: ignore[method-assign,assignment]
    trainer = tiny(task, optimizer=SGD | {"lr": 1.0}, epochs=2, ema=0.5)
    trainer.fit()  # eight steps of 1
    average, expected = 0.0, []
    for step in range(1, 9):
        keep = min(0.5, (1 + step) / (10 + step))
        average = keep * average + (1 - keep) * step
        expected.append(average)
    assert seen == pytest.approx([expected[3], expected[7]])
    assert number(task) == pytest.approx(8.0)
    trainer.use_best()
    assert number(task) == pytest.approx(expected[7])
    assert trainer.evaluate(trainer.val_loader)["mse"] > 0
    assert seen[-1] == pytest.approx(expected[7])


def scripted(scores: list[float], **changes: Any) -> Trainer:
    trainer = tiny(Formula(Numbers(w=[0.0]), pull([1.0]), scores), epochs=len(scores), **changes)
    trainer.fit()
    return trainer


@pytest.mark.parametrize(
    ("scores", "patience", "epochs", "best"),
    [
        ([0.5, 0.6, 0.7, 0.1], None, 4, 4),
        ([0.5, 0.6, 0.7, 0.1], 2, 3, 1),
        ([0.5, 0.6, 0.4, 0.6, 0.6, 0.1], 2, 5, 3),
        ([math.nan, 0.5, math.nan, 0.4], None, 4, 4),
        ([math.nan, 0.5, math.nan, 0.6], None, 4, 2),
        ([math.nan, math.nan, 0.5], 2, 2, None),
        ([math.inf, 0.5], 2, 2, 2),
    ],
)
def test_the_best_epoch_and_the_end_of_patience(
    scores: list[float], patience: int | None, epochs: int, best: int | None
) -> None:
    trainer = scripted(scores, patience=patience, optimizer=SGD | {"lr": 1.0})
    assert trainer.epoch == len(trainer.history) == epochs
    assert trainer.best.epoch == best
    if best is None:
        assert trainer.best.weights is None
        return
    assert trainer.best.score == scores[best - 1]
    assert trainer.best.weights is not None
    assert trainer.best.weights["model.w"].item() == -4.0 * best  # four steps an epoch
    assert number(trainer.task) == -4.0 * epochs
    trainer.use_best()
    assert number(trainer.task) == -4.0 * best


def test_the_best_and_the_last_are_what_the_keeper_gets(tmp_path: Path) -> None:
    scripted([0.3, 0.1, 0.2], optimizer=SGD | {"lr": 1.0}, keeper=RunKeeper(tmp_path, {}))
    assert checkpoint.load(tmp_path / checkpoint.LAST)["task"]["model.w"].item() == -12.0
    best = checkpoint.load(tmp_path / checkpoint.BEST)
    assert (best["task"]["model.w"].item(), best["epoch"], best["score"], best["step"]) == (-8.0, 2, 0.1, 8)


@pytest.mark.parametrize(
    ("changes", "validated"),
    [
        ({"epochs": 5, "val_every": 1}, [(1, 4), (2, 8), (3, 12), (4, 16), (5, 20)]),
        ({"epochs": 5, "val_every": 2}, [(2, 8), (4, 16), (5, 20)]),
        ({"max_steps": 7}, [(1, 4), (2, 7)]),
        ({"max_steps": 8}, [(1, 4), (2, 8)]),
        ({"max_steps": 3, "val_every": 9}, [(1, 3)]),
    ],
)
def test_when_a_run_validates_and_ends(changes: dict[str, Any], validated: list[tuple[int, int]]) -> None:
    trainer = tiny(**changes)
    trainer.fit()
    assert [(row["epoch"], row["step"]) for row in trainer.history] == validated
    assert trainer.step == validated[-1][1]


def losses_of(trainer: Trainer) -> list[float]:
    losses: list[float] = []
    inner = trainer.loss_fn

    def logged(batch: Batch, player: str) -> Tensor:
        loss = inner(batch, player)
        losses.append(loss.item())
        return loss

    trainer.loss_fn = logged
    trainer.fit()
    return losses


def test_the_logged_loss_is_the_mean_since_the_last_validation() -> None:
    trainer = tiny(epochs=5, val_every=2)
    losses = losses_of(trainer)
    parts = (losses[:8], losses[8:16], losses[16:])
    assert [row["train_loss"] for row in trainer.history] == pytest.approx([sum(part) / len(part) for part in parts])


def test_looking_does_not_change_what_is_trained() -> None:
    often = tiny(NoisyLeastSquares(Linear()), epochs=4, val_every=1, ema=0.5)
    losses = losses_of(often)
    seldom = tiny(NoisyLeastSquares(Linear()), epochs=4, val_every=3, ema=0.5)
    assert losses == losses_of(seldom)
    assert torch.equal(weights(often), weights(seldom))
    assert often.history[-1]["val_mse"] == seldom.history[-1]["val_mse"]
    assert often.evaluate(often.val_loader) == often.evaluate(often.val_loader)


def test_looking_does_not_change_a_network_with_dropout() -> None:
    sizes = ("model=lstm", "model.dropout=0.3", "model.hidden_size=4", "data.rows=60", "data.length=3", "epochs=3")
    losses = losses_of(lab(*sizes, "val_every=1").trainer)
    assert losses == losses_of(lab(*sizes, "val_every=3").trainer)
    assert losses != losses_of(lab(*sizes, "seed=1").trainer)


def test_everything_at_once_learns_and_ends_where_it_should() -> None:
    trainer = tiny(
        train=rows(30),
        optimizer=MOMENTUM,
        scheduler=CYCLE,
        accumulate=3,
        ema=0.8,
        grad_clip=2.0,
        epochs=12,
        precision="bf16",
    )
    trainer.fit()
    assert trainer.step == 12 * 3
    assert trainer.players["model"].rate == trainer.players["model"].schedule.end  # type: ignore[attr-defined]
    assert trainer.history[-1]["val_mse"] < 0.4 * trainer.history[0]["val_mse"]
