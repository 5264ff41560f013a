"""The bound is a bound: against the exact likelihood, at its analytic optimum, and whatever the size of the batch."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from tests.helpers.lab import Lab, lab
from trainer.core.batch import Batch, ScoreAccumulator
from trainer.core.dataset import Dataset, TensorSplit
from trainer.core.dataset_info import DatasetInfo
from trainer.core.task import Task
from trainer.data.datasets.generative.linear_gaussian import LinearGaussian
from trainer.metrics.classification import roc_auc
from trainer.models.generative.vae import VAE
from trainer.tasks.vae import VariationalInference
from trainer.utils.errors import ConfigError

GATE = 0.6
SMALL = ("model=vae", "data=linear_gaussian", "data.rows=4000", "batch_size=64", "model.hidden=[64]")
TRAINED = ("epochs=30", "optimizer.lr=3e-3")


class Exact(nn.Module):
    """The true posterior and decoder of a linear Gaussian whose weight has orthogonal columns, the mean ``off``."""

    levels, num_classes = 1, None

    def __init__(self, weight: Tensor, noise: float, off: float):
        super().__init__()
        self.off = off
        self.latent = weight.shape[1]
        self.weight = nn.Parameter(weight)
        self.precision = 1 + weight.square().sum(0) / noise**2
        self.noise = noise

    def encode(self, x: Tensor, label: Tensor | None = None) -> tuple[Tensor, Tensor]:
        mean = x @ self.weight / self.noise**2 / self.precision
        return mean + self.off, -self.precision.log().expand_as(mean)

    def decode(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        return z @ self.weight.T

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x)[0])


class Points(Dataset):
    shapes = "x (B, F) -> ()"

    def __init__(self, x: Tensor) -> None:
        self.train = self.val = self.test = TensorSplit({"x": x})
        self.info = DatasetInfo(sizes={})


def vae(levels: int = 1, classes: int | None = None) -> VAE:
    return VAE(flat_features=6, hidden=[8], latent=2, levels=levels, num_classes=classes)


def task(model: nn.Module | None = None, kind: Any = VariationalInference, **keys: Any) -> VariationalInference:
    usual = {"likelihood": "gaussian", "binarize": False, "beta": 1.0, "beta_warmup": 0.0, "eval_samples": 4}
    return kind(model or vae(), **usual | {"samples": 100, "classifier": None} | keys)


def batch(x: Tensor) -> Batch:
    return Batch({"x": x}, None, torch.arange(len(x)))


def scores(built: VariationalInference, x: Tensor) -> dict[str, float]:
    built.setup(Points(x))
    totals = ScoreAccumulator()
    with torch.no_grad():
        totals.update(built.score(batch(x)))
        return built.metrics(totals.compute_totals())


class Summed(VariationalInference):
    """What the sources do: their step grows with the batch."""

    def loss(self, batch: Batch, group: str) -> Tensor:
        return super().loss(batch, group) * len(batch)


@pytest.mark.parametrize(("kind", "grows"), [(VariationalInference, 1), (Summed, 2)])
def test_the_loss_is_independent_of_the_batch_size(kind: Any, grows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "randn_like", lambda like: torch.full_like(like, 0.3))
    built, x = task(kind=kind), torch.rand(16, 6)
    once, twice = built.loss(batch(x), "model"), built.loss(batch(torch.cat((x, x))), "model")
    torch.testing.assert_close(grows * once, twice)


def test_terms_equal_torch_distributions() -> None:
    built, x = task(), torch.rand(5, 6)
    torch.manual_seed(3)
    terms = built.estimate_elbo_terms(batch(x), 3)
    torch.manual_seed(3)
    mean, log_variance = built.model.encode(x)  # type: ignore[operator]
    posterior, prior = Normal(mean, torch.exp(log_variance / 2)), Normal(0.0, 1.0)
    z = mean + posterior.stddev * torch.stack([torch.randn(5, 2) for _ in range(3)])
    nats = Normal(built.model.decode(z), 1.0).log_prob(x).sum(-1)  # type: ignore[operator]
    weights = nats + prior.log_prob(z).sum(-1) - posterior.log_prob(z).sum(-1)
    torch.testing.assert_close(terms.reconstruction, -nats.mean(0))
    torch.testing.assert_close(terms.kl, kl_divergence(posterior, prior).sum(-1))
    torch.testing.assert_close(terms.bound, weights.exp().mean(0).log())


def test_beta_warms_up_with_progress() -> None:
    built = task(beta=2.0, beta_warmup=0.5)
    seen = []
    for progress in (0.0, 0.25, 0.5, 0.9):
        built.progress.fill_(progress)
        seen.append(float(built.compute_kl_weight()))
    assert seen == [0.0, 1.0, 2.0, 2.0]


def test_exact_likelihood_equals_torch_and_its_expectation() -> None:
    data = LinearGaussian(rows=5000, in_features=20, latent=4, noise=0.5, seed=1)
    x = data.test.inputs["x"].double()
    root = data.root
    reference = MultivariateNormal(torch.zeros(20, dtype=torch.float64), scale_tril=root)
    torch.testing.assert_close(data.log_likelihood(x), reference.log_prob(x))
    entropy = 10 * math.log(2 * math.pi * math.e) + np.log(root.diagonal().numpy()).sum()
    assert data.info.best_possible["elbo"] == pytest.approx(-entropy, abs=0.3)


def exact(posterior_off: float = 0.0) -> tuple[VariationalInference, Tensor, Tensor]:
    """The true model of points (N, 6), their posterior so far from the true one, the points and their exact nats."""
    torch.manual_seed(0)
    weight = torch.linalg.qr(torch.randn(6, 2))[0] * torch.tensor([2.0, 1.0])
    x = torch.randn(4000, 2) @ weight.T + 0.5 * torch.randn(4000, 6)
    built = task(Exact(weight, 0.5, posterior_off))
    with torch.no_grad():
        built.likelihood.log_sigma.fill_(math.log(0.5))  # type: ignore[union-attr, operator]
    return built, x, MultivariateNormal(torch.zeros(6), weight @ weight.T + 0.25 * torch.eye(6)).log_prob(x)


def test_the_true_posterior_closes_the_gap() -> None:
    built, x, nats = exact()
    found = scores(built, x)
    assert found["elbo"] == pytest.approx(float(nats.mean()), abs=0.02)
    # Every sample of a true posterior weighs p(x), so one says all.
    with torch.no_grad():
        torch.testing.assert_close(built.estimate_elbo_terms(batch(x), 1).bound, nats, atol=1e-3, rtol=0)
        built.likelihood.log_sigma.fill_(math.log(0.6))  # type: ignore[union-attr, operator]
    assert scores(built, x)["elbo"] < float(nats.mean()) - 0.1


@torch.no_grad()
def test_the_importance_weighted_bound_rises_from_the_elbo_to_the_exact_likelihood() -> None:
    built, x, nats = exact(posterior_off=0.2)
    found = {k: built.estimate_elbo_terms(batch(x), k) for k in (1, 5, 100)}
    one, few, many = (float(terms.bound.mean()) for terms in found.values())
    best = float(nats.mean())
    elbo = -found[100].reconstruction - found[100].kl
    assert one == pytest.approx(float(elbo.mean()), abs=0.05)
    assert one < few - 0.2 < many - 0.25
    assert best - 0.02 < many < best + 0.01


@pytest.fixture(scope="module")
def trained() -> tuple[Lab, dict[str, float]]:
    made = lab(*SMALL, *TRAINED)
    return made, made.test()


@pytest.mark.slow
def test_training_reaches_the_gate_and_stays_under_the_exact_likelihood(trained: tuple[Lab, dict[str, float]]) -> None:
    made, found = trained
    assert 0 <= found["gap"] < GATE
    assert found["elbo"] == pytest.approx(-found["reconstruction"] - found["kl"])
    assert found["elbo"] == pytest.approx(made.data.info.best_possible["elbo"] - found["gap"], abs=1e-4)
    assert all(row["val_gap"] > -0.02 for row in made.trainer.history)
    sigma = float(made.task.get_parameter("likelihood.log_sigma").detach().exp())
    assert sigma == pytest.approx(0.5, abs=0.05)


def test_a_gaussian_for_each_feature_and_an_untrained_model_miss_the_gate() -> None:
    made = lab(*SMALL)
    untrained = made.trainer.evaluate_loader(made.loaders["test"])
    assert untrained["gap"] > 10
    assert made.data.info.baseline["gap"] > 10


@pytest.mark.slow
def test_more_beta_less_kl_and_without_a_code_the_gate_is_missed(trained: tuple[Lab, dict[str, float]]) -> None:
    _, one = trained
    four, fifty = (lab(*SMALL, *TRAINED, f"task.beta={beta}").test() for beta in (4, 50))
    assert one["kl"] > four["kl"] + 3 > fifty["kl"] + 4
    assert fifty["gap"] > 10
    assert fifty["kl"] < 0.2


@pytest.mark.slow
@torch.no_grad()
def test_rows_whose_numbers_do_not_belong_together_are_rated_lower(trained: tuple[Lab, dict[str, float]]) -> None:
    made, _ = trained
    x = made.data.test.batch(torch.arange(400), 0).inputs["x"]
    odd = torch.stack([column[torch.randperm(400)] for column in x.T], dim=1)
    belongs = torch.arange(800) < 400

    def auc(kept: Task) -> float:
        rated = kept.score_rows(batch(torch.cat((x, odd))))
        torch.testing.assert_close(rated["elbo"], -rated["reconstruction"] - rated["kl"])
        return roc_auc(rated["elbo"], belongs)

    assert auc(made.task) > 0.95
    assert auc(lab(*SMALL).task) < 0.7


@pytest.mark.slow
@torch.no_grad()
def test_points_are_drawn_with_the_spread_of_real_ones(trained: tuple[Lab, dict[str, float]]) -> None:
    made, found = trained
    assert found["energy_distance"] < 0.05
    drawn, code = made.task.draw(4000, None), torch.randn(4000, 4)
    kept = made.task.decode_latent(code, None).var(0).sum()
    assert float(drawn.var(0).sum() - kept) == pytest.approx(20 * 0.25, abs=2.5)


@pytest.mark.slow
def test_a_conditional_model_depends_on_the_label() -> None:
    words = ("model=vae", "data=ring", "task=vae", "data.rows=3000", "model.hidden=[32]", "model.latent=2")
    made = lab(*words, "model.num_classes=8", "epochs=15", "optimizer.lr=1e-2")
    assert made.test()["label_accuracy"] > 0.99
    seen = next(made.loaders["test"].iter_epoch(0))
    assert seen.target is not None
    with torch.no_grad():
        right, wrong = (
            made.task.score_rows(replace(seen, target=seen.target.roll(turn)))["elbo"].mean() for turn in (0, 1)
        )
    assert float(right) > float(wrong) + 10


@pytest.mark.slow
def test_trainer_options_combine_in_half_precision() -> None:
    words = ("precision=bf16", "accumulate=2", "grad_clip=1", "scheduler=onecycle", "ema=0.9", "epochs=10")
    found = lab(*SMALL, *words, "optimizer.lr=3e-3").test()
    assert 0 < found["gap"] < 6


def test_bernoulli_refuses_values_outside_0_and_1() -> None:
    x = torch.rand(8, 6)
    task(likelihood="bernoulli").setup(Points(x))
    x[3, 2] = 1.5
    with pytest.raises(ConfigError, match=r"bernoulli needs values in \[0, 1\]; row 3 of the train split"):
        task(likelihood="bernoulli").setup(Points(x))
    task().setup(Points(x))
