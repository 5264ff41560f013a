"""ELBO and importance-weighted bound against exact likelihoods and torch distributions."""

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
from trainer.core.dataset import Dataset
from trainer.core.dataset_info import DatasetInfo
from trainer.core.split import TensorSplit
from trainer.core.task import Task
from trainer.data.datasets.generative.linear_gaussian import LinearGaussian
from trainer.metrics.classification import roc_auc
from trainer.models.generative.vae import VAE
from trainer.tasks.vae import VariationalInference
from trainer.utils.errors import ConfigError

GATE = 0.6
SMALL = ("model=vae", "data=linear_gaussian", "data.rows=4000", "batch_size=64", "model.hidden=[64]")
TRAINED = ("epochs=30", "optimizer.lr=3e-3")


class ExactLinearGaussian(nn.Module):
    """True posterior and decoder of a linear Gaussian with orthogonal columns, the mean shifted by ``offset``."""

    levels, num_classes = 1, None

    def __init__(self, weight: Tensor, noise: float, offset: float):
        super().__init__()
        self.offset = offset
        self.latent = weight.shape[1]
        self.weight = nn.Parameter(weight)
        self.precision = 1 + weight.square().sum(0) / noise**2
        self.noise = noise

    def encode(self, x: Tensor, label: Tensor | None = None) -> tuple[Tensor, Tensor]:
        mean = x @ self.weight / self.noise**2 / self.precision
        return mean + self.offset, -self.precision.log().expand_as(mean)

    def decode(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        return z @ self.weight.T

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x)[0])


class Points(Dataset):
    shapes = "x (B, F) -> ()"

    def __init__(self, x: Tensor) -> None:
        self.train = self.val = self.test = TensorSplit({"x": x})
        self.info = DatasetInfo(sizes={})


def make_vae(levels: int = 1, classes: int | None = None) -> VAE:
    return VAE(flat_features=6, hidden=[8], latent=2, levels=levels, num_classes=classes)


def make_task(model: nn.Module | None = None, kind: Any = VariationalInference, **keys: Any) -> VariationalInference:
    defaults = {"likelihood": "gaussian", "binarize": False, "beta": 1.0, "beta_warmup": 0.0, "eval_samples": 4}
    return kind(model or make_vae(), **defaults | {"samples": 100, "classifier": None} | keys)


def make_batch(x: Tensor) -> Batch:
    return Batch({"x": x}, None, torch.arange(len(x)))


def compute_scores(task: VariationalInference, x: Tensor) -> dict[str, float]:
    task.setup(Points(x))
    totals = ScoreAccumulator()
    with torch.no_grad():
        totals.update(task.score(make_batch(x)))
        return task.metrics(totals.compute_totals())


class SummedLoss(VariationalInference):
    """Loss summed over rows, whose gradient grows with the batch."""

    def loss(self, make_batch: Batch, group: str) -> Tensor:
        return super().loss(make_batch, group) * len(make_batch)


@pytest.mark.parametrize(("kind", "factor"), [(VariationalInference, 1), (SummedLoss, 2)])
def test_the_loss_is_independent_of_the_batch_size(kind: Any, factor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "randn_like", lambda like: torch.full_like(like, 0.3))
    task, x = make_task(kind=kind), torch.rand(16, 6)
    once, twice = task.loss(make_batch(x), "model"), task.loss(make_batch(torch.cat((x, x))), "model")
    torch.testing.assert_close(factor * once, twice)


def test_terms_equal_torch_distributions() -> None:
    task, x = make_task(), torch.rand(5, 6)
    torch.manual_seed(3)
    terms = task.estimate_elbo_terms(make_batch(x), 3)
    torch.manual_seed(3)
    mean, log_variance = task.model.encode(x)  # type: ignore[operator]
    posterior, prior = Normal(mean, torch.exp(log_variance / 2)), Normal(0.0, 1.0)
    z = mean + posterior.stddev * torch.stack([torch.randn(5, 2) for _ in range(3)])
    log_likelihood = Normal(task.model.decode(z), 1.0).log_prob(x).sum(-1)  # type: ignore[operator]
    weights = log_likelihood + prior.log_prob(z).sum(-1) - posterior.log_prob(z).sum(-1)
    torch.testing.assert_close(terms.reconstruction, -log_likelihood.mean(0))
    torch.testing.assert_close(terms.kl, kl_divergence(posterior, prior).sum(-1))
    torch.testing.assert_close(terms.bound, weights.exp().mean(0).log())


