"""Classification plots: confusion matrix, misclassified rows, ROC curve, saliency maps and segmentation overlays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.core.artifacts import (
    NUMBERED_ROWS,
    Artifact,
    Bounds,
    ConfusionMatrix,
    ImageGrid,
    ImageTile,
    LazyArtifact,
    LineChart,
    PlotPanel,
    RowNames,
    Table,
    caption_row,
)
from trainer.core.batch import IGNORE_INDEX, Batch
from trainer.metrics.calibration import bin_confidences
from trainer.metrics.classification import average_precision, confusion_matrix, iou_per_class, roc_auc, threshold_curves
from trainer.metrics.double_precision import to_double
from trainer.tasks.evaluation.class_reports import plot_reliability, tabulate_classes
from trainer.tasks.evaluation.saliency import smoothgrad
from trainer.utils.text import shorten_label

MAX_CLASSES = 60
"""Maximum number of classes in a confusion matrix plot."""
MAX_MISTAKES, GRID_COLUMNS, MAX_OVERLAYS = 24, 8, 6
MISTAKE_COLUMNS = ("row", "true", "predicted", "probability", "nll")

PredictClasses = Callable[[Batch], tuple[Tensor, Tensor]]
"""Function from a batch to logits (B, C, ...) and predicted classes (B, ...)."""


@dataclass(frozen=True)
class ImageInput:
    """Image input (B, C, H, W) to plot.

    Attributes:
        name: Name of the input.
        bounds: Pixel values of black and white.
        row_names: Names of the rows, for captions.
    """

    name: str
    bounds: Bounds | None = None
    row_names: RowNames = NUMBERED_ROWS

    def make_tile(
        self, x: Tensor, caption: str, heatmap: Tensor | None = None, classes: Tensor | None = None
    ) -> ImageTile:
        """Return an image tile of a row.

        Args:
            x: Image (C, H, W).
            caption: Text below the image.
            heatmap: Overlay (H, W) in [0, 1].
            classes: Class (H, W) of each pixel.
        """
        return ImageTile(x, caption, heatmap, classes, self.bounds)


@dataclass
class ClassificationResults:
    """Predictions of a split.

    Attributes:
        confusion: Confusion matrix (C, C), true classes first.
        first_batch: First batch, for saliency maps and overlays.
        mistake_tiles: Loss and image of misclassified rows, in descending order of the loss.
        mistake_rows: Loss and table cells of misclassified rows, in descending order of the loss.
        bins: Sums of confidences and correct predictions by confidence, see ``bin_confidences``; None without rows.
        margins: Logit differences of two classes, (N,) per batch.
        positives: Whether a row has the second class, (N,) per batch.
    """

    confusion: Tensor
    first_batch: Batch | None = None
    mistake_tiles: list[tuple[float, ImageTile]] = field(default_factory=list)
    mistake_rows: list[tuple[float, tuple[object, ...]]] = field(default_factory=list)
    bins: Tensor | None = None
    margins: list[Tensor] = field(default_factory=list)
    positives: list[Tensor] = field(default_factory=list)


def make_plots(
    predict: PredictClasses, batches: Iterable[Batch], names: Sequence[str], image_input: ImageInput | None = None
) -> Iterator[Artifact | LazyArtifact]:
    """Yield tables and plots of classes, confidences, misclassified rows and images.

    These are a confusion matrix, scores of each class, a reliability diagram, ROC curves of two classes, the worst
    rows, and saliency maps or overlays of images.

    Args:
        predict: Function from a batch to logits (B, C, ...) and predicted classes (B, ...).
        batches: Batches of a split; they are iterated once, when the first artifact is drawn.
        names: Names of the C classes.
        image_input: Image input to plot; None if there is none.
    """

    @cache
    def get_results() -> ClassificationResults:
        return _evaluate(predict, batches, names, image_input)

    def draw_confusion() -> Artifact:
        return ConfusionMatrix("confusion", get_results().confusion, names)

    def draw_reliability() -> Artifact | None:
        bins = get_results().bins
        return None if bins is None else plot_reliability(bins)

    def draw_mistakes() -> Artifact | None:
        if get_results().mistake_tiles:
            return ImageGrid("mistakes", [tile for _, tile in get_results().mistake_tiles], GRID_COLUMNS)
        if get_results().mistake_rows:
            return Table("mistakes", MISTAKE_COLUMNS, [cells for _, cells in get_results().mistake_rows])
        return None

    def draw_maps() -> Artifact | None:
        first_batch = get_results().first_batch
        if image_input is None or first_batch is None or first_batch.target is None:
            return None
        if first_batch.target.dim() == 3:
            return ImageGrid("overlays", _draw_overlays(predict, first_batch, image_input, names), 3, class_names=names)
        if first_batch.target.dim() == 1 and bool((first_batch.target != IGNORE_INDEX).any()):
            return ImageGrid("saliency", _draw_saliency(predict, first_batch, image_input, names), GRID_COLUMNS)
        return None

    if len(names) <= MAX_CLASSES:
        yield LazyArtifact("confusion", draw_confusion)
    yield LazyArtifact("classes", lambda: tabulate_classes(get_results().confusion, names))
    yield LazyArtifact("calibration", draw_reliability)
    if len(names) == 2:
        yield LazyArtifact("roc", lambda: _plot_roc(get_results(), names))
    yield LazyArtifact("mistakes", draw_mistakes)
    if image_input is not None:
        yield LazyArtifact("saliency or overlays", draw_maps)


@torch.no_grad()
def _evaluate(
    predict: PredictClasses, batches: Iterable[Batch], names: Sequence[str], image_input: ImageInput | None
) -> ClassificationResults:
    results = ClassificationResults(torch.zeros(len(names), len(names), dtype=torch.long))
    for batch in batches:
        if results.first_batch is None:
            results.first_batch = batch
        (logits, predicted), target = predict(batch), batch.require_target()
        valid = target != IGNORE_INDEX
        results.confusion += confusion_matrix(predicted[valid], target[valid], len(names)).cpu()
        if target.dim() != 1:
            continue
        bins = bin_confidences(to_double(logits[valid]).softmax(1), target[valid]).cpu()
        results.bins = bins if results.bins is None else results.bins + bins
        if image_input is None:
            rows = [*results.mistake_rows, *_tabulate_mistakes(batch, logits, predicted, names)]
            results.mistake_rows = sorted(rows, key=lambda mistake: -mistake[0])[:MAX_MISTAKES]
        else:
            tiles = [*results.mistake_tiles, *_draw_mistakes(batch, image_input, logits, predicted, names)]
            results.mistake_tiles = sorted(tiles, key=lambda mistake: -mistake[0])[:MAX_MISTAKES]
        if len(names) == 2:
            results.margins.append((logits[:, 1] - logits[:, 0])[valid].cpu())
            results.positives.append(target[valid].cpu() == 1)
    return results


def _plot_roc(results: ClassificationResults, names: Sequence[str]) -> LineChart | None:
    """Plot the ROC curve and the precision-recall curve, with the second class as the positive class."""
    if not results.margins:
        return None
    margin, positive = torch.cat(results.margins), torch.cat(results.positives)
    if not len(margin) or positive.all() or not positive.any():
        return None
    fpr, tpr, precision = threshold_curves(margin, positive)
    area, average = roc_auc(margin, positive), average_precision(margin, positive)
    prevalence, ends = float(positive.double().mean()), torch.tensor([0.0, 1.0])
    positive_class = f"positive: {shorten_label(names[1])}"
    y_label = f"True positive rate ({positive_class})"
    roc = PlotPanel(f"ROC, area {area:.4f}", "False positive rate", y_label, [("", fpr, tpr)], diagonal=True)
    chance = ("chance", ends, torch.tensor([prevalence, prevalence]))
    recall = PlotPanel(
        f"Average precision {average:.4f}", "Recall", "Precision", [("", tpr[1:], precision[1:]), chance]
    )
    return LineChart("roc", [roc, recall], 2)


def _rank_mistakes(target: Tensor, logits: Tensor, predicted: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss (B,) of each misclassified row, 0 for other rows, and the rows with the largest losses."""
    loss = F.cross_entropy(logits, target, reduction="none", ignore_index=IGNORE_INDEX)
    loss = loss.masked_fill(predicted == target, 0)
    order = loss.argsort(descending=True)[:MAX_MISTAKES]
    return loss, order[loss[order] > 0]


