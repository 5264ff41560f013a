"""What all generative tasks share, tried with models that cheat: one that knows the answer, one that copies, one that
collapsed."""

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
from trainer.core.dataset import Dataset, TensorSplit
from trainer.data.datasets.generative.ring import Ring
from trainer.data.datasets.image.digits import Digits
from trainer.tasks.base.generative import Generative
from trainer.tasks.evaluation.sample_metrics import subsample_indices
from trainer.utils.errors import ConfigError


class Source(nn.Module):
    """Rows from a list, of a class where it is told one."""

    def __init__(self, rows: Tensor, label: Tensor | None, num_classes: int | None = None):
        super().__init__()
        self.rows, self.label, self.num_classes = rows, label, num_classes

    def forward(self, x: Tensor) -> Tensor:
        return x

    def pick(self, count: int, label: Tensor | None) -> Tensor:
        if label is None or self.label is None:
            return self.rows[torch.randint(len(self.rows), (count,))]
        mine = [self.rows[self.label == one] for one in label]
        return torch.stack([rows[int(torch.randint(len(rows), ()))] for rows in mine])


class Maker(Generative):
    shapes = "(B) -> ()"

    def loss(self, batch: Batch, group: str) -> Tensor:
        return self.normalize(batch).sum()

    def draw(self, count: int, label: Tensor | None) -> Tensor:
        return self.model.pick(count, label)  # type: ignore[operator]

    def score_rows(self, batch: Batch) -> dict[str, Tensor]:
        return {"first": self.normalize(batch).flatten(1)[:, 0]}

    def score(self, batch: Batch) -> Score:
        return self.collect_real_rows(batch)

    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        return self.compare_samples(totals)


def of(data: Dataset, rows: Tensor, label: Tensor | None = None, num_classes: int | None = None) -> Maker:
    made = Maker(Source(rows, label, num_classes), samples=400, classifier=None)
    made.setup(data)
    return made


def scores(task: Maker) -> dict[str, float]:
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


def x_of(split: object) -> Tensor:
    assert isinstance(split, TensorSplit)
    return split.inputs["x"]


def test_fresh_rows_score_well_and_collapsed_shifted_and_copied_ones_badly(ring: Ring) -> None:
    fresh = Ring(rows=4000, modes=8, radius=2.0, sigma=0.1, seed=5)
    good = scores(of(ring, x_of(fresh.train)))
    assert good["modes"] == 8
    assert good["energy_distance"] < 0.02
    assert good["copies"] < 0.2  # by chance: a ninth of all rows in two dimensions
    collapsed = scores(of(ring, x_of(ring.train)[:1]))
    assert (collapsed["modes"], collapsed["within"]) == (1, 1)
    assert collapsed["energy_distance"] > 1
    assert scores(of(ring, x_of(fresh.train) + 1))["energy_distance"] > 0.3
    copied = scores(of(ring, x_of(ring.train)))
    assert copied["copies"] == 1
    assert copied["energy_distance"] < 0.02  # which is why copies are looked for


def test_ignored_class_labels_are_detected(ring: Ring) -> None:
    split = Ring(rows=4000, modes=8, radius=2.0, sigma=0.1, seed=5).train
    told = of(ring, x_of(split), split.get_targets(), 8)
    assert scores(told)["label_accuracy"] > 0.99
    deaf = of(ring, x_of(split), None, 8)
    assert scores(deaf)["label_accuracy"] < 0.3
    assert "label_accuracy" not in scores(of(ring, x_of(split)))


def test_a_classifier_compares_features_and_predicts_classes(digits: Digits) -> None:
    train = digits.train
    centres = torch.stack([x_of(train)[train.get_targets() == k].mean(0).flatten() for k in range(10)])  # type: ignore[operator]

    def nearest(x: Tensor) -> tuple[Tensor, Tensor]:
        away = torch.cdist(x.flatten(1), centres)
        return away, away.argmin(1)

    judged = copy(digits)
    judged.info = replace(digits.info, classifier=nearest)
    as_seen = x_of(digits.val) * 2 - 1
    good = scores(of(judged, as_seen, digits.val.get_targets(), 10))
    assert good["label_accuracy"] > 0.85
    noise = scores(of(judged, torch.rand(300, 1, 8, 8) * 2 - 1))
    collapsed = scores(of(judged, as_seen[:1]))
    assert good["frechet"] < 0.3 * min(noise["frechet"], collapsed["frechet"])
    assert noise["precision"] < 0.1 < 0.6 < good["precision"]
    assert collapsed["recall"] < 0.1 < 0.5 < good["recall"]


def test_what_one_gaussian_and_real_rows_score(ring: Ring) -> None:
    torch.manual_seed(0)
    baseline, best = of(ring, x_of(ring.train)).reference_scores()
    assert baseline["modes"] == 0
    assert baseline["energy_distance"] == pytest.approx(ring.info.baseline["energy_distance"], abs=0.03)
    assert (best["modes"], best["energy_distance"] < 0.01) == (8, True)


