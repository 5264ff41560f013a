"""Classification plots: confusion matrix, ROC, mistakes, saliency, overlays."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tests.helpers.artifacts import make_artifacts
from trainer.core.artifacts import Artifact, ConfusionMatrix, ImageGrid, LineChart, Table
from trainer.core.batch import IGNORE_INDEX, Batch
from trainer.tasks.evaluation.classification_plots import ImageInput, make_plots

NAMES = ["sky", "sea", "sand"]


def with_classes(predict: Callable[[Batch], Tensor]) -> Callable[[Batch], tuple[Tensor, Tensor]]:
    """Add the most likely classes to the logits of a function."""

    def predict_classes(batch: Batch) -> tuple[Tensor, Tensor]:
        logits = predict(batch)
        return logits, logits.argmax(1)

    return predict_classes


def predict_by_center(batch: Batch) -> Tensor:
    """Return logits (B, 3): sea for a positive center pixel, sky for a negative one, never sand."""
    middle = batch.inputs["x"][:, 0, 1, 1]
    return torch.stack((-middle, middle, torch.full_like(middle, -9.0)), 1)


def make_batch(values: list[float], target: list[int]) -> Batch:
    x = torch.rand(len(values), 1, 3, 3) * 0.01
    x[:, 0, 1, 1] = torch.tensor(values)
    return Batch({"x": x}, torch.tensor(target), torch.arange(len(values)) + 40)


def plot_batches(*batches: Batch, names: list[str] = NAMES) -> dict[str, Artifact]:
    return make_artifacts(make_plots(with_classes(predict_by_center), batches, names, ImageInput("x")))


def test_confusion_counts_all_batches_and_skips_ignored_targets() -> None:
    found = plot_batches(make_batch([-1, 1, 1], [0, 1, 2]), make_batch([-1, 2], [1, IGNORE_INDEX]))["confusion"]
    assert isinstance(found, ConfusionMatrix)
    assert found.counts.tolist() == [[1, 0, 0], [1, 1, 0], [0, 1, 0]]


def predict_two_classes(batch: Batch) -> Tensor:
    return predict_by_center(batch)[:, :2]


def test_binary_classes_get_confusion_and_roc_curves() -> None:
    batch = make_batch([-2, -1, 1, 2], [0, 1, 0, 1])
    found = make_artifacts(make_plots(with_classes(predict_two_classes), [batch], NAMES[:2], ImageInput("x")))
    assert isinstance(found["confusion"], ConfusionMatrix)
    assert found["confusion"].counts.tolist() == [[1, 1], [1, 1]]
    assert isinstance(found["roc"], LineChart)
    roc, recall = found["roc"].panels
    assert roc.title == "ROC, area 0.7500"
    assert torch.stack(roc.lines[0][1:], 1).tolist() == [[0, 0], [0, 0.5], [0.5, 0.5], [0.5, 1], [1, 1]]
    assert torch.stack(recall.lines[0][1:], 1)[:2].tolist() == [[0.5, 1], [0.5, 0.5]]
    one = make_artifacts(
        make_plots(with_classes(predict_two_classes), [make_batch([-2, -1], [0, 0])], NAMES[:2], ImageInput("x"))
    )
    assert "roc" not in one, "a single class has no curve"


def test_mistakes_are_rows_with_highest_loss() -> None:
    found = plot_batches(make_batch([3, 1, -1], [0, 1, 0]), make_batch([-5, 0.1, -2], [1, 0, IGNORE_INDEX]))["mistakes"]
    assert isinstance(found, ImageGrid)
    assert [tile.caption for tile in found.tiles] == [
        "True: sea\nPredicted: sky (100%)\nrow 40",
        "True: sky\nPredicted: sea (100%)\nrow 40",
        "True: sky\nPredicted: sea (55%)\nrow 41",
    ]
    assert float(found.tiles[0].image[0, 1, 1]) == -5
    assert "mistakes" not in plot_batches(make_batch([-1, 1], [0, 1]))


def test_saliency_disables_cudnn_for_input_gradients() -> None:
    used_cudnn_with_gradient: list[bool] = []

    def record_state(batch: Batch) -> Tensor:
        used_cudnn_with_gradient.append(batch.inputs["x"].requires_grad and torch.backends.cudnn.enabled)
        return predict_by_center(batch)

    assert "saliency" in make_artifacts(
        make_plots(with_classes(record_state), [make_batch([1.0, -1.0], [1, 0])], NAMES, ImageInput("x"))
    )
    assert len(used_cudnn_with_gradient) > 2
    assert not any(used_cudnn_with_gradient)
    assert torch.backends.cudnn.enabled


def test_a_batch_of_ignored_targets_has_no_saliency() -> None:
    assert "saliency" not in plot_batches(make_batch([1.0, -1.0], [IGNORE_INDEX, IGNORE_INDEX]))


def test_saliency_is_high_at_the_relevant_input() -> None:
    found = plot_batches(make_batch([-1, 1, 1, 2], [0, 0, 1, 1]))["saliency"]
    assert isinstance(found, ImageGrid)
    assert [tile.caption for tile in found.tiles] == ["Predicted: sky", "Predicted: sea"]
    for tile in found.tiles:
        assert tile.heatmap is not None
        assert int(tile.heatmap.argmax()) == 4
        assert tile.heatmap.flatten().sort().values[-2] == 0


def test_unused_image_has_zero_saliency() -> None:
    batch = make_batch([-1, 1], [0, 1])
    batch.inputs["z"] = torch.eye(3)[:2].requires_grad_()
    grid = make_artifacts(make_plots(with_classes(lambda b: b.inputs["z"] * 1), [batch], NAMES, ImageInput("x")))[
        "saliency"
    ]
    assert isinstance(grid, ImageGrid)
    assert [tile.heatmap.abs().sum() for tile in grid.tiles if tile.heatmap is not None] == [0, 0]


def test_segmentation_overlays_show_iou_of_each_class() -> None:
    def predict_halves(batch: Batch) -> Tensor:
        logits = torch.zeros(len(batch), 3, 2, 2)
        logits[:, 0, :, 0] = logits[:, 1, :, 1] = 1  # sky on the left, sea on the right
        return logits

    truth = torch.tensor([[[0, 1], [1, 1]], [[0, IGNORE_INDEX], [0, IGNORE_INDEX]]])
    batch = Batch({"x": torch.rand(2, 1, 2, 2)}, truth, torch.arange(2))
    found = make_artifacts(make_plots(with_classes(predict_halves), [batch], NAMES, ImageInput("x")))
    assert [*found] == ["confusion", "classes", "overlays"]
    matrix, grid = found["confusion"], found["overlays"]
    assert isinstance(matrix, ConfusionMatrix)
    assert matrix.counts.tolist() == [[3, 0, 0], [1, 2, 0], [0, 0, 0]]
    assert isinstance(grid, ImageGrid)
    assert [tile.caption for tile in grid.tiles[2::3]] == [
        "Predicted, IoU sky 0.50, sea 0.67",
        "Predicted, IoU sky 1.00",
    ]
    assert torch.equal(grid.tiles[1].class_map, truth[0])  # type: ignore[arg-type]
    assert grid.class_names == NAMES


def test_errors_on_non_images_are_listed_in_a_table() -> None:
    series = torch.rand(4, 3, 5, 2)  # four dims are not always an image, such as steps of nodes
    batch = Batch({"x": series}, torch.tensor([0, 1, 2, 2]), torch.arange(4))
    logits = torch.tensor([[9.0, 0, 0], [0, 9, 0], [0, 1, 0], [2, 0, 0]])
    found = make_artifacts(make_plots(with_classes(lambda _: logits), [batch], NAMES))
    assert [*found] == ["confusion", "classes", "calibration", "mistakes"]
    assert isinstance(found["mistakes"], Table)
    assert [row[:3] for row in found["mistakes"].rows] == [(3, "sand", "sky"), (2, "sand", "sea")]
