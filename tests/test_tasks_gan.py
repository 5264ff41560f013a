"""Two players in one trainer: turns, whose weights move, the penalty in closed form, and scores that see a collapse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from conftest import lab
from torch import Tensor, nn

from trainer import metrics
from trainer.batch import Batch
from trainer.data.ring import Ring
from trainer.errors import ConfigError
from trainer.models.gan import GAN
from trainer.tasks.gan import Adversarial

SMALL = ("model=wgan_gp", "data=ring", "data.rows=2000")


def gan(squash: Any = "none") -> GAN:
    return GAN(flat_features=2, latent=3, generator_hidden=[8], critic_hidden=[8], squash=squash)


def task(model: nn.Module | None = None, loss: Any = "wasserstein", steps: int = 5, penalty: float = 10.0):
    return Adversarial(model or gan(), loss, steps, penalty, samples=2000, classifier=None)


def batch(x: Tensor) -> Batch:
    return Batch({"x": x}, None, torch.arange(len(x)))


@pytest.fixture(scope="module")
def ring() -> Ring:
    return Ring(rows=5000, modes=8, radius=2.0, sigma=0.1, seed=0)


@pytest.mark.parametrize(("steps", "turns"), [(1, "G G G G G G"), (3, "c c G c c G")])
def test_turns(steps: int, turns: str) -> None:
    names = {"c": ("critic",), "G": ("critic", "generator")}
    assert [task(steps=steps).turns(step) for step in range(6)] == [names[turn] for turn in turns.split()]


def weights(module: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])


@pytest.mark.parametrize("who", ["critic", "generator"])
@pytest.mark.parametrize("loss", ["wasserstein", "bce"])
def test_a_turn_moves_its_own_player_alone(who: str, loss: str) -> None:
    made = lab(*SMALL, f"task.loss={loss}", "ema=null")
    model = made.task.model
    before = {name: weights(model.get_submodule(name)) for name in ("critic", "generator")}
    group = [next(made.trainer.train_loader.epoch(0))]
    made.trainer.update(made.trainer.players[who], group)
    moved = {name for name, old in before.items() if not torch.equal(old, weights(model.get_submodule(name)))}
    assert moved == {who}
    other = ({"critic", "generator"} - {who}).pop()
    assert not made.trainer.players[other].params.grad.any()


def test_schedules_count_each_players_own_turns() -> None:
    made = lab(*SMALL, "max_steps=12", "task.critic_steps=5", "scheduler=onecycle", "val_every=100")
    made.trainer.fit()
    assert {name: player.steps for name, player in made.trainer.players.items()} == {"critic": 12, "generator": 2}
    assert {player.schedule.total for player in made.trainer.players.values()} == {12, 2}


class LinearCritic(nn.Module):
    def __init__(self, slope: Tensor):
        super().__init__()
        self.slope = nn.Parameter(slope)
        self.critic = self.generator = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.slope

    def generate(self, count: int) -> Tensor:
        return torch.ones(count, 2)


@pytest.mark.parametrize("compiling", [False, True])
def test_penalty_and_loss_of_a_linear_critic_in_closed_form(compiling: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: compiling)
    built = task(LinearCritic(torch.tensor([3.0, 4.0])))
    real = torch.rand(7, 2)
    loss = built.loss(batch(real), "critic")
    expected = 10 * (5.0 - 1) ** 2 + 7.0 - (real @ torch.tensor([3.0, 4.0])).mean()
    torch.testing.assert_close(loss, expected)
    (grad,) = torch.autograd.grad(loss, built.model.slope)  # type: ignore[arg-type]
    direction = torch.tensor([0.6, 0.8])
    torch.testing.assert_close(grad, 10 * 2 * (5 - 1) * direction + 1 - real.mean(0))


def test_losses_of_both_games() -> None:
    model = LinearCritic(torch.tensor([1.0, 0.5]))
    nothing = batch(torch.zeros(4, 2))
    bce = task(model, "bce", penalty=0.0)
    assert task(model).loss(nothing, "generator").item() == pytest.approx(-1.5)
    assert bce.loss(nothing, "generator").item() == pytest.approx(np.log1p(np.exp(-1.5)))
    assert bce.loss(nothing, "critic").item() == pytest.approx(np.log(2) + np.log1p(np.exp(1.5)))


def brute_force(x: np.ndarray, y: np.ndarray) -> float:
    def mean(a: np.ndarray, b: np.ndarray, pairs: int) -> float:
        return sum(float(np.sqrt(((p - q) ** 2).sum())) for p in a for q in b) / pairs

    n, m = len(x), len(y)
    return 2 * mean(x, y, n * m) - mean(x, x, n * (n - 1)) - mean(y, y, m * (m - 1))


def test_energy_distance_equals_a_double_loop() -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 30, 3))
    y = y[:20] + 1
    found = metrics.energy_distance(torch.from_numpy(x), torch.from_numpy(y))
    assert found == pytest.approx(brute_force(x, y), abs=1e-6)


def test_energy_distance_is_zero_on_average_for_one_distribution_and_large_for_a_collapsed_one(ring: Ring) -> None:
    torch.manual_seed(0)
    draws = [metrics.energy_distance(torch.randn(50, 2), torch.randn(80, 2)) for _ in range(200)]
    assert abs(np.mean(draws)) < 4 * np.std(draws) / 200**0.5
    real = ring.test.inputs["x"]
    assert abs(metrics.energy_distance(ring.val.inputs["x"], real)) < 0.01
    assert metrics.energy_distance(torch.tensor([2.0, 0.0]).expand(500, 2), real) > 1


def test_energy_distance_in_blocks_equals_whole() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(2500, 2).double(), torch.randn(300, 2).double()
    n, m = len(x), len(y)
    whole = (
        2 * torch.cdist(x, y).mean() - torch.cdist(x, x).sum() / (n * (n - 1)) - torch.cdist(y, y).sum() / (m * m - m)
    )
    assert metrics.energy_distance(x, y) == pytest.approx(float(whole), abs=1e-9)


def test_coverage_of_real_collapsed_and_smeared_points(ring: Ring) -> None:
    centres, sigma = ring.facts.modes, ring.facts.mode_sigma
    assert centres is not None
    real = metrics.mode_coverage(ring.train.inputs["x"], centres, sigma)
    assert real["modes"] == 8
    assert real["within"] == pytest.approx(ring.facts.best_possible["within"], abs=0.01)
    collapsed = metrics.mode_coverage(centres[2] + 0.05 * torch.randn(500, 2), centres, sigma)
    assert collapsed == {"modes": 1.0, "within": 1.0}
    assert ring.facts.baseline["modes"] == 0
    assert ring.facts.baseline["within"] == pytest.approx(0.066, abs=0.025)
    assert 0.05 < ring.facts.baseline["energy_distance"] < 0.13


def test_a_collapsed_generator_scores_one_mode(ring: Ring) -> None:
    model = gan()
    centre = ring.facts.modes[5]  # type: ignore[index]
    with torch.no_grad():
        head = model.generator[-2]
        head.weight.zero_()  # type: ignore[union-attr, operator]
        head.bias.copy_(centre)  # type: ignore[union-attr, operator]
    built = task(model)
    built.attach(ring)
    whole = batch(ring.test.inputs["x"])
    with torch.no_grad():
        totals = {name: rows.values for name, rows in built.score(whole).items()}  # type: ignore[union-attr]
    found = built.metrics(totals)  # type: ignore[arg-type]
    assert (found["modes"], found["within"]) == (1.0, 1.0)
    assert found["energy_distance"] > 1


def test_points_of_another_width_are_refused(ring: Ring) -> None:
    wide = GAN(flat_features=3, latent=3, generator_hidden=[4], critic_hidden=[4], squash="none")
    built = task(wide)
    built.attach(ring)
    with pytest.raises(ConfigError, match=r"makes rows \(3,\) where the data has \(2,\)"):
        built.make(5, None)


@pytest.mark.parametrize(("squash", "low"), [("tanh", -1.0), ("sigmoid", 0.0)])
def test_squash_bounds_what_is_generated(squash: str, low: float) -> None:
    model = gan(squash)
    with torch.no_grad():
        model.generator[-2].weight.mul_(100)  # type: ignore[union-attr, operator]
    points = model.generate(200)
    assert low <= points.min() < low + 0.01
    assert 0.99 < points.max() <= 1


def test_generate_draws_from_torchs_generator() -> None:
    model = gan()
    torch.manual_seed(1)
    first = model.generate(4)
    torch.manual_seed(1)
    assert torch.equal(first, model.generate(4))
    assert not torch.equal(first, model.generate(4))


@pytest.mark.parametrize("option", ["precision=bf16", "accumulate=2", "grad_clip=1", "task.loss=bce"])
def test_options_of_the_trainer_hold_for_a_game(option: str) -> None:
    made = lab(*SMALL, option, "max_steps=30", "val_every=100")
    made.trainer.fit()
    assert made.trainer.step == 30
    assert np.isfinite(made.trainer.history[-1]["val_energy_distance"])


@pytest.mark.slow
def test_training_finds_both_modes_and_without_the_generators_turns_neither() -> None:
    tiny = (*SMALL, "data.modes=2", "data.sigma=0.3", "model.critic_hidden=[32,32,32]", "model.generator_hidden=[32]")
    quick = (*tiny, "batch_size=64", "epochs=80", "optimizer.lr=3e-3", "ema=0.98")
    found = lab(*quick, "task.critic_steps=3").test()
    assert found["modes"] == 2
    assert found["energy_distance"] < 0.2
    frozen = lab(*quick, "task.critic_steps=100000", "max_steps=50").test()
    assert frozen["modes"] == 0
    assert frozen["energy_distance"] > 0.5
