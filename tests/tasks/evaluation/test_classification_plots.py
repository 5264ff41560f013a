"""What is shown of a classifier is what it did."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.helpers.artifacts import make_artifacts
from trainer.core.artifacts import Artifact, ConfusionMatrix, ImageGrid, LineChart, Table
from trainer.core.batch import IGNORE_INDEX, Batch
from trainer.tasks.evaluation.classification_plots import ImageInput, make_plots

NAMES = ["sky", "sea", "sand"]


def bright(batch: Batch) -> Tensor:
    """Logits (B, 3): the class is the row of the middle pixel, more surely the brighter it is; never ``sand``."""
    middle = batch.inputs["x"][:, 0, 1, 1]
    return torch.stack((-middle, middle, torch.full_like(middle, -9.0)), 1)


def pictures(values: list[float], target: list[int]) -> Batch:
    x = torch.rand(len(values), 1, 3, 3) * 0.01
    x[:, 0, 1, 1] = torch.tensor(values)
    return Batch({"x": x}, torch.tensor(target), torch.arange(len(values)) + 40)


def seen(*batches: Batch, names: list[str] = NAMES) -> dict[str, Artifact]:
    return make_artifacts(make_plots(bright, batches, names, ImageInput("x")))


def test_counts_are_of_all_batches_and_only_of_what_counts() -> None:
    found = seen(pictures([-1, 1, 1], [0, 1, 2]), pictures([-1, 2], [1, IGNORE_INDEX]))["confusion"]
    assert isinstance(found, ConfusionMatrix)
    assert found.counts.tolist() == [[1, 0, 0], [1, 1, 0], [0, 1, 0]]


def two(batch: Batch) -> Tensor:
    return bright(batch)[:, :2]


def test_two_classes_have_a_matrix_and_curves_of_every_threshold() -> None:
    batch = pictures([-2, -1, 1, 2], [0, 1, 0, 1])
    found = make_artifacts(make_plots(two, [batch], NAMES[:2], ImageInput("x")))
    assert isinstance(found["confusion"], ConfusionMatrix)
    assert found["confusion"].counts.tolist() == [[1, 1], [1, 1]]
    assert isinstance(found["roc"], LineChart)
    roc, recall = found["roc"].panels
    assert roc.title == "ROC, area 0.7500"
    assert torch.stack(roc.lines[0][1:], 1).tolist() == [[0, 0], [0, 0.5], [0.5, 0.5], [0.5, 1], [1, 1]]
    assert torch.stack(recall.lines[0][1:], 1)[:2].tolist() == [[0.5, 1], [0.5, 0.5]]
    one = make_artifacts(make_plots(two, [pictures([-2, -1], [0, 0])], NAMES[:2], ImageInput("x")))
    assert "roc" not in one, "of one class alone there is no curve"


def test_mistakes_are_those_with_the_highest_loss() -> None:
    found = seen(pictures([3, 1, -1], [0, 1, 0]), pictures([-5, 0.1, -2], [1, 0, IGNORE_INDEX]))["mistakes"]
    assert isinstance(found, ImageGrid)
    assert [tile.caption for tile in found.tiles] == [
        "True: sea\nPredicted: sky (100%)\nrow 40",
        "True: sky\nPredicted: sea (100%)\nrow 40",
        "True: sky\nPredicted: sea (55%)\nrow 41",
    ]
    assert float(found.tiles[0].image[0, 1, 1]) == -5
    assert "mistakes" not in seen(pictures([-1, 1], [0, 1]))


def test_a_gradient_is_not_asked_of_layers_that_have_none_in_evaluation() -> None:
    asked: list[bool] = []

    def noted(batch: Batch) -> Tensor:
        asked.append(batch.inputs["x"].requires_grad and torch.backends.cudnn.enabled)
        return bright(batch)

    assert "saliency" in make_artifacts(make_plots(noted, [pictures([1.0, -1.0], [1, 0])], NAMES, ImageInput("x")))
    assert len(asked) > 2
    assert not any(asked)
    assert torch.backends.cudnn.enabled


def test_a_batch_of_ignored_targets_has_no_saliency() -> None:
    assert "saliency" not in seen(pictures([1.0, -1.0], [IGNORE_INDEX, IGNORE_INDEX]))


def test_saliency_is_high_at_the_relevant_input() -> None:
    found = seen(pictures([-1, 1, 1, 2], [0, 0, 1, 1]))["saliency"]
    assert isinstance(found, ImageGrid)
    assert [tile.caption for tile in found.tiles] == ["Predicted: sky", "Predicted: sea"]
    for tile in found.tiles:
        assert tile.heatmap is not None
        assert int(tile.heatmap.argmax()) == 4
        assert tile.heatmap.flatten().sort().values[-2] == 0


def test_an_image_that_is_not_read_has_no_bright_place() -> None:
    batch = pictures([-1, 1], [0, 1])
    batch.inputs["z"] = torch.eye(3)[:2].requires_grad_()
    sheet = make_artifacts(make_plots(lambda b: b.inputs["z"] * 1, [batch], NAMES, ImageInput("x")))["saliency"]
    assert isinstance(sheet, ImageGrid)
    assert [tile.heatmap.abs().sum() for tile in sheet.tiles if tile.heatmap is not None] == [0, 0]


def test_overlays_tell_the_overlap_of_each_class() -> None:
    def left(batch: Batch) -> Tensor:
        logits = torch.zeros(len(batch), 3, 2, 2)
        logits[:, 0, :, 0] = logits[:, 1, :, 1] = 1  # sky on the left, sea on the right
        return logits

    truth = torch.tensor([[[0, 1], [1, 1]], [[0, IGNORE_INDEX], [0, IGNORE_INDEX]]])
    batch = Batch({"x": torch.rand(2, 1, 2, 2)}, truth, torch.arange(2))
    matrix, sheet = make_artifacts(make_plots(left, [batch], NAMES, ImageInput("x"))).values()
    assert isinstance(matrix, ConfusionMatrix)
    assert matrix.counts.tolist() == [[3, 0, 0], [1, 2, 0], [0, 0, 0]]
    assert isinstance(sheet, ImageGrid)
    assert [tile.caption for tile in sheet.tiles[2::3]] == [
        "Predicted, IoU sky 0.50, sea 0.67",
        "Predicted, IoU sky 1.00",
    ]
    assert torch.equal(sheet.tiles[1].class_map, truth[0])  # type: ignore[arg-type]
    assert sheet.class_names == NAMES


def test_errors_on_non_images_are_listed_in_a_table() -> None:
    series = torch.rand(4, 3, 5, 2)  # steps of nodes, say: four dims do not make a picture
    batch = Batch({"x": series}, torch.tensor([0, 1, 2, 2]), torch.arange(4))
    logits = torch.tensor([[9.0, 0, 0], [0, 9, 0], [0, 1, 0], [2, 0, 0]])
    found = make_artifacts(make_plots(lambda _: logits, [batch], NAMES))
    assert [*found] == ["confusion", "mistakes"]
    assert isinstance(found["mistakes"], Table)
    assert [row[:3] for row in found["mistakes"].rows] == [(3, "sand", "sky"), (2, "sand", "sea")]
