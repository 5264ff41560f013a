"""GAN training: active groups, learning rates, updated weights, option checks, metrics that detect mode collapse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.helpers.lab import lab
from trainer.core.batch import Batch
from trainer.data.datasets.generative.ring import Ring
from trainer.metrics.distances import energy_distance, mode_coverage
from trainer.models.generative.gan import GAN
from trainer.tasks.gan import Adversarial
from trainer.utils.errors import ConfigError

SMALL = ("model=wgan_gp", "data=ring", "data.rows=500", "task.samples=50")
DEFAULTS: dict[str, Any] = {
    "loss": "wgan_gp",
    "critic_steps": 5,
    "critic_lr": None,
    "gradient_penalty": None,
    "clip": None,
    "r1": 0.0,
    "feature_matching": 0.0,
    "label_smoothing": 0.0,
    "samples": 2000,
    "classifier": None,
}


def make_gan(width: int = 2, classes: int | None = None, spectral: bool = False) -> GAN:
    return GAN(
        width, classes, 3, 4, generator_hidden=[8], critic_hidden=[8], output_activation="none", spectral_norm=spectral
    )


def make_task(model: nn.Module | None = None, **changes: Any) -> Adversarial:
    return Adversarial(model or make_gan(), **DEFAULTS | changes)


def make_batch(x: Tensor, label: Tensor | None = None) -> Batch:
    return Batch({"x": x}, label, torch.arange(len(x)))


@pytest.fixture(scope="module")
def ring() -> Ring:
    return Ring(rows=5000, modes=8, radius=2.0, sigma=0.1, seed=0)


@pytest.mark.parametrize(("steps", "schedule"), [(1, "G G G G G G"), (3, "c c G c c G")])
def test_active_groups(steps: int, schedule: str) -> None:
    names = {"c": ("critic",), "G": ("critic", "generator")}
    assert [make_task(critic_steps=steps).active_groups(step) for step in range(6)] == [
        names[letter] for letter in schedule.split()
    ]


def flatten_weights(module: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])


@pytest.mark.parametrize("group_name", ["critic", "generator"])
@pytest.mark.parametrize("loss", ["wgan_gp", "wgan", "bce"])
def test_a_step_updates_only_its_param_group(group_name: str, loss: str) -> None:
    run = lab(*SMALL, f"task.loss={loss}", "ema=null", "task.feature_matching=0.1")
    model = run.task.model
    before = {name: flatten_weights(model.get_submodule(name)) for name in ("critic", "generator")}
    batches = [next(run.trainer.train_loader.iter_epoch(0))]
    run.trainer.update_param_group(run.trainer.param_groups[group_name], batches)
    changed = {name for name, old in before.items() if not torch.equal(old, flatten_weights(model.get_submodule(name)))}
    assert changed == {group_name}
    other = ({"critic", "generator"} - {group_name}).pop()
    assert not run.trainer.param_groups[other].params.grad.any()


def test_schedules_count_the_active_steps_of_each_group() -> None:
    run = lab(*SMALL, "max_steps=12", "task.critic_steps=5", "scheduler=onecycle", "val_every=100")
    run.trainer.fit()
    assert {name: group.num_updates for name, group in run.trainer.param_groups.items()} == {
        "critic": 12,
        "generator": 2,
    }
    assert {group.schedule.total_steps for group in run.trainer.param_groups.values()} == {12, 2}


def test_critic_lr_overrides_lr_of_critic() -> None:
    rates = {
        overrides: {name: group.lr for name, group in lab(*SMALL, *overrides).trainer.param_groups.items()}
        for overrides in (("optimizer.lr=1e-3",), ("optimizer.lr=1e-3", "task.critic_lr=4e-3"))
    }
    assert [*rates.values()] == [{"critic": 1e-3, "generator": 1e-3}, {"critic": 4e-3, "generator": 1e-3}]


class LinearCritic(nn.Module):
    """A critic ``<slope, x>`` that is its own hidden layer, and a generator of ones."""

    num_classes, latent = None, 1

    def __init__(self, slope: Tensor):
        super().__init__()
        self.slope = nn.Parameter(slope)
        self.critic = self.generator = nn.Identity()

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        return x @ self.slope

    def features(self, x: Tensor) -> Tensor:
        return x * self.slope

    def generate(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        return torch.ones(len(z), 2)


def test_losses_with_a_linear_critic_in_closed_form() -> None:
    slope, real = torch.tensor([3.0, 4.0]), torch.rand(7, 2)
    mean_score = (real @ slope).mean().item()

    def compute_loss(group: str, **changes: Any) -> float:
        return make_task(LinearCritic(slope), **changes).loss(make_batch(real), group).item()

    assert compute_loss("critic") == pytest.approx(10 * (5 - 1) ** 2 + 7 - mean_score, rel=1e-5)
    assert compute_loss("critic", gradient_penalty=2.0) == pytest.approx(2 * (5 - 1) ** 2 + 7 - mean_score, rel=1e-5)
    plain, regularized = (compute_loss("critic", loss="bce", r1=weight) for weight in (0.0, 3.0))
    assert regularized - plain == pytest.approx(3 * 25 / 2, rel=1e-5)
    assert compute_loss("generator") == pytest.approx(-7)
    mean_difference = ((real.mean(0) - 1) * slope).square().sum().item()
    assert compute_loss("generator", feature_matching=2.0) == pytest.approx(2 * mean_difference - 7, rel=1e-5)


def test_feature_matching_loss_compares_means() -> None:
    task, x = make_task(), torch.randn(20, 2)
    assert task.feature_matching_loss(x, x.flip(0)).item() == pytest.approx(0, abs=1e-10)
    assert task.feature_matching_loss(x, x + 1).item() > 1e-3


def test_generation_and_evaluation_use_the_classes_of_the_rows() -> None:
    task = make_task(make_gan(classes=3), gradient_penalty=0.5)
    x, label = torch.randn(6, 2), torch.tensor([0, 1, 2, 0, 1, 2])

    def compute_loss(group: str, label: Tensor) -> Tensor:
        torch.manual_seed(0)
        return task.loss(make_batch(x, label), group)

    for group in ("critic", "generator"):
        assert torch.equal(compute_loss(group, label), compute_loss(group, label.clone()))
        assert not torch.equal(compute_loss(group, label), compute_loss(group, label.flip(0)))
    with pytest.raises(ConfigError, match=r"model.num_classes: 3 given; the train split has classes 0 to 7"):
        task.validate_targets(torch.arange(8), "train")


CONFLICTS = {
    "task.clip: weight clipping applies to wgan only, and task.loss is bce; set it to null": {
        "loss": "bce",
        "clip": 0.1,
    },
    "task.gradient_penalty: 0 leaves the critic of wgan_gp unconstrained": {"gradient_penalty": 0.0},
    "task.clip and task.gradient_penalty: each constrains": {"loss": "wgan", "gradient_penalty": 10.0},
    "task.gradient_penalty and task.r1: each constrains": {"r1": 1.0},
    "task.label_smoothing: hinge has no targets to smooth; bce and lsgan have": {
        "loss": "hinge",
        "label_smoothing": 0.1,
    },
}


@pytest.mark.parametrize("message", CONFLICTS)
def test_conflicting_options_raise(message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_task(**CONFLICTS[message])


def test_spectral_norm_with_clipping_raises() -> None:
    with pytest.raises(ConfigError, match=r"task\.clip and model\.spectral_norm: each constrains"):
        make_task(make_gan(spectral=True), loss="wgan")
    make_task(make_gan(spectral=True), loss="hinge")


@pytest.mark.slow
def test_clipping_bounds_critic_weights_in_training() -> None:
    run = lab(*SMALL, "task.loss=wgan", "task.clip=0.0625", "max_steps=30", "ema=0.5", "optimizer.lr=1e-2")
    run.trainer.fit()
    critic = run.task.model.critic
    layers = [part for part in critic.modules() if isinstance(part, nn.Linear)]  # type: ignore[union-attr]
    with run.trainer.ema_weights():
        largest_average = max(part.weight.abs().max().item() for part in layers)
    largest = max(value.abs().max().item() for part in layers for value in (part.weight, part.bias))
    assert largest_average <= 0.0625
    assert largest == 0.0625
    # Before the cut the optimizer is within one of Adam's longest steps of the bound, wherever it pushed.
    assert flatten_weights(critic).abs().max() < 0.0625 + 1e-2 / (1 - 0.9) ** 0.5 + 1e-6  # type: ignore[arg-type]


def energy_distance_loop(x: np.ndarray, y: np.ndarray) -> float:
    def mean(a: np.ndarray, b: np.ndarray, pairs: int) -> float:
        return sum(float(np.sqrt(((p - q) ** 2).sum())) for p in a for q in b) / pairs

    n, m = len(x), len(y)
    return 2 * mean(x, y, n * m) - mean(x, x, n * (n - 1)) - mean(y, y, m * (m - 1))


def test_energy_distance_equals_a_double_loop() -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 30, 3))
    y = y[:20] + 1
    found = energy_distance(torch.from_numpy(x), torch.from_numpy(y))
    assert found == pytest.approx(energy_distance_loop(x, y), abs=1e-6)


def test_energy_distance_is_unbiased_and_detects_collapse(ring: Ring) -> None:
    torch.manual_seed(0)
    draws = [energy_distance(torch.randn(50, 2), torch.randn(80, 2)) for _ in range(200)]
    assert abs(np.mean(draws)) < 4 * np.std(draws) / 200**0.5
    real = ring.test.inputs["x"]
    assert abs(energy_distance(ring.val.inputs["x"], real)) < 0.01
    assert energy_distance(torch.tensor([2.0, 0.0]).expand(500, 2), real) > 1


def test_energy_distance_in_blocks_equals_full_matrix() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(2500, 2).double(), torch.randn(300, 2).double()
    n, m = len(x), len(y)
    expected = (
        2 * torch.cdist(x, y).mean() - torch.cdist(x, x).sum() / (n * (n - 1)) - torch.cdist(y, y).sum() / (m * m - m)
    )
    assert energy_distance(x, y) == pytest.approx(float(expected), abs=1e-9)


def test_mode_coverage_of_real_and_collapsed_points(ring: Ring) -> None:
    centers, sigma = ring.info.density.modes, ring.info.density.mode_sigma
    assert centers is not None
    real = mode_coverage(ring.train.inputs["x"], centers, sigma)
    assert real["modes"] == 8
    assert real["within"] == pytest.approx(ring.info.best_possible["within"], abs=0.01)
    collapsed = mode_coverage(centers[2] + 0.05 * torch.randn(500, 2), centers, sigma)
    assert collapsed == {"modes": 1.0, "within": 1.0}
    assert ring.info.baseline["modes"] == 0
    assert ring.info.baseline["within"] == pytest.approx(0.066, abs=0.025)
    assert 0.05 < ring.info.baseline["energy_distance"] < 0.13


def test_a_collapsed_generator_covers_one_mode(ring: Ring) -> None:
    model = make_gan()
    center = ring.info.density.modes[5]  # type: ignore[index]
    with torch.no_grad():
        head = model.generator.net[-2]  # type: ignore[index]
        head.weight.zero_()  # type: ignore[union-attr, operator]
        head.bias.copy_(center)  # type: ignore[union-attr, operator]
    task = make_task(model)
    task.setup(ring)
    batch = make_batch(ring.test.inputs["x"])
    with torch.no_grad():
        totals = {name: rows.values for name, rows in task.score(batch).items()}  # type: ignore[union-attr]
    found = task.metrics(totals)  # type: ignore[arg-type]
    assert (found["modes"], found["within"]) == (1.0, 1.0)
    assert found["energy_distance"] > 1


def test_generator_of_wrong_width_raises(ring: Ring) -> None:
    task = make_task(make_gan(width=3))
    task.setup(ring)
    with pytest.raises(ConfigError, match=r"generates rows \(3,\), but the data has \(2,\)"):
        task.generate(5, None)


@pytest.mark.parametrize("option", ["precision=bf16", "accumulate=2", "grad_clip=1", "task.loss=wgan"])
def test_trainer_options_apply_to_gans(option: str) -> None:
    run = lab(*SMALL, option, "scheduler=onecycle", "max_steps=10", "val_every=100")
    run.trainer.fit()
    assert run.trainer.step == 10
    assert np.isfinite(run.trainer.history[-1]["val_energy_distance"])
