"""Members that are trained together, against the same runs alone."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers.member_labs import measure_difference, train_alone, train_together
from trainer.engine import member_gradient
from trainer.engine.member_dropout import MemberDropout
from trainer.engine.member_gradient import MemberGradient
from trainer.engine.member_updates import SeparateStep
from trainer.engine.trainer import Trainer
from trainer.utils.errors import NonFiniteError

TOLERANCE = 1e-5
MOONS = ("model=mlp", "data=moons", "data.rows=200", "epochs=1", "batch_size=32", "model.hidden=[8]")
RATES = (("seed=0", "optimizer.lr=0.01"), ("seed=0", "optimizer.lr=0.02"), ("seed=1", "optimizer.lr=0.01"))
DROPOUT_RATES = ("model.dropout=0.5", "model.dropout=0.2", "model.dropout=0.5")
RUNS: dict[str, tuple[str, ...]] = {
    "mlp": MOONS,
    "batch_norm": ("model=cnn", "data=digits", "model.norm=batch", "model.channels=[4,4,4]", "max_steps=3"),
    "gcn": ("model=gcn", "data=karate", "epochs=2", "model.dropout=0"),
    "dropout": (*MOONS, "model.hidden=[8,8]"),
    "graph_dropout": ("model=gcn", "data=karate", "epochs=3"),
    "image_dropout": ("model=attention_cnn", "data=digits", "data.train_rows=60", "max_steps=2", "optimizer=sgd"),
    "ema_clip": (*MOONS, "ema=0.9", "grad_clip=0.1", "optimizer=sgd", "scheduler=onecycle"),
}


def count_joint_gradients(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list to which each gradient of several members adds their number."""
    counts: list[int] = []
    compute = MemberGradient.compute

    def count(self: MemberGradient, *args: Any) -> Tensor:
        losses = compute(self, *args)
        counts.append(len(args[1]))
        return losses

    monkeypatch.setattr(MemberGradient, "compute", count)
    return counts


@pytest.mark.parametrize("name", RUNS)
def test_members_equal_separate_runs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = count_joint_gradients(monkeypatch)
    members = [(*RUNS[name], *own) for own in RATES]
    if "dropout" in name:
        members = [(*words, rate) for words, rate in zip(members, DROPOUT_RATES, strict=True)]
    labs, loops = train_together(members)
    assert [loop.error for loop in loops] == [None] * 3
    assert counts == [3] * labs[0].trainer.step
    alone = [train_alone(member) for member in members]
    assert max(map(measure_difference, labs, alone)) < TOLERANCE
    # A run with another rate or seed is no replacement.
    assert min(map(measure_difference, labs, alone[1:] + alone[:1])) > 10 * TOLERANCE


