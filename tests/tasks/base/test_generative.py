"""Base class of generative tasks, with models that return fresh, copied or collapsed rows."""

from __future__ import annotations

from collections.abc import Collection
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainer.config import introspection, registry
from trainer.core import rng
from trainer.core.artifacts import ArrayFile, Artifact, ImageGrid, ScatterPlot
from trainer.core.batch import Batch, RowValues, Score
from trainer.core.dataset import Dataset
from trainer.core.split import TensorSplit
from trainer.data.datasets.generative.ring import Ring
from trainer.data.datasets.image.digits import Digits
from trainer.tasks.base.generative import Generative
from trainer.tasks.evaluation.sample_metrics import subsample_indices
from trainer.utils.errors import ConfigError


class RowSampler(nn.Module):
    """Model that draws from given rows, of the label if there is one."""

    def __init__(self, rows: Tensor, label: Tensor | None, num_classes: int | None = None):
        super().__init__()
        self.rows, self.label, self.num_classes = rows, label, num_classes

    def forward(self, x: Tensor) -> Tensor:
        return x

    def sample_rows(self, count: int, label: Tensor | None) -> Tensor:
        if label is None or self.label is None:
            return self.rows[torch.randint(len(self.rows), (count,))]
        rows_by_label = [self.rows[self.label == one] for one in label]
        return torch.stack([rows[int(torch.randint(len(rows), ()))] for rows in rows_by_label])


class SamplerTask(Generative):
    shapes = "(B) -> ()"

    def loss(self, batch: Batch, group: str) -> Tensor:
        return self.normalize(batch).sum()

    def draw(self, count: int, label: Tensor | None) -> Tensor:
        return self.model.sample_rows(count, label)  # type: ignore[operator]

    def score_rows(self, batch: Batch) -> dict[str, Tensor]:
        return {"first": self.normalize(batch).flatten(1)[:, 0]}

    def score(self, batch: Batch) -> Score:
        return self.collect_real_rows(batch)

    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        return self.compare_samples(totals)


def make_task(data: Dataset, rows: Tensor, label: Tensor | None = None, num_classes: int | None = None) -> SamplerTask:
    task = SamplerTask(RowSampler(rows, label, num_classes), samples=400, classifier=None)
    task.setup(data)
    return task


def compute_scores(task: SamplerTask) -> dict[str, float]:
    test = task.sample_metrics.data.test
    found = task.score(test.to_model_inputs(test.batch(torch.arange(len(test)), 0)))
    torch.manual_seed(0)
    return task.metrics({name: value.values for name, value in found.items() if isinstance(value, RowValues)})


@pytest.fixture(scope="module")
def ring() -> Ring:
    return Ring(rows=4000, modes=8, radius=2.0, sigma=0.1, seed=0)


@pytest.fixture(scope="module")
def digits() -> Digits:
    return Digits(size=8, seed=0)


def get_x(split: object) -> Tensor:
    assert isinstance(split, TensorSplit)
    return split.inputs["x"]


def test_metrics_detect_collapsed_shifted_and_copied_samples(ring: Ring) -> None:
    fresh = Ring(rows=4000, modes=8, radius=2.0, sigma=0.1, seed=5)
    good = compute_scores(make_task(ring, get_x(fresh.train)))
    assert good["modes"] == 8
    assert good["energy_distance"] < 0.02
    assert good["copies"] < 0.2  # by chance: a ninth of all rows in two dimensions
    collapsed = compute_scores(make_task(ring, get_x(ring.train)[:1]))
    assert (collapsed["modes"], collapsed["within"]) == (1, 1)
    assert collapsed["energy_distance"] > 1
    assert compute_scores(make_task(ring, get_x(fresh.train) + 1))["energy_distance"] > 0.3
    copied = compute_scores(make_task(ring, get_x(ring.train)))
    assert copied["copies"] == 1
    assert copied["energy_distance"] < 0.02  # only ``copies`` detects it


