"""The decision whether members are trained together."""

from __future__ import annotations

import pytest
import torch

from tests.helpers.lab import Lab, lab
from trainer.core.task import Task
from trainer.engine import factory, member_probe
from trainer.engine.strategy import SingleDevice
from trainer.engine.trainer import Trainer

MOONS = ("model=mlp", "data=moons", "data.rows=200", "model.hidden=[4]")


def probe(item: Lab, seeds: tuple[int, ...], *, is_timed: bool = False) -> member_probe.Verdict:
    def make_trainer(task: Task, strategy: SingleDevice) -> Trainer:
        groups = factory.make_param_groups(item.config, item.settings, task, item.loaders["train"], strategy)
        return Trainer(task, groups, item.loaders["train"], item.loaders["val"], item.settings, (), strategy)

    return member_probe.probe_members(item.task, make_trainer, seeds, is_timed=is_timed)


def test_probe_leaves_no_trace() -> None:
    item = lab(*MOONS)
    weights = {name: value.clone() for name, value in item.task.state_dict().items()}
    before = torch.get_rng_state()
    assert probe(item, (0, 1), is_timed=True).reason
    assert torch.get_rng_state().equal(before)
    assert all(value.equal(weights[name]) for name, value in item.task.state_dict().items())


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (("model=vae", "data=digits", "data.train_rows=60", "task.classifier=null"), "draws random numbers other than"),
        (("model=gan", "data=ring", "data.rows=100"), "several parameter groups"),
        (("model=gru", "data=synthetic_seq", "data.rows=100"), "cannot be computed together"),
    ],
)
def test_tasks_that_cannot_be_joined_are_told_with_the_reason(run: tuple[str, ...], reason: str) -> None:
    verdict = probe(lab(*run), (0, 1))
    assert not verdict.is_joint
    assert reason in verdict.reason


def test_times_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    item = lab(*MOONS)
    assert probe(item, (0, 1)) == member_probe.Verdict(True, "")
    for seconds, is_joint in (([1e-3, 1e-3, 2e-3], True), ([1e-3, 2e-3, 8e-3], False)):
        times = iter(seconds)
        monkeypatch.setattr(member_probe, "_time_step", lambda *_, times=times: next(times))
        monkeypatch.setattr(member_probe, "_time_loading", lambda _: 0.0)
        verdict = probe(item, (0,) * 16, is_timed=True)
        assert verdict.is_joint == is_joint
        assert "16 ms one by one" in verdict.reason
    monkeypatch.setattr(member_probe, "_time_step", lambda *_: 0.1)
    assert "mostly arithmetic" in probe(item, (0, 1), is_timed=True).reason


def test_dropout_is_no_obstacle() -> None:
    assert probe(lab(*MOONS, "model.dropout=0.5"), (0, 1)) == member_probe.Verdict(True, "")
    assert probe(lab("model=gcn", "data=karate"), (0, 1)) == member_probe.Verdict(True, "")


def test_a_rate_that_is_far_too_high_is_measured_all_the_same() -> None:
    verdict = probe(lab(*MOONS, "optimizer=sgd", "optimizer.lr=1e30"), (0, 1, 2), is_timed=True)
    assert "one by one" in verdict.reason