@pytest.mark.parametrize("is_checked", [True, False])
def test_random_numbers_of_another_member_are_noticed(is_checked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The seed of a member decides what its dropout drops, whichever members are beside it."""
    monkeypatch.setattr(
        member_gradient, "MemberDropout", lambda generators, rates: MemberDropout(generators[::-1], rates)
    )
    if not is_checked:
        monkeypatch.setattr(SeparateStep, "matches", lambda *_: True)
    members = [(*MOONS, *own, "model.dropout=0.5") for own in RATES]
    labs, _ = train_together(members)
    difference = measure_difference(labs[2], train_alone(members[2]))
    assert difference == 0 if is_checked else difference > 10 * TOLERANCE


def test_members_with_and_without_dropout_are_trained_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = count_joint_gradients(monkeypatch)
    members = [("model=gcn", "data=karate", "epochs=2", f"model.dropout={rate}") for rate in (0.5, 0.0)]
    labs, loops = train_together(members)
    assert [loop.error for loop in loops] == [None] * 2
    assert not counts
    assert [measure_difference(own, train_alone(member)) for own, member in zip(labs, members, strict=True)] == [0, 0]


@pytest.mark.parametrize("is_checked", [True, False])
def test_a_gradient_in_the_row_of_another_member_is_noticed(is_checked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    compute = MemberGradient.compute

    def exchange_rows(self: MemberGradient, *args: Any) -> Tensor:
        losses = compute(self, *args)
        self._matrix.grad.copy_(self._matrix.grad.roll(1, 0))
        return losses

    monkeypatch.setattr(MemberGradient, "compute", exchange_rows)
    if not is_checked:
        monkeypatch.setattr(SeparateStep, "matches", lambda *_: True)
    members = [(*MOONS, *own) for own in RATES]
    labs, _ = train_together(members)
    difference = measure_difference(labs[0], train_alone(members[0]))
    assert difference == 0 if is_checked else difference > 10 * TOLERANCE


@pytest.mark.parametrize(
    "run",
    [
        ("model=vae", "data=digits", "data.train_rows=60", "task.classifier=null", "max_steps=2"),
        ("model=gan", "data=ring", "data.rows=100", "batch_size=50", "max_steps=3"),
        ("model=gru", "data=synthetic_seq", "data.rows=120", "model.hidden_size=6", "max_steps=2"),
    ],
    ids=["random_numbers", "two_groups", "no_batching_rule"],
)
def test_losses_that_cannot_be_joined_are_computed_one_by_one_with_the_same_bits(
    run: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = count_joint_gradients(monkeypatch)
    members = [(*run, "seed=0"), (*run, "seed=1")]
    labs, loops = train_together(members)
    assert [loop.error for loop in loops] == [None] * 2
    assert not counts
    assert [measure_difference(own, train_alone(member)) for own, member in zip(labs, members, strict=True)] == [0, 0]


def test_a_member_that_is_not_finite_ends_alone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    members = [(*MOONS, "optimizer=sgd", f"optimizer.lr={rate}") for rate in ("0.01", "1e30", "0.02")]
    labs, loops = train_together(members)
    assert [type(loop.error) for loop in loops] == [type(None), NonFiniteError, type(None)]
    assert "weights were not updated" in str(loops[1].error)
    assert labs[1].trainer.step < labs[0].trainer.total_steps
    for row in (0, 2):
        assert measure_difference(labs[row], train_alone(members[row])) < TOLERANCE


def test_members_of_different_lengths_go_on_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = count_joint_gradients(monkeypatch)
    members = [(*MOONS, f"epochs={epochs}") for epochs in (3, 1, 2)]
    labs, _ = train_together(members)
    steps = [lab.trainer.step for lab in labs]
    assert counts == [3] * steps[1] + [2] * (steps[2] - steps[1])
    alone = [train_alone(member) for member in members]
    assert max(map(measure_difference, labs, alone)) < TOLERANCE


def test_members_go_on_alone_if_a_later_gradient_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    compute = MemberGradient.compute
    counts: list[int] = []

    def fail_later(self: MemberGradient, *args: Any) -> Tensor:
        counts.append(len(args[1]))
        if len(counts) == 3:
            raise torch.OutOfMemoryError("on purpose")
        return compute(self, *args)

    monkeypatch.setattr(MemberGradient, "compute", fail_later)
    members = [(*MOONS, *own) for own in RATES]
    labs, loops = train_together(members)
    assert [loop.error for loop in loops] == [None] * 3
    assert len(counts) == 3
    assert max(map(measure_difference, labs, map(train_alone, members))) < TOLERANCE


@pytest.mark.parametrize("rate", [0.0, 0.5, 1.0])
def test_state_of_a_member_has_its_own_random_numbers(rate: float, monkeypatch: pytest.MonkeyPatch) -> None:
    states: dict[int, Tensor] = {}
    step = Trainer.apply_gradient

    def save_state(self: Trainer, *args: Any) -> None:
        step(self, *args)
        states.setdefault(self.settings.seed, self.state_dict()["random"]["torch"])

    monkeypatch.setattr(Trainer, "apply_gradient", save_state)
    members = [(*MOONS, f"model.dropout={rate}", f"seed={seed}") for seed in (0, 1)]
    train_together(members)
    together = dict(states)
    states.clear()
    for member in members:
        train_alone(member)
    assert not torch.equal(together[0], together[1])
    assert all(torch.equal(together[seed], states[seed]) for seed in (0, 1))
