"""Points of known density: log-likelihoods, baselines, and files of points."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from trainer.core.dataset import Dataset
from trainer.data.datasets.generative.linear_gaussian import LinearGaussian
from trainer.data.datasets.generative.ring import Ring
from trainer.data.datasets.generative.swiss_roll import SwissRoll, spiral_points
from trainer.data.generators import gaussian_mixture
from trainer.metrics.gaussian import gaussian_log_prob, sample_gaussian
from trainer.utils.errors import DataError

ROLL = {"rows": 4000, "radius": 2.0, "sigma": 0.1, "seed": 0}


def test_the_density_of_a_mixture_matches_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    centers, x = torch.randn(5, 3), 2 * torch.randn(64, 3)
    components = Independent(Normal(centers.double(), torch.tensor(0.3).double()), 1)
    expected = MixtureSameFamily(Categorical(torch.ones(5).double()), components).log_prob(x.double())
    torch.testing.assert_close(gaussian_mixture.log_prob(x, centers, 0.3), expected)
    monkeypatch.setattr(gaussian_mixture, "CHUNK_SIZE", 12)
    torch.testing.assert_close(gaussian_mixture.log_prob(x, centers, 0.3), expected)


def test_mixture_log_prob_far_from_origin_is_precise() -> None:
    log_prob = gaussian_mixture.log_prob(torch.tensor([[1000.0, 0.5]]), torch.tensor([[1000.0, 0.0]]), 0.1)
    assert float(log_prob) == pytest.approx(-12.5 - math.log(2 * math.pi * 0.01), abs=1e-6)


@pytest.mark.parametrize("data", [Ring(2000, 8, 2.0, 0.1, 0), SwissRoll(**ROLL)], ids=["ring", "swiss_roll"])
def test_density_integrates_to_1_and_matches_samples(data: Dataset) -> None:
    log_likelihood = data.info.density.log_likelihood
    assert log_likelihood is not None
    side = torch.arange(-3, 3, 0.1, dtype=torch.float64)
    grid = torch.cartesian_prod(side, side)
    log_density = log_likelihood(grid)
    density = log_density.exp() * 0.1**2
    assert float(density.sum()) == pytest.approx(1, abs=1e-4)
    entropy = float(-(density * log_density).sum())
    log_likelihoods = log_likelihood(data.train.inputs["x"])  # type: ignore[attr-defined]
    assert float(-log_likelihoods.mean()) == pytest.approx(
        entropy, abs=4 * float(log_likelihoods.std()) / len(log_likelihoods) ** 0.5
    )


def test_spiral_density_matches_finer_quadrature() -> None:
    """Compare with a quadrature 5 times finer, at both ends of the spiral too."""
    data = SwissRoll(**ROLL)
    x = torch.cat((data.test.inputs["x"][:100], spiral_points(torch.tensor([0.0, 1.0]), 2.0)))
    midpoints = spiral_points((torch.arange(10000, dtype=torch.float64) + 0.5) / 10000, 2.0)
    log_likelihood = data.info.density.log_likelihood
    assert log_likelihood is not None
    torch.testing.assert_close(log_likelihood(x), gaussian_mixture.log_prob(x, midpoints, 0.1), atol=1e-3, rtol=0)


def test_spiral_radius_increases_and_arms_are_separate() -> None:
    points = spiral_points(torch.linspace(0, 1, 1000), 2.0)
    radius = points.norm(dim=1)
    torch.testing.assert_close(radius[[0, -1]], torch.tensor([2 / 3, 2.0]))
    assert (radius.diff() > 0).all()
    far = (torch.arange(1000)[:, None] - torch.arange(1000)).abs() > 300
    assert float(torch.cdist(points, points)[far].min()) > 6 * 0.1


def test_swiss_roll_baseline_gap_is_distance_to_best_possible() -> None:
    info = SwissRoll(**ROLL).info
    assert info.baseline["gap"] > 1
    assert info.baseline["log_likelihood"] == pytest.approx(info.best_possible["log_likelihood"] - info.baseline["gap"])


@pytest.mark.parametrize("max_features", [2048, 2])
def test_the_density_of_a_fitted_gaussian_matches_torch(max_features: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.metrics.gaussian.MAX_COVARIANCE_FEATURES", max_features)
    rows = torch.randn(500, 3) @ torch.randn(3, 3) + 1
    x = sample_gaussian(rows, 50)
    covariance = rows.double().T.cov(correction=0)
    expected_covariance = covariance if max_features > 3 else covariance.diagonal().diag()
    expected = torch.distributions.MultivariateNormal(rows.double().mean(0), expected_covariance).log_prob(x.double())
    torch.testing.assert_close(gaussian_log_prob(rows, x), expected, atol=1e-5, rtol=1e-5)


POINTS: dict[str, Dataset] = {
    "ring": Ring(200, 8, 2.0, 0.1, 0),
    "swiss_roll": SwissRoll(**ROLL | {"rows": 200}),
    "linear_gaussian": LinearGaussian(200, 2, 1, 0.5, 0),
}


@pytest.mark.parametrize("name", POINTS)
@pytest.mark.parametrize("lines", ["1,2\n3.5,-4e-1\n", "a;b\n1;2\n3.5;-0.4\n"])
def test_points_are_read_with_and_without_header(name: str, lines: str, tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_text(lines)
    split = POINTS[name].read(str(path))
    batch = split.batch(torch.arange(2), 0)
    torch.testing.assert_close(batch.inputs["x"], torch.tensor([[1, 2], [3.5, -0.4]]))
    assert batch.target is None
    assert split.get_row_names(1) == ("row", range(1, 3))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "input: .*points.csv does not exist"),
        ("", "input: .* is empty"),
        ("1,2,3\n", "input: .* has rows of 3 numbers; this run has rows of 2"),
        ("1,2\n3,x\n", r"row 2 \(line 2\), column 'column 1': 'x' is not a finite number"),
        ("1,2\n3,\n", r"row 2 \(line 2\), column 'column 1': missing value"),
    ],
)
def test_invalid_points_file_raises(content: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=message):
        POINTS["ring"].read(str(path))
