"""The likelihood is the exact one, cannot be fooled by what is counted, and tells the unusual from the usual."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.lab import lab
from trainer.core.batch import Batch, ScoreAccumulator
from trainer.core.dataset import Dataset, TensorSplit
from trainer.core.dataset_info import DatasetInfo, DensityInfo
from trainer.data.datasets.image.digits import Digits
from trainer.engine import evaluation
from trainer.metrics.classification import roc_auc
from trainer.models.generative.real_nvp import RealNVP
from trainer.tasks.density import Density, estimate_quantization_steps

SMALL = ("model=real_nvp", "data=swiss_roll", "data.rows=2000", "model.blocks=2", "model.hidden=[16]", "batch_size=64")


class Known(nn.Module):
    """A standard normal."""

    shapes = "x (B, ...) -> (B)"

    def forward(self, x: Tensor) -> Tensor:
        return -(x.square() + math.log(2 * math.pi)).sum(1) / 2

    def generate(self, z: Tensor) -> Tensor:
        return z


class Points(Dataset):
    shapes = "x (B, F) -> ()"

    def __init__(self, x: Tensor) -> None:
        self.train = self.val = self.test = TensorSplit({"x": x})
        self.info = DatasetInfo(sizes={}, density=DensityInfo(log_likelihood=Known()))


def task(x: Tensor, model: nn.Module | None = None) -> Density:
    made = Density(model or Known(), samples=200, classifier=None)
    made.setup(Points(x))
    return made


def batch(x: Tensor) -> Batch:
    return Batch({"x": x}, None, torch.arange(len(x)))


def scores(made: Density, x: Tensor) -> dict[str, float]:
    totals = ScoreAccumulator()
    with torch.no_grad():
        totals.update(made.score(batch(x)))
        return made.metrics(totals.compute_totals())


def test_the_exact_model_has_no_gap_and_the_loss_is_the_score() -> None:
    x = torch.randn(5000, 3)
    found = scores(task(x), x)
    assert found["gap"] == pytest.approx(0, abs=1e-4)
    assert found["log_likelihood"] == pytest.approx(float(Known()(x).mean()), abs=1e-4)
    assert float(task(x).loss(batch(x), "model")) == pytest.approx(-found["log_likelihood"], abs=1e-4)
    assert abs(found["energy_distance"]) < 0.05
    wrong = scores(task(x), x + 1)
    assert wrong["energy_distance"] > 0.5


def test_references_are_one_gaussian_and_the_exact_likelihood() -> None:
    x = torch.randn(5000, 3)
    baseline, best = task(x).reference_scores()
    assert best["log_likelihood"] == pytest.approx(float(Known()(x).mean()), abs=1e-4)
    assert baseline["gap"] == pytest.approx(0, abs=0.02)
    assert best["gap"] == 0


def test_steps_are_1_of_what_is_counted_and_next_to_nothing_of_what_is_measured() -> None:
    counted, measured = torch.randint(5, (1000, 1)), torch.randn(1000, 1)
    found = estimate_quantization_steps(torch.cat((counted / 0.5, measured, torch.full((1000, 1), 3.0)), 1))
    assert found[0] == 2
    assert found[1] < 0.01
    assert found[2] == 1


def test_what_is_counted_is_never_more_than_certain() -> None:
    """A number that is always 0 has a log-likelihood of at most 0; without its step there is no end to it."""
    x = torch.zeros(256, 1)

    def learned(width: float) -> float:
        made = task(x, RealNVP(flat_features=1, blocks=0, hidden=[], max_log_scale=2.0, num_classes=None))
        made.step = made.step * width
        optimizer = torch.optim.Adam(made.parameters(), 0.1)
        for _ in range(100):
            optimizer.zero_grad()
            made.loss(batch(x), "model").backward()
            optimizer.step()
        return scores(made, x)["log_likelihood"]

    assert -0.3 < learned(1.0) < 0
    assert learned(0.0) > 1


class Even(nn.Module):
    """As dense everywhere from half a level below black to half a level above white."""

    shapes = "x (B, ...) -> (B)"

    def forward(self, x: Tensor) -> Tensor:
        assert float(x.abs().max()) <= 256 / 255
        return torch.full((len(x),), -x[0].numel() * math.log(2 * 256 / 255))

    def generate(self, z: Tensor) -> Tensor:
        return z


def test_a_uniform_model_needs_8_bits_per_pixel() -> None:
    made, data = Density(Even(), samples=10, classifier=None), Digits(8, 0)
    made.setup(data)
    assert scores(made, data.test.inputs["x"])["bits_per_dim"] == pytest.approx(8, abs=1e-5)


def test_rows_are_rated_as_they_are_and_alike_every_time() -> None:
    made = lab(*SMALL, "max_steps=5")
    made.trainer.fit()
    found = evaluation.score_rows(made.task, made.loaders["test"], made.settings)["log_likelihood"]
    with torch.no_grad():
        wanted = made.task.model(made.data.test.inputs["x"])  # type: ignore[attr-defined]
    torch.testing.assert_close(found, wanted)
    assert torch.equal(found, evaluation.score_rows(made.task, made.loaders["test"], made.settings)["log_likelihood"])


def test_a_label_is_handed_to_a_model_that_takes_one() -> None:
    made = lab("model=real_nvp", "data=ring", "data.rows=2000", "model.num_classes=8", "model.blocks=2", "max_steps=2")
    made.trainer.fit()
    found = made.trainer.evaluate_loader(made.loaders["test"])
    assert {"log_likelihood", "gap", "modes", "label_accuracy"} <= found.keys()


@pytest.mark.slow
@pytest.mark.parametrize("option", ["precision=bf16", "accumulate=2", "optimizer=sgd", "ema=null"])
def test_trainer_options_apply(option: str) -> None:
    made = lab(*SMALL, option, "max_steps=20")
    made.trainer.fit()
    assert math.isfinite(made.trainer.history[-1]["val_log_likelihood"])


@pytest.mark.slow
@pytest.mark.parametrize(("data", "epochs", "most"), [("swiss_roll", 12, 0.35), ("linear_gaussian", 6, 0.6)])
def test_a_flow_comes_near_the_exact_likelihood_and_one_gaussian_does_not(data: str, epochs: int, most: float) -> None:
    quick = (
        "model=real_nvp",
        f"data={data}",
        "data.rows=8000",
        "task.samples=500",
        f"epochs={epochs}",
        "model.blocks=4",
    )
    made = lab(*quick)
    found = made.test()
    assert -0.02 < found["gap"] < most
    assert found["energy_distance"] < 0.08
    assert all(row["val_gap"] > -0.02 for row in made.trainer.history)
    broad = lab(*quick, "model.blocks=0", "epochs=3").test()
    assert broad["gap"] > 2 * most


@pytest.mark.slow
def test_rows_drawn_of_a_class_are_of_it() -> None:
    quick = ("model=real_nvp", "data=ring", "data.rows=4000", "model.blocks=2", "epochs=8", "task.samples=500")
    found = lab(*quick, "model.num_classes=8").test()
    assert found["label_accuracy"] > 0.95
    assert found["modes"] == 8


@pytest.mark.slow
@pytest.mark.parametrize("model", ["real_nvp", "vae"])
def test_rows_that_are_not_like_the_others_are_the_most_unusual(model: str) -> None:
    """2 % of the rows of a table lie where no combination of its columns lies, each column by itself being ordinary."""
    made = lab(f"model={model}", "data=linear_gaussian", "data.rows=4000", "epochs=10", "task.samples=100")
    made.trainer.fit()
    made.trainer.load_best_weights()
    x = made.data.test.inputs["x"]  # type: ignore[attr-defined]
    odd = torch.arange(len(x)) % 50 == 0
    x[odd] = torch.stack([column[torch.randperm(len(x))] for column in x.T], 1)[odd]
    ratings = evaluation.score_rows(made.task, made.loaders["test"], made.settings)
    first = next(iter(ratings.values()))
    assert roc_auc(-first, odd) > 0.9