def test_beta_warms_up_with_progress() -> None:
    task = make_task(beta=2.0, beta_warmup=0.5)
    weights = []
    for progress in (0.0, 0.25, 0.5, 0.9):
        task.progress.fill_(progress)
        weights.append(float(task.compute_kl_weight()))
    assert weights == [0.0, 1.0, 2.0, 2.0]


def test_exact_likelihood_equals_torch_and_its_expectation() -> None:
    data = LinearGaussian(rows=5000, in_features=20, latent=4, noise=0.5, seed=1)
    x = data.test.inputs["x"].double()
    root = data.root
    reference = MultivariateNormal(torch.zeros(20, dtype=torch.float64), scale_tril=root)
    torch.testing.assert_close(data.log_likelihood(x), reference.log_prob(x))
    entropy = 10 * math.log(2 * math.pi * math.e) + np.log(root.diagonal().numpy()).sum()
    assert data.info.best_possible["elbo"] == pytest.approx(-entropy, abs=0.3)


def make_exact_task(posterior_offset: float = 0.0) -> tuple[VariationalInference, Tensor, Tensor]:
    """Return the true model with its posterior shifted, points (N, 6) and their exact log-likelihood."""
    torch.manual_seed(0)
    weight = torch.linalg.qr(torch.randn(6, 2))[0] * torch.tensor([2.0, 1.0])
    x = torch.randn(4000, 2) @ weight.T + 0.5 * torch.randn(4000, 6)
    task = make_task(ExactLinearGaussian(weight, 0.5, posterior_offset))
    with torch.no_grad():
        task.likelihood.log_sigma.fill_(math.log(0.5))  # type: ignore[union-attr, operator]
    return task, x, MultivariateNormal(torch.zeros(6), weight @ weight.T + 0.25 * torch.eye(6)).log_prob(x)


def test_true_posterior_closes_gap() -> None:
    task, x, log_likelihood = make_exact_task()
    found = compute_scores(task, x)
    assert found["elbo"] == pytest.approx(float(log_likelihood.mean()), abs=0.02)
    # Every sample of the true posterior has weight p(x), so one is enough.
    with torch.no_grad():
        torch.testing.assert_close(task.estimate_elbo_terms(make_batch(x), 1).bound, log_likelihood, atol=1e-3, rtol=0)
        task.likelihood.log_sigma.fill_(math.log(0.6))  # type: ignore[union-attr, operator]
    assert compute_scores(task, x)["elbo"] < float(log_likelihood.mean()) - 0.1


@torch.no_grad()
def test_importance_weighted_bound_rises_to_exact_likelihood() -> None:
    task, x, log_likelihood = make_exact_task(posterior_offset=0.2)
    found = {k: task.estimate_elbo_terms(make_batch(x), k) for k in (1, 5, 100)}
    one, few, many = (float(terms.bound.mean()) for terms in found.values())
    best = float(log_likelihood.mean())
    elbo = -found[100].reconstruction - found[100].kl
    assert one == pytest.approx(float(elbo.mean()), abs=0.05)
    assert one < few - 0.2 < many - 0.25
    assert best - 0.02 < many < best + 0.01


@pytest.fixture(scope="module")
def trained() -> tuple[Lab, dict[str, float]]:
    run = lab(*SMALL, *TRAINED)
    return run, run.test()


@pytest.mark.slow
def test_training_reaches_gate_below_exact_likelihood(trained: tuple[Lab, dict[str, float]]) -> None:
    run, found = trained
    assert 0 <= found["gap"] < GATE
    assert found["elbo"] == pytest.approx(-found["reconstruction"] - found["kl"])
    assert found["elbo"] == pytest.approx(run.data.info.best_possible["elbo"] - found["gap"], abs=1e-4)
    assert all(row["val_gap"] > -0.02 for row in run.trainer.history)
    sigma = float(run.task.get_parameter("likelihood.log_sigma").detach().exp())
    assert sigma == pytest.approx(0.5, abs=0.05)


