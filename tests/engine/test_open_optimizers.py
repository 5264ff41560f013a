"""Bit-exact resume with any optimizer and schedule, parameter groups and frozen parameters."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.helpers.lab import lab
from tests.helpers.marks import mark_slow_after
from tests.helpers.resumed_runs import MID_EPOCH, STEPS_AN_EPOCH, ResumedRun, hash_state, make_noisy_trainer
from tests.helpers.tiny import CONSTANT, SGD, LeastSquares, Linear, StopAt, losses_of, tiny, weights
from trainer.config import registry
from trainer.engine import checkpoint, checkpoint_schema
from trainer.engine.checkpoint import CheckpointManager
from trainer.engine.trainer import Trainer
from trainer.runs import resume
from trainer.utils.errors import ConfigError

TORCH = ["nadam", "radam", "adamax", "adagrad", "adadelta", "asgd", "rprop", "adafactor", "muon"]
SCHEDULES = ["constant", "cosine_restarts", "exponential", "linear", "polynomial", "multistep", "cyclic"]
OWN_SCHEDULES = {"none", "onecycle", "cosine", "step", "plateau", "wsd", "schedule_free"}
ONE_CYCLE = {"_target_": "torch.optim.lr_scheduler.OneCycleLR", "max_lr": 0.1}
NETWORK = (
    *("model=mlp", "model.hidden=[6]", "model.dropout=0.2", "data=synthetic_tabular", "data.rows=60", "batch_size=5"),
    *("accumulate=2", "epochs=2", "ema=0.7", "grad_clip=1.0", "seed=3"),
)
LAST_STEP = 8
GROUPS = "optimizer.groups=[{match: 'layers.*', lr_scale: 0.1}, {match: '*.bias', weight_decay: 0.3}]"


def build(*overrides: str, manager: Any = None, callback: Any = None) -> Trainer:
    return lab(*NETWORK, *overrides, manager=manager, callback=callback).trainer


def hash_uninterrupted(make: Any) -> str:
    """Return the hash of an uninterrupted run."""
    trainer = make()
    trainer.fit()
    return hash_state(trainer)


def check_state(trainer: Trainer, folder: Path) -> None:
    """Check that the saved state passes the validation of a resume."""
    state = checkpoint.load_newest(folder)
    checkpoint_schema.check_trained_state(state, trainer, folder / checkpoint.LAST)


def assert_resumes(make: Any, folder: Path, step: int) -> None:
    whole = hash_uninterrupted(make)
    chain = ResumedRun(make, folder)
    chain.start(StopAt(step))
    check_state(make(), folder)
    assert hash_state(chain.resume()) == whole


def test_every_option_is_tested() -> None:
    own = {"adam", "adamw", "sgd", "rmsprop"}
    assert set(registry.list_options("optimizer")) == {*TORCH, *own}
    assert set(registry.list_options("scheduler")) == {*SCHEDULES, *OWN_SCHEDULES}


@pytest.mark.parametrize("step", mark_slow_after(1, [6, 1]))
@pytest.mark.parametrize("name", TORCH)
def test_an_optimizer_resumes_bit_exactly(name: str, step: int, tmp_path: Path) -> None:
    assert_resumes(partial(build, f"optimizer={name}", "scheduler=cosine_restarts", "scheduler.T_0=3"), tmp_path, step)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_resumes_bit_exactly(name: str, tmp_path: Path) -> None:
    own = {
        "constant": ["scheduler.total_iters=5"],
        "cosine_restarts": ["scheduler.T_0=2"],
        "multistep": ["scheduler.milestones=[2,6]"],
    }
    make = partial(build, "optimizer=nadam", f"scheduler={name}", "scheduler.warmup=1", *own.get(name, ()))
    assert_resumes(make, tmp_path, 5)


@pytest.mark.parametrize("step", [STEPS_AN_EPOCH, MID_EPOCH])
def test_a_plateau_schedule_of_torch_resumes_bit_exactly(step: int, tmp_path: Path) -> None:
    node = {"_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau", "factor": 0.5, "patience": 1}
    assert_resumes(partial(make_noisy_trainer, node), tmp_path, step)


@pytest.mark.parametrize("optimizer", ["adamw", "nadam", "muon"])
def test_param_groups_and_frozen_parameters_resume_bit_exactly(optimizer: str, tmp_path: Path) -> None:
    overrides = (f"optimizer={optimizer}", GROUPS, "freeze=['layers.0.bias']")
    assert_resumes(partial(build, *overrides), tmp_path, 5)
    trainer = build(*overrides)
    state = trainer.state_dict()["param_groups"]["model"]
    assert set(state["ema"]) == {"model.layers.0.weight", "model.head.weight", "model.head.bias"}
    start = trainer.task.model.get_parameter("layers.0.bias").clone()
    trainer.fit()
    assert torch.equal(trainer.task.model.get_parameter("layers.0.bias"), start)
    assert trainer.task.model.get_parameter("layers.0.bias").grad is None


@pytest.mark.parametrize("overrides", [("optimizer=nadam",), ("optimizer=sgd", "freeze=['generator.net.0.*']")])
def test_gan_training_resumes_bit_exactly(overrides: tuple[str, ...], tmp_path: Path) -> None:
    def make(manager: Any = None, callback: Any = None) -> Trainer:
        gan = ("model=gan", "data=ring", "data.rows=100", "batch_size=8", "model.critic_hidden=[8,8]")
        small = ("model.generator_hidden=[8]", "task.critic_steps=2", "epochs=1", "val_every=1", "task.samples=50")
        groups = "optimizer.groups=[{match: 'critic.*', lr_scale: 0.5}]"
        return lab(*gan, *small, *overrides, groups, "ema=0.8", manager=manager, callback=callback).trainer

    assert_resumes(make, tmp_path, 4)


def node(optimizer: str, **options: Any) -> dict[str, Any]:
    return {"_target_": f"torch.optim.{optimizer}", "lr": 0.05} | options


def test_per_group_lr_and_weight_decay_match_a_closed_form() -> None:
    groups = [{"match": "head.weight", "lr_scale": 0.5}, {"match": "*.bias", "weight_decay": 0.4}]
    for optimizer in (SGD, {"_target_": "torch.optim.SGD", "lr": 0.1, "momentum": 0.0}):
        trainer = tiny(optimizer=optimizer | {"groups": groups}, max_steps=1)
        twin = nn.Linear(3, 1)
        twin.load_state_dict(trainer.task.model.head.state_dict())  # type: ignore[union-attr, arg-type]
        group = next(iter(trainer.param_groups.values()))
        trainer.fit()
        gradient = group.params.split_by_name(group.params.grad)
        with torch.no_grad():
            weight = twin.weight - 0.05 * gradient["model.head.weight"]
            bias = twin.bias - 0.1 * (gradient["model.head.bias"] + 0.4 * twin.bias)
        torch.testing.assert_close(trainer.task.model.head.weight, weight)  # type: ignore[union-attr]
        torch.testing.assert_close(trainer.task.model.head.bias, bias)  # type: ignore[union-attr]


def test_frozen_parameters_are_in_no_group_and_have_no_gradient() -> None:
    frozen = build("freeze=['head.*']", "optimizer=adamw")
    assert [group.params.names for group in frozen.param_groups.values()] == [
        ["model.layers.0.weight", "model.layers.0.bias"]
    ]
    assert all(p.grad is None for n, p in frozen.task.named_parameters() if "head" in n)


def test_frozen_batch_norm_keeps_its_running_statistics() -> None:
    overrides = ("model=resnet", "data=gratings", "data.rows=60", "batch_size=16", "max_steps=2")
    for patterns, moves in (([], True), (["trunk.stem.*"], False)):
        trainer = lab(*overrides, f"freeze={patterns}").trainer
        stem, later = (trainer.task.model.get_submodule(f"trunk.{n}") for n in ("stem.1", "stages.0.branch.1"))
        before = stem.running_mean.clone(), later.running_mean.clone()  # type: ignore[operator, union-attr]
        trainer.fit()
        assert torch.equal(stem.running_mean, before[0]) != moves  # type: ignore[arg-type]
        assert not torch.equal(later.running_mean, before[1])  # type: ignore[arg-type]


@pytest.mark.parametrize("optimizer", ["NAdam", "Adafactor"])
def test_fp16_skips_an_overflow(optimizer: str, tmp_path: Path) -> None:
    trainer = tiny(optimizer=node(optimizer), precision="fp16", epochs=2, manager=CheckpointManager(tmp_path, {}))
    (group,) = trainer.param_groups.values()
    trainer.scaler.load_state_dict(trainer.scaler.state_dict() | {"scale": 2.0**60})
    start, scales = weights(trainer), []
    for batch in list(trainer.train_loader.iter_epoch(0, start=0))[:2]:
        trainer.update_param_group(group, [batch])
        scales.append(trainer.scaler.get_scale())
    assert torch.equal(weights(trainer), start)
    assert scales == [2.0**59, 2.0**58]
    trainer.scaler.load_state_dict(trainer.scaler.state_dict() | {"scale": 2.0**10})
    assert all(loss == loss for loss in losses_of(trainer))
    assert not torch.equal(weights(trainer), start)


def test_an_unsupported_momentum_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"scheduler.cycle_momentum: the optimizer has no momentum"):
        tiny(optimizer=node("Adagrad"), scheduler=ONE_CYCLE)
    tiny(optimizer=node("NAdam"), scheduler=ONE_CYCLE)


@pytest.mark.parametrize(
    ("optimizer", "scheduler", "problem"),
    [
        (node("NAdam", eps=-1.0), CONSTANT, "optimizer: Invalid epsilon"),
        (node("Muon"), CONSTANT, "optimizer=muon leaves those"),
        (node("SGD"), ONE_CYCLE | {"pct_start": 2.0}, "scheduler: Expected float between 0 and 1 pct_start"),
        (node("SGD"), ONE_CYCLE | {"total_steps": 3}, "scheduler: total_steps: 3 given, and the run has 4"),
    ],
)
def test_errors_of_torch_optimizers_and_schedules_are_reported(
    optimizer: dict[str, Any], scheduler: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        tiny(optimizer=optimizer, scheduler=scheduler).fit()


def test_freezing_every_parameter_raises() -> None:
    task = LeastSquares(Linear()).requires_grad_(False)
    with pytest.raises(ConfigError, match="freeze: it leaves no parameter to train"):
        tiny(task)


@pytest.mark.slow
def test_flat_optimizer_state_is_split_by_parameter_name() -> None:
    trainer = build("optimizer=adamw")
    trainer.fit()
    (group,) = trainer.param_groups.values()
    new = trainer.state_dict()
    old = trainer.state_dict()
    old["param_groups"] = {
        "model": group.state_dict()
        | {"ema": group.ema.average}
        | {"optimizer": {"steps": group.optimizer.steps, "averages": group.optimizer.averages}}
    }
    named = resume.split_flat_states(trainer, old)["param_groups"]["model"]
    assert named["ema"].keys() == new["param_groups"]["model"]["ema"].keys()
    assert str(named) == str(new["param_groups"]["model"])