def _get_confidence(logits: Tensor, predicted: Tensor) -> Tensor:
    """Return the probability (B,) of the predicted classes."""
    return logits.softmax(1).gather(1, predicted.unsqueeze(1)).squeeze(1)


def _tabulate_mistakes(
    batch: Batch, logits: Tensor, predicted: Tensor, names: Sequence[str]
) -> list[tuple[float, tuple[object, ...]]]:
    """Return the loss and table cells of the misclassified rows (or nodes) of a batch with the largest loss."""
    target = batch.require_target()
    loss, order = _rank_mistakes(target, logits, predicted)
    confidence = _get_confidence(logits, predicted)
    index = batch.index if batch.output_index is None else batch.output_index
    mistakes: list[tuple[float, tuple[object, ...]]] = []
    for row in order.tolist():
        row_loss, truth, prediction = float(loss[row]), names[int(target[row])], names[int(predicted[row])]
        cells = (int(index[row]), truth, prediction, f"{float(confidence[row]):.4f}", f"{row_loss:.4f}")
        mistakes.append((row_loss, cells))
    return mistakes


def _draw_mistakes(
    batch: Batch, image_input: ImageInput, logits: Tensor, predicted: Tensor, names: Sequence[str]
) -> list[tuple[float, ImageTile]]:
    """Return the loss and image of the misclassified rows of a batch with the largest loss."""
    target = batch.require_target()
    confidence = _get_confidence(logits, predicted)
    loss, order = _rank_mistakes(target, logits, predicted)
    mistakes = []
    for row in order.tolist():
        truth, predicted_name = names[int(target[row])], names[int(predicted[row])]
        caption = (
            f"True: {truth}\nPredicted: {predicted_name} ({float(confidence[row]):.0%})\n"
            f"{caption_row(image_input.row_names, int(batch.index[row]))}"
        )
        mistakes.append((float(loss[row]), image_input.make_tile(batch.inputs[image_input.name][row], caption)))
    return mistakes