def test_ignored_class_labels_are_detected(ring: Ring) -> None:
    split = Ring(rows=4000, modes=8, radius=2.0, sigma=0.1, seed=5).train
    conditional = make_task(ring, get_x(split), split.get_targets(), 8)
    assert compute_scores(conditional)["label_accuracy"] > 0.99
    unconditional = make_task(ring, get_x(split), None, 8)
    assert compute_scores(unconditional)["label_accuracy"] < 0.3
    assert "label_accuracy" not in compute_scores(make_task(ring, get_x(split)))


def test_classifier_metrics_separate_real_rows_from_noise_and_collapse(digits: Digits) -> None:
    train = digits.train
    centers = torch.stack([get_x(train)[train.get_targets() == k].mean(0).flatten() for k in range(10)])  # type: ignore[operator]

    def nearest(x: Tensor) -> tuple[Tensor, Tensor]:
        distances = torch.cdist(x.flatten(1), centers)
        return distances, distances.argmin(1)

    with_classifier = copy(digits)
    with_classifier.info = replace(digits.info, classifier=nearest)
    normalized = get_x(digits.val) * 2 - 1
    good = compute_scores(make_task(with_classifier, normalized, digits.val.get_targets(), 10))
    assert good["label_accuracy"] > 0.85
    noise = compute_scores(make_task(with_classifier, torch.rand(300, 1, 8, 8) * 2 - 1))
    collapsed = compute_scores(make_task(with_classifier, normalized[:1]))
    assert good["frechet"] < 0.3 * min(noise["frechet"], collapsed["frechet"])
    assert noise["precision"] < 0.1 < 0.6 < good["precision"]
    assert collapsed["recall"] < 0.1 < 0.5 < good["recall"]


def test_reference_scores_of_gaussian_and_real_rows(ring: Ring) -> None:
    torch.manual_seed(0)
    baseline, best = make_task(ring, get_x(ring.train)).reference_scores()
    assert baseline["modes"] == 0
    assert baseline["energy_distance"] == pytest.approx(ring.info.baseline["energy_distance"], abs=0.03)
    assert (best["modes"], best["energy_distance"] < 0.01) == (8, True)


def test_normalize_and_denormalize_images(digits: Digits) -> None:
    task = make_task(digits, get_x(digits.train))
    batch = digits.train.batch(torch.arange(50), 0)
    normalized = task.normalize(batch)
    assert (float(normalized.min()), float(normalized.max())) == (-1, 1)
    torch.testing.assert_close(task.denormalize(normalized), batch.inputs["x"])
    assert task.denormalize(normalized * 9).max() == 1  # nothing is brighter than white
    task.value_range = (0.0, 1.0)
    assert float(task.normalize(batch).min()) == 0


def test_points_are_not_normalized(ring: Ring) -> None:
    task = make_task(ring, get_x(ring.train))
    batch = ring.train.batch(torch.arange(50), 0)
    assert task.normalize(batch) is batch.inputs["x"]
    assert torch.equal(task.denormalize(batch.inputs["x"] * 9), batch.inputs["x"] * 9)


def sample_artifacts(task: SamplerTask, **options: int) -> list[Artifact]:
    return [item for item in task.sample(**options) if not isinstance(item, str)]  # type: ignore[arg-type]


def test_samples_are_seeded_and_keep_global_rng_state(ring: Ring) -> None:
    task = make_task(ring, get_x(ring.train))
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    scatter, array = sample_artifacts(task, count=5, seed=1)
    assert torch.equal(torch.rand(2), expected)
    assert isinstance(scatter, ScatterPlot)
    assert isinstance(array, ArrayFile)
    assert array.values.shape == (5, 2)
    assert torch.equal(array.values, sample_artifacts(task, count=5, seed=1)[1].values)  # type: ignore[union-attr]
    assert not torch.equal(array.values, sample_artifacts(task, count=5, seed=2)[1].values)  # type: ignore[union-attr]


