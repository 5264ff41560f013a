"""Synthetic tables: Bayes-optimal scores, and a linear model as control."""

from __future__ import annotations

import math

import pytest
import torch

from tests.helpers.lab import lab
from trainer.data.datasets.tabular.synthetic import XOR, Moons, SyntheticTabular
from trainer.data.reference.bayes_optimal import flip_optimum, logistic_optimum, moon_points, moons_optimum


def test_logistic_optimum_matches_monte_carlo_estimate() -> None:
    z = torch.randn(1_000_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    p = torch.sigmoid(5 * z)
    best = logistic_optimum(5.0)
    assert best["accuracy"] == pytest.approx(float(torch.maximum(p, 1 - p).mean()), abs=1e-3)
    assert best["nll"] == pytest.approx(float(-(p * p.log() + (1 - p) * torch.log1p(-p)).nansum() / len(p)), abs=1e-3)


def test_moons_optimum_matches_likelihood_ratio_on_samples() -> None:
    split = Moons(rows=20000, noise=0.2, seed=3).train
    x, y = split.inputs["x"].double(), split.target
    angle = (torch.arange(200, dtype=torch.float64) + 0.5) * math.pi / 200
    upper, lower = (torch.exp(-torch.cdist(x, moon_points(angle, side)).square() / 0.08).mean(1) for side in (0, 1))
    best = moons_optimum(0.2)
    assert float(((lower > upper).long() == y).double().mean()) == pytest.approx(best["accuracy"], abs=0.005)
    p = torch.where(y == 1, lower, upper) / (lower + upper)
    assert float(-p.log().mean()) == pytest.approx(best["nll"], abs=0.01)


def test_moons_optimum_does_not_depend_on_the_grid() -> None:
    fine = moons_optimum(0.2, cells=800, points=800)
    assert moons_optimum(0.2) == pytest.approx(fine, abs=1e-4)


def test_flip_optimum_is_flip_rate_and_entropy() -> None:
    nll = -0.05 * math.log(0.05) - 0.95 * math.log(0.95)
    assert flip_optimum(0.05) == pytest.approx({"accuracy": 0.95, "nll": nll})


def test_rows_depend_on_seed() -> None:
    first, again, other = (SyntheticTabular(100, 3, 5.0, seed).test.inputs["x"] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_xor_target_is_the_sign_of_a_product() -> None:
    split = XOR(rows=500, in_features=4, flips=0.0, seed=0).train
    x = split.inputs["x"]
    assert torch.equal(split.target, (x[:, 0] * x[:, 1] > 0).long())


@pytest.mark.parametrize(
    ("data", "min_accuracy", "overrides"),
    [("synthetic_tabular", 0.87, ["data.rows=5000"]), ("xor20", 0.87, []), ("moons", 0.95, ["data.rows=5000"])],
)
@pytest.mark.slow
def test_mlp_learns(data: str, min_accuracy: float, overrides: list[str]) -> None:
    run = lab("model=mlp", f"data={data}", *overrides)
    scores = run.test()
    assert min_accuracy < scores["accuracy"] < run.data.info.best_possible["accuracy"] + 0.02
    assert run.data.info.baseline["accuracy"] < 0.55


@pytest.mark.parametrize(("data", "max_accuracy"), [("xor20", 0.6), ("moons", 0.92)])
@pytest.mark.slow
def test_linear_model_does_not_learn(data: str, max_accuracy: float) -> None:
    scores = lab("model=mlp", f"data={data}", "model.hidden=[]", "data.rows=5000").test()
    assert scores["accuracy"] < max_accuracy