def _select_rows(batch: Batch, rows: list[int]) -> Batch:
    """Return the given rows of a batch."""
    inputs = {key: value[rows] for key, value in batch.inputs.items()}
    return Batch(inputs, batch.require_target()[rows], batch.index[rows])


def _draw_saliency(
    predict: PredictClasses, batch: Batch, image_input: ImageInput, names: Sequence[str]
) -> list[ImageTile]:
    """Draw SmoothGrad saliency maps of the predicted class, for one image per true class.

    References:
        Simonyan et al., Deep Inside Convolutional Networks, ICLR Workshop 2014 (saliency maps).
        Smilkov et al., SmoothGrad: Removing Noise by Adding Noise, 2017.
    """
    targets = batch.require_target().tolist()
    first_rows = [targets.index(label) for label in sorted(set(targets) - {IGNORE_INDEX})]
    batch = _select_rows(batch, first_rows[:MAX_MISTAKES])
    x = batch.inputs[image_input.name]
    with torch.no_grad():
        predicted = predict(batch)[1].unsqueeze(1)
    heatmap = smoothgrad(lambda noisy: predict(noisy)[0], batch, image_input.name, predicted)
    captions = [f"Predicted: {names[label]}" for label in predicted[:, 0].tolist()]
    return [
        image_input.make_tile(image, caption, saliency)
        for image, caption, saliency in zip(x, captions, heatmap, strict=True)
    ]


def _draw_overlays(
    predict: PredictClasses, batch: Batch, image_input: ImageInput, names: Sequence[str]
) -> list[ImageTile]:
    """Draw image, true classes and predicted classes of the first rows, with the IoU of each class that occurs."""
    batch = _select_rows(batch, list(range(min(MAX_OVERLAYS, len(batch)))))
    with torch.no_grad():
        _, predicted = predict(batch)
    tiles = []
    for x, truth, prediction, row in zip(
        batch.inputs[image_input.name], batch.require_target(), predicted, batch.index, strict=True
    ):
        valid = truth != IGNORE_INDEX
        iou = iou_per_class(confusion_matrix(prediction[valid], truth[valid], len(names)))
        scores = [f"{name} {value:.2f}" for name, value in zip(names, iou.tolist(), strict=True) if value == value]
        score_lines = [", ".join(scores[i : i + 3]) for i in range(0, len(scores), 3)]
        tiles += [
            image_input.make_tile(x, caption_row(image_input.row_names, int(row))),
            image_input.make_tile(x, "True", classes=truth),
            image_input.make_tile(x, "Predicted, IoU " + "\n".join(score_lines), classes=prediction),
        ]
    return tiles
