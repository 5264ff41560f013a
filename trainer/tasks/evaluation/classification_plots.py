"""What there is to see of a classifier: what it takes for what, its worst mistakes, where it looked, maps it drew."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.core import rng
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
from trainer.metrics.classification import average_precision, confusion_matrix, iou_per_class, roc_auc, threshold_curves
from trainer.utils.text import shorten_label

MAX_CLASSES = 60
"""How many classes a matrix is drawn for: hundreds cannot be read."""
MAX_MISTAKES, GRID_COLUMNS, MAX_OVERLAYS = 24, 8, 6
SMOOTHGRAD_SAMPLES, SMOOTHGRAD_NOISE = 16, 0.15
"""Noisy copies a gradient is averaged over, and their noise as a share of a picture's range (Smilkov et al. 2017)."""
MISTAKE_COLUMNS = ("row", "true", "predicted", "probability", "nll")

PredictLogits = Callable[[Batch], Tensor]


@dataclass(frozen=True)
class ImageInput:
    """An input (B, C, H, W) whose rows are drawn: its name, its black and white, and what its rows are called."""

    name: str
    bounds: Bounds | None = None
    row_names: RowNames = NUMBERED_ROWS

    def make_tile(
        self, x: Tensor, caption: str, heat: Tensor | None = None, classes: Tensor | None = None
    ) -> ImageTile:
        """A row (C, H, W) with what lies over it."""
        return ImageTile(x, caption, heat, classes, self.bounds)


@dataclass
class ClassificationResults:
    """What one pass over a split has found. mistakes: (loss, what is shown of it), the dearest first."""

    confusion: Tensor
    first_batch: Batch | None = None
    mistake_tiles: list[tuple[float, ImageTile]] = field(default_factory=list)
    mistake_rows: list[tuple[float, tuple[object, ...]]] = field(default_factory=list)
    margins: list[Tensor] = field(default_factory=list)
    positives: list[Tensor] = field(default_factory=list)


def make_plots(
    logits: PredictLogits, batches: Iterable[Batch], names: Sequence[str], pictures: ImageInput | None = None
) -> Iterator[Artifact | LazyArtifact]:
    """A confusion matrix, mistakes, ROC curves of two classes; saliency of ``pictures``, or overlays where targets are
    maps. All from one pass, made when the first of them is drawn.
    """

    @cache
    def found() -> ClassificationResults:
        return _evaluate(logits, batches, names, pictures)

    def matrix() -> Artifact:
        return ConfusionMatrix("confusion", found().confusion, names)

    def mistakes() -> Artifact | None:
        if found().mistake_tiles:
            return ImageGrid("mistakes", [tile for _, tile in found().mistake_tiles], GRID_COLUMNS)
        return (
            Table("mistakes", MISTAKE_COLUMNS, [cells for _, cells in found().mistake_rows])
            if found().mistake_rows
            else None
        )

    def looks() -> Artifact | None:
        first = found().first_batch
        if pictures is None or first is None or first.target is None:
            return None
        if first.target.dim() == 3:
            return ImageGrid("overlays", _draw_overlays(logits, first, pictures, names), 3, class_names=names)
        is_row = first.target.dim() == 1 and bool((first.target != IGNORE_INDEX).any())
        return ImageGrid("saliency", _draw_saliency(logits, first, pictures, names), GRID_COLUMNS) if is_row else None

    if len(names) <= MAX_CLASSES:
        yield LazyArtifact("confusion", matrix)
    if len(names) == 2:
        yield LazyArtifact("roc", lambda: _plot_roc(found(), names))
    yield LazyArtifact("mistakes", mistakes)
    if pictures is not None:
        yield LazyArtifact("saliency or overlays", looks)


@torch.no_grad()
def _evaluate(
    logits: PredictLogits, batches: Iterable[Batch], names: Sequence[str], pictures: ImageInput | None
) -> ClassificationResults:
    seen = ClassificationResults(torch.zeros(len(names), len(names), dtype=torch.long))
    for batch in batches:
        seen.first_batch = seen.first_batch or batch
        odds, target = logits(batch).float(), batch.require_target()
        predicted, known = odds.argmax(1), target != IGNORE_INDEX
        seen.confusion += confusion_matrix(predicted[known], target[known], len(names)).cpu()
        if target.dim() != 1:
            continue
        if pictures is None:
            seen.mistake_rows = sorted(
                [*seen.mistake_rows, *_tabulate_mistakes(batch, odds, names)], key=lambda one: -one[0]
            )[:MAX_MISTAKES]
        else:
            found = _draw_mistakes(batch, pictures, odds, names)
            seen.mistake_tiles = sorted([*seen.mistake_tiles, *found], key=lambda one: -one[0])[:MAX_MISTAKES]
        if len(names) == 2:
            seen.margins.append((odds[:, 1] - odds[:, 0])[known].cpu())
            seen.positives.append(target[known].cpu() == 1)
    return seen


def _plot_roc(seen: ClassificationResults, names: Sequence[str]) -> LineChart | None:
    """The ROC curve and precision over recall, the second class being the one that is looked for."""
    margin, positive = (torch.cat(parts or [torch.zeros(0)]) for parts in (seen.margins, seen.positives))
    if not len(margin) or positive.all() or not positive.any():
        return None
    false, found, precision = threshold_curves(margin, positive)
    area, average = roc_auc(margin, positive), average_precision(margin, positive)
    share, ends = float(positive.double().mean()), torch.tensor([0.0, 1.0])
    of = f"positive: {shorten_label(names[1])}"
    roc = PlotPanel(f"ROC, area {area:.4f}", "False positive rate", f"True positive rate ({of})", [("", false, found)],
                diagonal=True)  # fmt: skip
    chance = ("chance", ends, torch.tensor([share, share]))
    recall = PlotPanel(
        f"average precision {average:.4f}", "Recall", "Precision", [("", found[1:], precision[1:]), chance]
    )
    return LineChart("roc", [roc, recall], 2)


