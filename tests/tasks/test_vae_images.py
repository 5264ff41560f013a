"""VAE on images: binarization, bits per dimension, reconstructions, interpolations, rejected options."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers.artifacts import make_artifacts as show
from tests.helpers.lab import Lab, lab
from trainer.core.artifacts import ArrayFile, ImageGrid
from trainer.engine import evaluation
from trainer.tasks.vae import VariationalInference
from trainer.utils.errors import ConfigError

DIGITS = ("data=digits", "data.size=8", "task.classifier=null", "task.samples=50")
BINARY = ("model=binary_vae", *DIGITS, "model.hidden=[16]", "model.latent=3", "task.eval_samples=2")
SHADES = ("model=conv_vae", *DIGITS, "model.channels=[4]", "model.hidden=16", "model.levels=17")


def make_task(*overrides: str) -> tuple[Lab, VariationalInference]:
    found = lab(*overrides)
    assert isinstance(found.task, VariationalInference)
    return found, found.task


def test_binarization_is_resampled_in_training_and_fixed_in_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    run, task = make_task(*BINARY)
    encoder_inputs: list[Tensor] = []
    encode = task.model.encode  # type: ignore[union-attr]

    def record_input(x: Tensor, label: Tensor | None) -> Any:
        encoder_inputs.append(x)
        return encode(x, label)  # type: ignore[operator]

    monkeypatch.setattr(task.model, "encode", record_input)
    batch = next(run.trainer.train_loader.iter_epoch(0))
    for _ in range(2):
        task.loss(batch, "model")
    first, second = encoder_inputs
    assert set(first.unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(first, second)
    assert torch.equal(first[batch.inputs["x"] == 1], torch.ones_like(first[batch.inputs["x"] == 1]))
    scores = [evaluation.evaluate_split(task, run.loaders["val"], run.settings) for _ in range(2)]
    assert scores[0] == scores[1]
    assert scores[0]["bits_per_dim"] == pytest.approx(-scores[0]["elbo"] / (64 * math.log(2)))


def test_only_discrete_likelihoods_report_bits() -> None:
    for overrides in ((*BINARY, "task.binarize=false"), ("model=vae", *DIGITS)):
        run, task = make_task(*overrides)
        assert "bits_per_dim" not in run.trainer.evaluate_loader(run.loaders["val"])
        assert "bits_per_dim" not in task.reference_scores()[0]


@pytest.mark.parametrize("overrides", [BINARY, (*SHADES, "task.likelihood=categorical")])
def test_baseline_elbo_is_likelihood_of_pixel_frequencies(overrides: tuple[str, ...]) -> None:
    """Reference: the frequency of each level at each pixel of the training images."""
    run, task = make_task(*overrides)
    train_pixels = task.likelihood.discretize_input(
        task.normalize(run.data.train.batch(torch.arange(1079), 0))
    ).flatten(1)
    levels = task.likelihood.value_range[0] + torch.linspace(0, 1, max(2, task.model.levels))  # type: ignore[call-overload]
    frequencies = torch.stack([(train_pixels - step).abs() < 1e-4 for step in levels], -1).double().mean(0)
    test_pixels = task.likelihood.discretize_input(task.normalize(run.data.test.batch(torch.arange(359), 0))).flatten(1)
    index = (test_pixels[..., None] - levels).abs().argmin(-1)
    expected = frequencies.expand(359, -1, -1).gather(-1, index[..., None]).clamp(min=5e-4).log().sum((1, 2)).mean()
    assert task.reference_scores()[0]["elbo"] == pytest.approx(float(expected), rel=0.02)


@torch.no_grad()
def test_generated_images_stay_in_the_value_range() -> None:
    _, task = make_task(*BINARY)
    torch.manual_seed(0)
    images = task.generate(6, None)
    assert images.shape == (6, 1, 8, 8)
    assert images.unique().numel() > 100
    torch.manual_seed(0)
    z = torch.randn(6, 3)
    torch.testing.assert_close(images, task.model.decode(z).sigmoid().view(6, 1, 8, 8))  # type: ignore[operator]


@torch.no_grad()
@pytest.mark.slow
def test_artifacts_show_reconstructions_and_interpolations() -> None:
    run, task = make_task(*SHADES, "task.likelihood=categorical", "model.num_classes=10")
    reconstructions, interpolations = show(task.eval().make_artifacts(run.loaders["test"].iter_epoch(0))).values()
    assert isinstance(reconstructions, ImageGrid)
    assert isinstance(interpolations, ImageGrid)
    assert (reconstructions.columns, len(reconstructions.tiles), interpolations.columns, len(interpolations.tiles)) == (
        10,
        20,
        10,
        50,
    )
    batch = next(run.loaders["test"].iter_epoch(0))
    assert torch.equal(reconstructions.tiles[3].image, batch.inputs["x"][3])
    assert (reconstructions.tiles[3].caption, reconstructions.tiles[13].caption) == ("row 3", "reconstructed")
    reconstructed = torch.stack([tile.image for tile in reconstructions.tiles[10:]])
    ends = torch.stack([tile.image for index, tile in enumerate(interpolations.tiles) if index % 10 in (0, 9)])
    torch.testing.assert_close(ends, reconstructed.view(2, 5, 1, 8, 8).transpose(0, 1).flatten(0, 1))
    mean, _ = task.model.encode(batch.inputs["x"][:10], batch.target[:10])  # type: ignore[operator,index]
    expected = task.model.decode(mean, batch.target[:10]).view(10, 64, 17).softmax(-1) @ torch.linspace(0, 1, 17)  # type: ignore[operator,index]
    torch.testing.assert_close(reconstructed.flatten(1), expected)


def test_sample_interpolates_between_two_test_rows() -> None:
    run, task = make_task(*BINARY, "model.num_classes=10")
    grid, array = task.eval().sample(count=5, start=3, end=12)
    assert isinstance(grid, ImageGrid)
    assert isinstance(array, ArrayFile)
    assert (grid.name, array.name, array.values.shape) == ("interpolation-3-12", "interpolation-3-12", (5, 1, 8, 8))
    steps = array.values.flatten(1).diff(dim=0).norm(dim=1)
    assert (steps > 0).all()
    batch = run.data.test.batch(torch.tensor([3, 12]), 0)
    assert batch.target is not None
    assert batch.target[0] != batch.target[1]
    assert steps.argmax() == 2, "the class changes after the middle"
    for keys in ({"start": 3}, {"start": 3, "end": 359}, {"start": 3, "end": 4, "label": 1}):
        with pytest.raises(ConfigError, match="start and end must be test rows 0 to 358"):
            list(task.sample(**keys))  # type: ignore[arg-type]
    samples, _ = task.sample(count=20, label=2)
    assert isinstance(samples, ImageGrid)
    assert samples.name == "sampled-0-of-2"


def test_points_have_no_image_artifacts_and_use_data_baseline() -> None:
    run, task = make_task("model=vae", "data=linear_gaussian", "data.rows=100")
    assert list(task.make_artifacts(run.loaders["test"].iter_epoch(0))) == []
    baseline, _ = task.reference_scores()
    assert baseline["iw_bound"] == baseline["elbo"] == run.data.info.baseline["elbo"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("model=vae", *DIGITS, "task.likelihood=categorical"),
            "model.levels: 1 given; task.likelihood=categorical needs",
        ),
        (SHADES, "model.levels: 17 given; task.likelihood=gaussian takes 1 output"),
        (("model=vae", *DIGITS, "task.binarize=true"), "task.binarize: binarized data needs task.likelihood=bernoulli"),
        (("model=binary_vae", "data=linear_gaussian"), r"task.likelihood: bernoulli needs values in \[0, 1\]; row 0"),
    ],
)
def test_incompatible_options_raise_with_a_message(overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        lab(*overrides)