def test_samples_of_one_class_and_of_all_classes(digits: Digits) -> None:
    task = make_task(digits, get_x(digits.val) * 2 - 1, digits.val.get_targets(), 10)
    grid, array = sample_artifacts(task, count=23)
    assert isinstance(grid, ImageGrid)
    assert isinstance(array, ArrayFile)
    assert array.values.shape == (23, 1, 8, 8)
    assert len(sample_artifacts(task, count=64)[0].tiles) == 64  # type: ignore[union-attr]
    assert array.values.min() >= 0
    assert array.values.max() <= 1
    assert sample_artifacts(task, count=4, label=3, seed=2)[1].name == "sampled-2-of-3"
    zeros = sample_artifacts(task, count=4, label=0)[1].values  # type: ignore[union-attr]
    first = get_x(digits.val)[digits.val.get_targets() == 0]  # type: ignore[operator]
    assert all(any(torch.allclose(one, real) for real in first) for one in zeros)
    with pytest.raises(ConfigError, match="label: 10 given; the classes are 0 to 9"):
        sample_artifacts(task, label=10)
    with pytest.raises(ConfigError, match="the model of this run is unconditional"):
        sample_artifacts(make_task(digits, get_x(digits.val)), label=1)


def test_preview_is_reproducible_for_same_seed(ring: Ring) -> None:
    task = make_task(ring, get_x(ring.train))
    with rng.fork_rng(0):
        first = task.sample_preview()
    with rng.fork_rng(0):
        assert torch.equal(first, task.sample_preview())


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (None, "the train split has no class labels"),
        (torch.rand(4), "the train split has no class labels"),
        (torch.tensor([0, 3]), "3 given; the train split has classes 0 to 3"),
    ],
)
def test_conditional_model_with_wrong_labels_raises(ring: Ring, target: Tensor | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_task(ring, get_x(ring.train), None, 3).validate_targets(target, "train")
    make_task(ring, get_x(ring.train)).validate_targets(target, "train")


def test_only_conditional_models_need_targets_to_score(ring: Ring) -> None:
    x = get_x(ring.train)
    for num_classes in (None, 8):
        assert make_task(ring, x, num_classes=num_classes).needs_targets_to_score == (num_classes is not None)
    task = SamplerTask(nn.Identity(), 10, None)
    assert (task.num_classes, task.needs_targets_to_score) == (None, False)


def test_subsample_indices_are_evenly_spaced() -> None:
    assert subsample_indices(10, 5).tolist() == [0, 2, 4, 6, 8]
    assert subsample_indices(3, 5).tolist() == [0, 1, 2]


def test_scatter_plots_and_arrays_are_written(tmp_path: Path, ring: Ring) -> None:
    from trainer.viz import artifact_writer

    points = torch.cat((get_x(ring.train), 0.1 * torch.randn(len(get_x(ring.train)), 3)), 1)
    paths = artifact_writer.write_artifacts(
        [ScatterPlot("flat", [("a", points)], points), ArrayFile("a", points)], tmp_path
    )
    assert [path.name for path in paths] == ["flat.png", "a.npy"]
    assert np.array_equal(np.load(paths[1]), points.numpy())
    from PIL import Image

    assert len(np.unique(np.asarray(Image.open(paths[0]).convert("L")))) > 20


@pytest.mark.slow
def test_generative_models_default_to_no_augmentation() -> None:
    """Augmented images are not in the distribution of the test rows."""
    task_names = {
        name
        for name, option in registry.list_options("task").items()
        if "compare_samples" in list_methods(option.class_path)
    }
    assert task_names == {"density", "diffusion", "flow_matching", "gan", "vae", "vq_vae"}
    options = {
        name: option for name, option in registry.list_options("model").items() if option.task_name in task_names
    }
    assert len(options) >= 13
    assert [
        name for name, option in options.items() if ("augment", "none", "") not in option.list_other_overrides()
    ] == []


def list_methods(target: str | None) -> Collection[str]:
    found = introspection.read_signature(str(target))
    return found.parameters_by_method if found else ()