def _rank_mistakes(target: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of each row that is taken for another class, 0 for the others, and the order of the largest."""
    loss = F.cross_entropy(logits, target, reduction="none", ignore_index=IGNORE_INDEX)
    loss = loss.masked_fill(logits.argmax(1) == target, 0)
    order = loss.argsort(descending=True)[:MAX_MISTAKES]
    return loss, order[loss[order] > 0]


def _tabulate_mistakes(batch: Batch, logits: Tensor, names: Sequence[str]) -> list[tuple[float, tuple[object, ...]]]:
    """The mistakes of a batch that cost most, as rows of a table; of a graph, its nodes."""
    target = batch.require_target()
    loss, order = _rank_mistakes(target, logits)
    sure, predicted = logits.softmax(1).max(1)
    index = batch.index if batch.output_index is None else batch.output_index
    return [
        (
            float(loss[row]),
            (int(index[row]), names[int(target[row])], names[int(predicted[row])],
             f"{float(sure[row]):.4f}", f"{float(loss[row]):.4f}"),
        )
        for row in order.tolist()
    ]  # fmt: skip


def _draw_mistakes(
    batch: Batch, pictures: ImageInput, logits: Tensor, names: Sequence[str]
) -> list[tuple[float, ImageTile]]:
    """The mistakes of a batch that cost most, each with its loss."""
    target = batch.require_target()
    sure, predicted = logits.softmax(1).max(1)
    loss, order = _rank_mistakes(target, logits)
    found = []
    for row in order.tolist():
        truth, taken = names[int(target[row])], names[int(predicted[row])]
        caption = (
            f"{truth} as {taken}, {float(sure[row]):.0%}\n{caption_row(pictures.row_names, int(batch.index[row]))}"
        )
        found.append((float(loss[row]), pictures.make_tile(batch.inputs[pictures.name][row], caption)))
    return found


def _select_rows(batch: Batch, rows: list[int]) -> Batch:
    """A part of a batch."""
    inputs = {key: value[rows] for key, value in batch.inputs.items()}
    return Batch(inputs, batch.require_target()[rows], batch.index[rows])


def _draw_saliency(logits: PredictLogits, batch: Batch, pictures: ImageInput, names: Sequence[str]) -> list[ImageTile]:
    """A picture of each class with the size of the gradient of the class it was taken for (Simonyan et al. 2013)."""
    classes = batch.require_target().tolist()
    batch = _select_rows(
        batch, [classes.index(label) for label in sorted(set(classes) - {IGNORE_INDEX})][:MAX_MISTAKES]
    )
    x = batch.inputs[pictures.name]
    with torch.no_grad():
        predicted = logits(batch).argmax(1, keepdim=True)
    spread = SMOOTHGRAD_NOISE * (x.amax((1, 2, 3), keepdim=True) - x.amin((1, 2, 3), keepdim=True))
    random, heat = rng.make_generator(0), torch.zeros_like(x[:, 0])
    for _ in range(SMOOTHGRAD_SAMPLES):
        noisy = (x + spread * torch.randn(x.shape, generator=random).to(x.device)).requires_grad_()
        # cuDNN's recurrent layers have no gradient while a model is evaluated; torch's own have.
        with torch.backends.cudnn.flags(enabled=False):
            chosen = logits(replace(batch, inputs=batch.inputs | {pictures.name: noisy})).gather(1, predicted).sum()
            heat += torch.autograd.grad(chosen, noisy, materialize_grads=True)[0].square().amax(1)
    heat = heat.sqrt()
    heat /= heat.flatten(1).quantile(0.99, 1).clamp(min=1e-12)[:, None, None]
    taken = [names[label] for label in predicted[:, 0].tolist()]
    return [pictures.make_tile(*those) for those in zip(x, (f"predicted {name}" for name in taken), heat, strict=True)]


def _draw_overlays(logits: PredictLogits, batch: Batch, pictures: ImageInput, names: Sequence[str]) -> list[ImageTile]:
    """Picture, truth and prediction of the first rows, with the overlap of each class that is in one of them."""
    batch = _select_rows(batch, list(range(min(MAX_OVERLAYS, len(batch)))))
    with torch.no_grad():
        predicted = logits(batch).argmax(1)
    tiles = []
    for x, truth, guess, row in zip(
        batch.inputs[pictures.name], batch.require_target(), predicted, batch.index, strict=True
    ):
        known = truth != IGNORE_INDEX
        each = iou_per_class(confusion_matrix(guess[known], truth[known], len(names)))
        scores = [f"{name} {value:.2f}" for name, value in zip(names, each.tolist(), strict=True) if value == value]
        tiles += [
            pictures.make_tile(x, caption_row(pictures.row_names, int(row))),
            pictures.make_tile(x, "truth", classes=truth),
            pictures.make_tile(
                x, "IoU " + "\n".join(", ".join(scores[i : i + 3]) for i in range(0, len(scores), 3)), classes=guess
            ),
        ]
    return tiles
