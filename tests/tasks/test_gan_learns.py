"""Every loss learns, a bounded critic loses no mode, classes are heard, and what is not real is rated lower."""

from __future__ import annotations

import pytest
import torch

from tests.helpers.lab import lab
from trainer.core.batch import Batch
from trainer.tasks.losses import gan

TINY = (
    *("data=ring", "data.rows=2000", "data.modes=2", "data.sigma=0.3", "model.latent=4", "batch_size=64", "ema=0.98"),
    *("model.critic_hidden=[32,32]", "model.generator_hidden=[32]", "val_every=10", "optimizer.lr=3e-3"),
)
CASES = {
    "bce": ("model=gan",),
    "bce, r1": ("model=gan", "task.r1=0.1"),
    "hinge": ("model=gan", "task.loss=hinge"),
    "hinge, spectral norm": ("model=gan", "task.loss=hinge", "model.spectral_norm=true"),
    "lsgan": ("model=gan", "task.loss=lsgan"),
    "wgan": ("model=wgan_gp", "task.loss=wgan", "task.clip=0.1", "task.critic_steps=2"),
    "wgan_gp": ("model=wgan_gp", "task.critic_steps=2"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_every_loss_and_bound_finds_one_mode(case: str) -> None:
    # Which of several modes a critic without a bound loses is a matter of the seed; that it finds one is not.
    found = lab(*TINY, "data.modes=1", "epochs=16", "val_every=4", *CASES[case]).test()
    assert found["modes"] == 1
    assert found["energy_distance"] < 0.3


@pytest.mark.slow
def test_a_penalty_finds_both_of_two_modes() -> None:
    found = lab(*TINY, "model=wgan_gp", "task.critic_steps=3", "epochs=60").test()
    assert found["modes"] == 2
    assert found["energy_distance"] < 0.3


@pytest.mark.slow
def test_an_untrained_generator_finds_no_mode() -> None:
    found = lab(*TINY, "model=wgan_gp", "task.critic_steps=100000", "max_steps=50").test()
    assert found["modes"] == 0
    assert found["energy_distance"] > 1


@pytest.mark.slow
def test_a_conditional_generator_follows_its_label_only_if_the_critic_sees_it() -> None:
    words = (*TINY, "model=cgan", "task.critic_steps=3", "epochs=40")
    assert lab(*words).test()["label_accuracy"] > 0.95
    deaf = lab(*words)
    critic = deaf.task.model.critic
    critic.class_embedding = None  # type: ignore[union-attr, assignment]
    assert deaf.test()["label_accuracy"] < 0.8


@pytest.mark.slow
def test_the_penalty_holds_the_critics_slope_near_one_and_without_it_nothing_does() -> None:
    def steepness(weight: str) -> float:
        made = lab(*TINY, "model=wgan_gp", f"task.gradient_penalty={weight}", "max_steps=300", "val_every=100")
        made.trainer.fit()
        real = made.task.normalize(next(made.loaders["val"].iter_epoch(0)))  # type: ignore[operator]
        return gan.gradient_penalty(made.task.model, real, torch.randn_like(real)).item()

    assert steepness("10") < 0.2
    assert steepness("1e-9") > 5


@pytest.mark.slow
def test_rows_the_critic_rejects_score_lower() -> None:
    made = lab(*TINY, "model=wgan_gp", "task.critic_steps=1000", "max_steps=150", "val_every=100")
    made.trainer.fit()
    real = made.data.test.batch(torch.arange(200), 0)
    made.task.eval()
    with torch.no_grad():
        usual, odd = (
            made.task.score_rows(Batch({"x": x}, real.target, real.index))["critic"]  # type: ignore[operator]
            for x in (real.inputs["x"], 0.1 * real.inputs["x"])
        )
    assert usual.shape == (200,)
    assert usual.min() > odd.max()
