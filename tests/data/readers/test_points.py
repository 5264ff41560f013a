"""Points whose density is known: it is the density they were drawn from, and files of them are read or refused."""

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
    centres, x = torch.randn(5, 3), 2 * torch.randn(64, 3)
    parts = Independent(Normal(centres.double(), torch.tensor(0.3).double()), 1)
    wanted = MixtureSameFamily(Categorical(torch.ones(5).double()), parts).log_prob(x.double())
    torch.testing.assert_close(gaussian_mixture.log_prob(x, centres, 0.3), wanted)
    monkeypatch.setattr(gaussian_mixture, "CHUNK_SIZE", 12)
    torch.testing.assert_close(gaussian_mixture.log_prob(x, centres, 0.3), wanted)


def test_far_points_keep_their_digits() -> None:
    found = gaussian_mixture.log_prob(torch.tensor([[1000.0, 0.5]]), torch.tensor([[1000.0, 0.0]]), 0.1)
    assert float(found) == pytest.approx(-12.5 - math.log(2 * math.pi * 0.01), abs=1e-6)


@pytest.mark.parametrize("data", [Ring(2000, 8, 2.0, 0.1, 0), SwissRoll(**ROLL)], ids=["ring", "swiss_roll"])
def test_the_density_of_points_integrates_to_1_and_is_that_of_their_draws(data: Dataset) -> None:
    exact = data.info.density.log_likelihood
    assert exact is not None
    side = torch.arange(-3, 3, 0.1, dtype=torch.float64)
    grid = torch.cartesian_prod(side, side)
    nats = exact(grid)
    density = nats.exp() * 0.1**2
    assert float(density.sum()) == pytest.approx(1, abs=1e-4)
    entropy = float(-(density * nats).sum())
    drawn = exact(data.train.inputs["x"])  # type: ignore[attr-defined]
    assert float(-drawn.mean()) == pytest.approx(entropy, abs=4 * float(drawn.std()) / len(drawn) ** 0.5)


def test_the_density_along_the_spiral_is_finely_enough_integrated() -> None:
    """Against a rule 5 times finer, at its ends too."""
    data = SwissRoll(**ROLL)
    x = torch.cat((data.test.inputs["x"][:100], spiral_points(torch.tensor([0.0, 1.0]), 2.0)))
    middles = spiral_points((torch.arange(10000, dtype=torch.float64) + 0.5) / 10000, 2.0)
    exact = data.info.density.log_likelihood
    assert exact is not None
    torch.testing.assert_close(exact(x), gaussian_mixture.log_prob(x, middles, 0.1), atol=1e-3, rtol=0)


def test_the_spiral_turns_once_and_a_half_and_its_arms_stay_apart() -> None:
    places = spiral_points(torch.linspace(0, 1, 1000), 2.0)
    radius = places.norm(dim=1)
    torch.testing.assert_close(radius[[0, -1]], torch.tensor([2 / 3, 2.0]))
    assert (radius.diff() > 0).all()
    far = (torch.arange(1000)[:, None] - torch.arange(1000)).abs() > 300
    assert float(torch.cdist(places, places)[far].min()) > 6 * 0.1


def test_one_gaussian_is_the_baseline_and_far_below_the_spiral() -> None:
    facts = SwissRoll(**ROLL).info
    assert facts.baseline["gap"] > 1
    assert facts.baseline["log_likelihood"] == pytest.approx(
        facts.best_possible["log_likelihood"] - facts.baseline["gap"]
    )


@pytest.mark.parametrize("wide", [2048, 2])
def test_the_density_of_a_fitted_gaussian_matches_torch(wide: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.metrics.gaussian.MAX_COVARIANCE_FEATURES", wide)
    seen = torch.randn(500, 3) @ torch.randn(3, 3) + 1
    x = sample_gaussian(seen, 50)
    covariance = seen.double().T.cov(correction=0)
    kept = covariance if wide > 3 else covariance.diagonal().diag()
    wanted = torch.distributions.MultivariateNormal(seen.double().mean(0), kept).log_prob(x.double())
    torch.testing.assert_close(gaussian_log_prob(seen, x), wanted, atol=1e-5, rtol=1e-5)


POINTS: dict[str, Dataset] = {
    "ring": Ring(200, 8, 2.0, 0.1, 0),
    "swiss_roll": SwissRoll(**ROLL | {"rows": 200}),
    "linear_gaussian": LinearGaussian(200, 2, 1, 0.5, 0),
}


@pytest.mark.parametrize("name", POINTS)
@pytest.mark.parametrize("lines", ["1,2\n3.5,-4e-1\n", "a;b\n1;2\n3.5;-0.4\n"])
def test_points_are_read_with_a_header_or_without(name: str, lines: str, tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_text(lines)
    found = POINTS[name].read(str(path))
    batch = found.batch(torch.arange(2), 0)
    torch.testing.assert_close(batch.inputs["x"], torch.tensor([[1, 2], [3.5, -0.4]]))
    assert batch.target is None
    assert found.get_row_names(1) == ("row", range(1, 3))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "input: .*points.csv does not exist"),
        ("", "input: .* is empty"),
        ("1,2,3\n", "input: .* has rows of 3 numbers; this run has rows of 2"),
        ("1,2\n3,x\n", r"row 2 \(line 2\), column 'column 1': 'x' is not a finite number"),
        ("1,2\n3,\n", r"row 2 \(line 2\), column 'column 1': missing value"),
    ],
)
def test_a_file_without_points_is_refused(content: str | None, words: str, tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=words):
        POINTS["ring"].read(str(path))
