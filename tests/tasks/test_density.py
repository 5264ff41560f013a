"""Density estimation: exact likelihoods, dequantization, outlier scores."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.lab import lab
from trainer.core.batch import Batch, ScoreAccumulator
from trainer.core.dataset import Dataset
from trainer.core.dataset_info import DatasetInfo, DensityInfo
from trainer.core.split import TensorSplit
from trainer.data.datasets.image.digits import Digits
from trainer.engine import evaluation
from trainer.metrics.classification import roc_auc
from trainer.models.generative.real_nvp import RealNVP
from trainer.tasks.density import Density, estimate_quantization_steps

SMALL = ("model=real_nvp", "data=swiss_roll", "data.rows=2000", "model.blocks=2", "model.hidden=[16]", "batch_size=64")


class StandardNormal(nn.Module):
    """Density of a standard normal distribution."""

    shapes = "x (B, ...) -> (B)"

    def forward(self, x: Tensor) -> Tensor:
        return -(x.square() + math.log(2 * math.pi)).sum(1) / 2

    def generate(self, z: Tensor) -> Tensor:
        return z


class Points(Dataset):
    shapes = "x (B, F) -> ()"

    def __init__(self, x: Tensor) -> None:
        self.train = self.val = self.test = TensorSplit({"x": x})
        self.info = DatasetInfo(sizes={}, density=DensityInfo(log_likelihood=StandardNormal()))


def make_task(x: Tensor, model: nn.Module | None = None) -> Density:
    task = Density(model or StandardNormal(), samples=200, classifier=None)
    task.setup(Points(x))
    return task


def make_batch(x: Tensor) -> Batch:
    return Batch({"x": x}, None, torch.arange(len(x)))


def compute_scores(task: Density, x: Tensor) -> dict[str, float]:
    totals = ScoreAccumulator()
    with torch.no_grad():
        totals.update(task.score(make_batch(x)))
        return task.metrics(totals.compute_totals())


def test_exact_model_has_zero_gap_and_loss_equals_score() -> None:
    x = torch.randn(5000, 3)
    metrics = compute_scores(make_task(x), x)
    assert metrics["gap"] == pytest.approx(0, abs=1e-4)
    assert metrics["log_likelihood"] == pytest.approx(float(StandardNormal()(x).mean()), abs=1e-4)
    assert float(make_task(x).loss(make_batch(x), "model")) == pytest.approx(-metrics["log_likelihood"], abs=1e-4)
    assert abs(metrics["energy_distance"]) < 0.05
    shifted = compute_scores(make_task(x), x + 1)
    assert shifted["energy_distance"] > 0.5


def test_reference_scores_are_gaussian_and_exact_likelihood() -> None:
    x = torch.randn(5000, 3)
    baseline, best = make_task(x).reference_scores()
    assert best["log_likelihood"] == pytest.approx(float(StandardNormal()(x).mean()), abs=1e-4)
    assert baseline["gap"] == pytest.approx(0, abs=0.02)
    assert best["gap"] == 0


def test_quantization_steps_of_discrete_and_continuous_columns() -> None:
    discrete, continuous = torch.randint(5, (1000, 1)), torch.randn(1000, 1)
    steps = estimate_quantization_steps(torch.cat((discrete / 0.5, continuous, torch.full((1000, 1), 3.0)), 1))
    assert steps[0] == 2
    assert steps[1] < 0.01
    assert steps[2] == 1


def test_dequantization_bounds_likelihood_of_constant_column() -> None:
    """A constant column has a log-likelihood of at most 0; without dequantization it is unbounded."""
    x = torch.zeros(256, 1)

    def fit_log_likelihood(width: float) -> float:
        task = make_task(x, RealNVP(flat_features=1, blocks=0, hidden=[], max_log_scale=2.0, num_classes=None))
        task.step = task.step * width
        optimizer = torch.optim.Adam(task.parameters(), 0.1)
        for _ in range(100):
            optimizer.zero_grad()
            task.loss(make_batch(x), "model").backward()
            optimizer.step()
        return compute_scores(task, x)["log_likelihood"]

    assert -0.3 < fit_log_likelihood(1.0) < 0
    assert fit_log_likelihood(0.0) > 1


class UniformDensity(nn.Module):
    """Uniform density from half a level below black to half a level above white."""

    shapes = "x (B, ...) -> (B)"

    def forward(self, x: Tensor) -> Tensor:
        assert float(x.abs().max()) <= 256 / 255
        return torch.full((len(x),), -x[0].numel() * math.log(2 * 256 / 255))

    def generate(self, z: Tensor) -> Tensor:
        return z


def test_a_uniform_model_needs_8_bits_per_pixel() -> None:
    task, data = Density(UniformDensity(), samples=10, classifier=None), Digits(8, 0)
    task.setup(data)
    assert compute_scores(task, data.test.inputs["x"])["bits_per_dim"] == pytest.approx(8, abs=1e-5)


def test_row_scores_are_deterministic_and_without_dequantization() -> None:
    run = lab(*SMALL, "max_steps=5")
    run.trainer.fit()
    row_scores = evaluation.score_rows(run.task, run.loaders["test"], run.settings)["log_likelihood"]
    with torch.no_grad():
        expected = run.task.model(run.data.test.inputs["x"])  # type: ignore[attr-defined]
    torch.testing.assert_close(row_scores, expected)
    assert torch.equal(row_scores, evaluation.score_rows(run.task, run.loaders["test"], run.settings)["log_likelihood"])


def test_conditional_model_receives_labels() -> None:
    run = lab("model=real_nvp", "data=ring", "data.rows=2000", "model.num_classes=8", "model.blocks=2", "max_steps=2")
    run.trainer.fit()
    metrics = run.trainer.evaluate_loader(run.loaders["test"])
    assert {"log_likelihood", "gap", "modes", "label_accuracy"} <= metrics.keys()


@pytest.mark.slow
@pytest.mark.parametrize("option", ["precision=bf16", "accumulate=2", "optimizer=sgd", "ema=null"])
def test_trainer_options_apply(option: str) -> None:
    run = lab(*SMALL, option, "max_steps=20")
    run.trainer.fit()
    assert math.isfinite(run.trainer.history[-1]["val_log_likelihood"])


@pytest.mark.slow
@pytest.mark.parametrize(("data", "epochs", "max_gap"), [("swiss_roll", 12, 0.35), ("linear_gaussian", 6, 0.6)])
def test_flow_approaches_exact_likelihood_and_gaussian_does_not(data: str, epochs: int, max_gap: float) -> None:
    overrides = (
        "model=real_nvp",
        f"data={data}",
        "data.rows=8000",
        "task.samples=500",
        f"epochs={epochs}",
        "model.blocks=4",
    )
    run = lab(*overrides)
    metrics = run.test()
    assert -0.02 < metrics["gap"] < max_gap
    assert metrics["energy_distance"] < 0.08
    assert all(row["val_gap"] > -0.02 for row in run.trainer.history)
    gaussian = lab(*overrides, "model.blocks=0", "epochs=3").test()
    assert gaussian["gap"] > 2 * max_gap


@pytest.mark.slow
def test_conditional_samples_have_requested_class() -> None:
    overrides = ("model=real_nvp", "data=ring", "data.rows=4000", "model.blocks=2", "epochs=8", "task.samples=500")
    metrics = lab(*overrides, "model.num_classes=8").test()
    assert metrics["label_accuracy"] > 0.95
    assert metrics["modes"] == 8


@pytest.mark.slow
@pytest.mark.parametrize("model", ["real_nvp", "vae"])
def test_outliers_have_lowest_likelihood(model: str) -> None:
    """2 % of the rows combine columns of different rows; each column alone keeps its distribution."""
    run = lab(f"model={model}", "data=linear_gaussian", "data.rows=4000", "epochs=10", "task.samples=100")
    run.trainer.fit()
    run.trainer.load_best_weights()
    x = run.data.test.inputs["x"]  # type: ignore[attr-defined]
    is_outlier = torch.arange(len(x)) % 50 == 0
    x[is_outlier] = torch.stack([column[torch.randperm(len(x))] for column in x.T], 1)[is_outlier]
    row_scores = evaluation.score_rows(run.task, run.loaders["test"], run.settings)
    log_likelihood = next(iter(row_scores.values()))
    assert roc_auc(-log_likelihood, is_outlier) > 0.9