def test_images_are_normalized_to_the_value_range_and_back(digits: Digits) -> None:
    task = of(digits, x_of(digits.train))
    batch = digits.train.batch(torch.arange(50), 0)
    seen = task.normalize(batch)
    assert (float(seen.min()), float(seen.max())) == (-1, 1)
    torch.testing.assert_close(task.denormalize(seen), batch.inputs["x"])
    assert task.denormalize(seen * 9).max() == 1  # nothing is brighter than white
    task.value_range = (0.0, 1.0)
    assert float(task.normalize(batch).min()) == 0


def test_points_are_left_as_they_are(ring: Ring) -> None:
    task = of(ring, x_of(ring.train))
    batch = ring.train.batch(torch.arange(50), 0)
    assert task.normalize(batch) is batch.inputs["x"]
    assert torch.equal(task.denormalize(batch.inputs["x"] * 9), batch.inputs["x"] * 9)


def items(task: Maker, **options: int) -> list[Artifact]:
    return [item for item in task.sample(**options) if not isinstance(item, str)]  # type: ignore[arg-type]


def test_samples_are_the_same_for_a_seed_and_leave_the_generator_alone(ring: Ring) -> None:
    task = of(ring, x_of(ring.train))
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    cloud, array = items(task, count=5, seed=1)
    assert torch.equal(torch.rand(2), expected)
    assert isinstance(cloud, ScatterPlot)
    assert isinstance(array, ArrayFile)
    assert array.values.shape == (5, 2)
    assert torch.equal(array.values, items(task, count=5, seed=1)[1].values)  # type: ignore[union-attr]
    assert not torch.equal(array.values, items(task, count=5, seed=2)[1].values)  # type: ignore[union-attr]


def test_samples_of_a_class_and_of_each_in_turn(digits: Digits) -> None:
    task = of(digits, x_of(digits.val) * 2 - 1, digits.val.get_targets(), 10)
    sheet, array = items(task, count=23)
    assert isinstance(sheet, ImageGrid)
    assert isinstance(array, ArrayFile)
    assert array.values.shape == (23, 1, 8, 8)
    assert len(items(task, count=64)[0].tiles) == 64  # type: ignore[union-attr]
    assert array.values.min() >= 0
    assert array.values.max() <= 1
    assert items(task, count=4, label=3, seed=2)[1].name == "sampled-2-of-3"
    zeros = items(task, count=4, label=0)[1].values  # type: ignore[union-attr]
    first = x_of(digits.val)[digits.val.get_targets() == 0]  # type: ignore[operator]
    assert all(any(torch.allclose(one, real) for real in first) for one in zeros)
    with pytest.raises(ConfigError, match="label: 10 given; the classes are 0 to 9"):
        items(task, label=10)
    with pytest.raises(ConfigError, match="the model of this run is unconditional"):
        items(of(digits, x_of(digits.val)), label=1)


def test_a_snapshot_is_of_the_same_noise(ring: Ring) -> None:
    task = of(ring, x_of(ring.train))
    with rng.fork_rng(0):
        first = task.sample_preview()
    with rng.fork_rng(0):
        assert torch.equal(first, task.sample_preview())


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (None, "the train split has no class labels"),
        (torch.rand(4), "the train split has no class labels"),
        (torch.tensor([0, 3]), "3 given; the train split has classes 0 to 3"),
    ],
)
def test_rows_without_the_classes_a_model_wants_are_refused(ring: Ring, target: Tensor | None, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        of(ring, x_of(ring.train), None, 3).validate_targets(target, "train")
    of(ring, x_of(ring.train)).validate_targets(target, "train")


def test_rows_are_spread_evenly() -> None:
    assert subsample_indices(10, 5).tolist() == [0, 2, 4, 6, 8]
    assert subsample_indices(3, 5).tolist() == [0, 1, 2]


def test_arrays_and_clouds_are_written(tmp_path: Path, ring: Ring) -> None:
    from trainer.viz import artifact_writer

    wide = torch.cat((x_of(ring.train), 0.1 * torch.randn(len(x_of(ring.train)), 3)), 1)
    paths = artifact_writer.write_artifacts([ScatterPlot("flat", [("a", wide)], wide), ArrayFile("a", wide)], tmp_path)
    assert [path.name for path in paths] == ["flat.png", "a.npy"]
    assert np.array_equal(np.load(paths[1]), wide.numpy())
    from PIL import Image

    assert len(np.unique(np.asarray(Image.open(paths[0]).convert("L")))) > 20


@pytest.mark.slow
def test_models_that_generate_learn_rows_as_they_are() -> None:
    """A picture that was shifted is one that the test rows, its judges, do not hold."""
    made_by = {
        name
        for name, option in registry.list_options("task").items()
        if "compare_samples" in methods(option.class_path)
    }
    assert made_by == {"density", "diffusion", "flow_matching", "gan", "vae", "vq_vae"}
    chosen = {name: option for name, option in registry.list_options("model").items() if option.task_name in made_by}
    assert len(chosen) >= 13
    assert [
        name for name, option in chosen.items() if ("augment", "none", "") not in option.list_other_overrides()
    ] == []


def methods(target: str | None) -> Collection[str]:
    found = introspection.read_signature(str(target))
    return found.parameters_by_method if found else ()
