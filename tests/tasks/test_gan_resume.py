"""Exact resume of GANs: both parameter groups, their averages, and the buffers that a forward pass updates."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.lab import lab
from tests.helpers.resumed_runs import ResumedRun, StateChange, drop_state, hash_state
from tests.helpers.tiny import StopAt
from trainer.engine.trainer import Trainer

COMMON = (
    "ema=0.8",
    "scheduler=onecycle",
    "accumulate=2",
    "grad_clip=1.0",
    "epochs=2",
    "val_every=1",
    "task.samples=50",
)
RING = ("data=ring", "data.rows=100", "batch_size=8", "model.critic_hidden=[8,8]", "model.generator_hidden=[8]")
DIGITS = ("data=digits", "data.size=8", "batch_size=128", "model.latent=4")
CASES = {
    "spectral norm, hinge, two rates": (
        *("model=gan", *RING, "model.spectral_norm=true", "task.loss=hinge"),
        *("task.critic_steps=2", "task.critic_lr=1e-3", "task.feature_matching=0.1"),
    ),
    "classes and a penalty": ("model=cgan", *RING, "task.critic_steps=2"),
    "clipped weights, bf16": ("model=gan", *RING, "task.loss=wgan", "task.clip=0.1", "precision=bf16"),
    "styles and r1": ("model=style_gan", *DIGITS, "model.widths=[4,4]", "model.mapping=[4]", "model.critic_hidden=4"),
    "convolutions with spectral norm": ("model=dcgan", *DIGITS, "model.widths=[4,4]"),
}
STEPS = 10  # 80 rows of the ring are 10 batches and 5 steps an epoch; 1,079 digits are 9 batches and 5 steps


def make(words: tuple[str, ...], manager: Any = None, callback: Any = None) -> Trainer:
    return lab(*words, *COMMON, manager=manager, callback=callback).trainer


@cache
def hash_uninterrupted(case: str) -> str:
    trainer = make(CASES[case])
    trainer.fit()
    assert trainer.step == STEPS
    assert len(trainer.history) == 2
    return hash_state(trainer)


def hash_resumed(case: str, folder: Path, stop: int, change_state: StateChange | None = None) -> str:
    resumed = ResumedRun(partial(make, CASES[case]), folder)
    resumed.start(StopAt(stop))
    return hash_state(resumed.resume(change_state=change_state))


@pytest.mark.slow
@pytest.mark.parametrize("stop", [3, STEPS // 2])
@pytest.mark.parametrize("case", CASES)
def test_gan_training_resumes_bit_exactly(case: str, stop: int, tmp_path: Path) -> None:
    assert hash_resumed(case, tmp_path, stop) == hash_uninterrupted(case)


def reset_singular_vectors(state: dict[str, Any], fresh: dict[str, Any]) -> None:
    for name in state["task"]:
        if name.endswith("._u") or name.endswith("._v"):
            state["task"][name] = fresh["task"][name]


DROPPED_STATE: dict[str, StateChange] = {
    "singular vectors": reset_singular_vectors,
    "critic's optimizer": drop_state("param_groups", "critic", "optimizer"),
    "generator's optimizer": drop_state("param_groups", "generator", "optimizer"),
    "critic's steps": drop_state("param_groups", "critic", "steps"),
    "generator's steps": drop_state("param_groups", "generator", "steps"),
    "generator's EMA": drop_state("param_groups", "generator", "ema"),
    "noise": drop_state("random", "torch"),
}


@pytest.mark.slow
@pytest.mark.parametrize("piece", DROPPED_STATE)
def test_a_missing_part_of_the_gan_state_is_detected(piece: str, tmp_path: Path) -> None:
    case = "spectral norm, hinge, two rates"
    assert hash_resumed(case, tmp_path, 3, DROPPED_STATE[piece]) != hash_uninterrupted(case)