def test_baseline_and_untrained_model_miss_gate() -> None:
    run = lab(*SMALL)
    untrained = run.trainer.evaluate_loader(run.loaders["test"])
    assert untrained["gap"] > 10
    assert run.data.info.baseline["gap"] > 10


@pytest.mark.slow
def test_larger_beta_lowers_kl_and_collapse_misses_gate(trained: tuple[Lab, dict[str, float]]) -> None:
    _, one = trained
    four, fifty = (lab(*SMALL, *TRAINED, f"task.beta={beta}").test() for beta in (4, 50))
    assert one["kl"] > four["kl"] + 3 > fifty["kl"] + 4
    assert fifty["gap"] > 10
    assert fifty["kl"] < 0.2


@pytest.mark.slow
@torch.no_grad()
def test_rows_with_shuffled_columns_score_lower(trained: tuple[Lab, dict[str, float]]) -> None:
    run, _ = trained
    x = run.data.test.batch(torch.arange(400), 0).inputs["x"]
    shuffled = torch.stack([column[torch.randperm(400)] for column in x.T], dim=1)
    is_real = torch.arange(800) < 400

    def real_auc(scored_task: Task) -> float:
        row_scores = scored_task.score_rows(make_batch(torch.cat((x, shuffled))))
        torch.testing.assert_close(row_scores["elbo"], -row_scores["reconstruction"] - row_scores["kl"])
        return roc_auc(row_scores["elbo"], is_real)

    assert real_auc(run.task) > 0.95
    assert real_auc(lab(*SMALL).task) < 0.7


@pytest.mark.slow
@torch.no_grad()
def test_samples_include_observation_noise(trained: tuple[Lab, dict[str, float]]) -> None:
    run, found = trained
    assert found["energy_distance"] < 0.05
    samples, code = run.task.draw(4000, None), torch.randn(4000, 4)
    decoded_variance = run.task.decode_latent(code, None).var(0).sum()
    assert float(samples.var(0).sum() - decoded_variance) == pytest.approx(20 * 0.25, abs=2.5)


@torch.no_grad()
def test_score_of_a_row_does_not_depend_on_its_batch() -> None:
    task, x = lab(*SMALL).task.eval(), torch.randn(20, 20)
    order = torch.randperm(20)[:7]
    scores, part = task.score_rows(make_batch(x)), task.score_rows(make_batch(x[order]))
    for name, values in part.items():
        torch.testing.assert_close(values, scores[name][order])


@pytest.mark.slow
def test_a_conditional_model_depends_on_the_label() -> None:
    overrides = ("model=vae", "data=ring", "task=vae", "data.rows=3000", "model.hidden=[32]", "model.latent=2")
    run = lab(*overrides, "model.num_classes=8", "epochs=15", "optimizer.lr=1e-2")
    assert run.test()["label_accuracy"] > 0.99
    batch = next(run.loaders["test"].iter_epoch(0))
    assert batch.target is not None
    with torch.no_grad():
        correct_elbo, wrong_elbo = (
            run.task.score_rows(replace(batch, target=batch.target.roll(shift)))["elbo"].mean() for shift in (0, 1)
        )
    assert float(correct_elbo) > float(wrong_elbo) + 10


@pytest.mark.slow
def test_trainer_options_combine_in_half_precision() -> None:
    overrides = ("precision=bf16", "accumulate=2", "grad_clip=1", "scheduler=onecycle", "ema=0.9", "epochs=10")
    found = lab(*SMALL, *overrides, "optimizer.lr=3e-3").test()
    assert 0 < found["gap"] < 6


def test_bernoulli_refuses_values_outside_0_and_1() -> None:
    x = torch.rand(8, 6)
    make_task(likelihood="bernoulli").setup(Points(x))
    x[3, 2] = 1.5
    with pytest.raises(ConfigError, match=r"bernoulli needs values in \[0, 1\]; row 3 of the train split"):
        make_task(likelihood="bernoulli").setup(Points(x))
    make_task().setup(Points(x))
