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
    NUMBERED,
    Bounds,
    Chart,
    Item,
    Later,
    Matrix,
    Panel,
    RowNames,
    Sheet,
    Table,
    Tile,
    caption_row,
)
from trainer.core.batch import IGNORE, Batch
from trainer.metrics import metrics
from trainer.utils.text import shorten_label

MOST_CLASSES = 60
"""How many classes a matrix is drawn for: hundreds cannot be read."""
SHOWN, COLUMNS, MAPS = 24, 8, 6
COPIES, NOISE = 16, 0.15
"""Noisy copies a gradient is averaged over, and their noise as a share of a picture's range (Smilkov et al. 2017)."""
MISTAKES = ("row", "true", "predicted", "probability", "nll")

Logits = Callable[[Batch], Tensor]


@dataclass(frozen=True)
class Pictures:
    """An input (B, C, H, W) whose rows are drawn: its name, its black and white, and what its rows are called."""

    name: str
    bounds: Bounds | None = None
    rows: RowNames = NUMBERED

    def tile(self, x: Tensor, caption: str, heat: Tensor | None = None, classes: Tensor | None = None) -> Tile:
        """A row (C, H, W) with what lies over it."""
        return Tile(x, caption, heat, classes, self.bounds)


@dataclass
class Evaluated:
    """What one pass over a split has found. mistakes: (loss, what is shown of it), the dearest first."""

    counts: Tensor
    first: Batch | None = None
    tiles: list[tuple[float, Tile]] = field(default_factory=list)
    rows: list[tuple[float, tuple[object, ...]]] = field(default_factory=list)
    margins: list[Tensor] = field(default_factory=list)
    positives: list[Tensor] = field(default_factory=list)


def of_classes(
    logits: Logits, batches: Iterable[Batch], names: Sequence[str], pictures: Pictures | None = None
) -> Iterator[Item | Later]:
    """A confusion matrix, mistakes, ROC curves of two classes; saliency of ``pictures``, or overlays where targets are
    maps. All from one pass, made when the first of them is drawn.
    """

    @cache
    def found() -> Evaluated:
        return _evaluate(logits, batches, names, pictures)

    def matrix() -> Item:
        return Matrix("confusion", found().counts, names)

    def mistakes() -> Item | None:
        if found().tiles:
            return Sheet("mistakes", [tile for _, tile in found().tiles], COLUMNS)
        return Table("mistakes", MISTAKES, [cells for _, cells in found().rows]) if found().rows else None

    def looks() -> Item | None:
        first = found().first
        if pictures is None or first is None or first.target is None:
            return None
        if first.target.dim() == 3:
            return Sheet("overlays", _overlays(logits, first, pictures, names), 3, classes=names)
        is_row = first.target.dim() == 1 and bool((first.target != IGNORE).any())
        return Sheet("saliency", _saliency(logits, first, pictures, names), COLUMNS) if is_row else None

    if len(names) <= MOST_CLASSES:
        yield Later("confusion", matrix)
    if len(names) == 2:
        yield Later("roc", lambda: _roc(found(), names))
    yield Later("mistakes", mistakes)
    if pictures is not None:
        yield Later("saliency or overlays", looks)


@torch.no_grad()
def _evaluate(logits: Logits, batches: Iterable[Batch], names: Sequence[str], pictures: Pictures | None) -> Evaluated:
    seen = Evaluated(torch.zeros(len(names), len(names), dtype=torch.long))
    for batch in batches:
        seen.first = seen.first or batch
        odds, target = logits(batch).float(), batch.target
        assert target is not None
        predicted, known = odds.argmax(1), target != IGNORE
        seen.counts += metrics.confusion(predicted[known], target[known], len(names)).cpu()
        if target.dim() != 1:
            continue
        if pictures is None:
            seen.rows = sorted([*seen.rows, *_wrong_rows(batch, odds, names)], key=lambda one: -one[0])[:SHOWN]
        else:
            found = _mistakes(batch, pictures, odds, names)
            seen.tiles = sorted([*seen.tiles, *found], key=lambda one: -one[0])[:SHOWN]
        if len(names) == 2:
            seen.margins.append((odds[:, 1] - odds[:, 0])[known].cpu())
            seen.positives.append(target[known].cpu() == 1)
    return seen


def _roc(seen: Evaluated, names: Sequence[str]) -> Chart | None:
    """The ROC curve and precision over recall, the second class being the one that is looked for."""
    margin, positive = (torch.cat(parts or [torch.zeros(0)]) for parts in (seen.margins, seen.positives))
    if not len(margin) or positive.all() or not positive.any():
        return None
    false, found, precision = metrics.operating_points(margin, positive)
    area, average = metrics.auc(margin, positive), metrics.average_precision(margin, positive)
    share, ends = float(positive.double().mean()), torch.tensor([0.0, 1.0])
    of = f"positive: {shorten_label(names[1])}"
    roc = Panel(f"ROC, area {area:.4f}", "False positive rate", f"True positive rate ({of})", [("", false, found)],
                diagonal=True)  # fmt: skip
    chance = ("chance", ends, torch.tensor([share, share]))
    recall = Panel(f"average precision {average:.4f}", "Recall", "Precision", [("", found[1:], precision[1:]), chance])
    return Chart("roc", [roc, recall], 2)


def _dearest(target: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of each row that is taken for another class, 0 for the others, and the order of the largest."""
    loss = F.cross_entropy(logits, target, reduction="none", ignore_index=IGNORE)
    loss = loss.masked_fill(logits.argmax(1) == target, 0)
    order = loss.argsort(descending=True)[:SHOWN]
    return loss, order[loss[order] > 0]


def _wrong_rows(batch: Batch, logits: Tensor, names: Sequence[str]) -> list[tuple[float, tuple[object, ...]]]:
    """The mistakes of a batch that cost most, as rows of a table; of a graph, its nodes."""
    assert batch.target is not None
    loss, order = _dearest(batch.target, logits)
    sure, predicted = logits.softmax(1).max(1)
    index = batch.index if batch.asked is None else batch.asked
    return [
        (
            float(loss[row]),
            (int(index[row]), names[int(batch.target[row])], names[int(predicted[row])],
             f"{float(sure[row]):.4f}", f"{float(loss[row]):.4f}"),
        )
        for row in order.tolist()
    ]  # fmt: skip


def _mistakes(batch: Batch, pictures: Pictures, logits: Tensor, names: Sequence[str]) -> list[tuple[float, Tile]]:
    """The mistakes of a batch that cost most, each with its loss."""
    assert batch.target is not None
    sure, predicted = logits.softmax(1).max(1)
    loss, order = _dearest(batch.target, logits)
    found = []
    for row in order.tolist():
        truth, taken = names[int(batch.target[row])], names[int(predicted[row])]
        caption = f"{truth} as {taken}, {float(sure[row]):.0%}\n{caption_row(pictures.rows, int(batch.index[row]))}"
        found.append((float(loss[row]), pictures.tile(batch.inputs[pictures.name][row], caption)))
    return found


def _rows(batch: Batch, rows: list[int]) -> Batch:
    """A part of a batch."""
    assert batch.target is not None
    inputs = {key: value[rows] for key, value in batch.inputs.items()}
    return Batch(inputs, batch.target[rows], batch.index[rows])


def _saliency(logits: Logits, batch: Batch, pictures: Pictures, names: Sequence[str]) -> list[Tile]:
    """A picture of each class with the size of the gradient of the class it was taken for (Simonyan et al. 2013)."""
    assert batch.target is not None
    classes = batch.target.tolist()
    batch = _rows(batch, [classes.index(label) for label in sorted(set(classes) - {IGNORE})][:SHOWN])
    x = batch.inputs[pictures.name]
    with torch.no_grad():
        predicted = logits(batch).argmax(1, keepdim=True)
    spread = NOISE * (x.amax((1, 2, 3), keepdim=True) - x.amin((1, 2, 3), keepdim=True))
    random, heat = rng.generator(0), torch.zeros_like(x[:, 0])
    for _ in range(COPIES):
        noisy = (x + spread * torch.randn(x.shape, generator=random).to(x.device)).requires_grad_()
        # cuDNN's recurrent layers have no gradient while a model is evaluated; torch's own have.
        with torch.backends.cudnn.flags(enabled=False):
            chosen = logits(replace(batch, inputs=batch.inputs | {pictures.name: noisy})).gather(1, predicted).sum()
            heat += torch.autograd.grad(chosen, noisy, materialize_grads=True)[0].square().amax(1)
    heat = heat.sqrt()
    heat /= heat.flatten(1).quantile(0.99, 1).clamp(min=1e-12)[:, None, None]
    taken = [names[label] for label in predicted[:, 0].tolist()]
    return [pictures.tile(*those) for those in zip(x, (f"predicted {name}" for name in taken), heat, strict=True)]


def _overlays(logits: Logits, batch: Batch, pictures: Pictures, names: Sequence[str]) -> list[Tile]:
    """Picture, truth and prediction of the first rows, with the overlap of each class that is in one of them."""
    batch = _rows(batch, list(range(min(MAPS, len(batch)))))
    with torch.no_grad():
        predicted = logits(batch).argmax(1)
    tiles = []
    assert batch.target is not None
    for x, truth, guess, row in zip(batch.inputs[pictures.name], batch.target, predicted, batch.index, strict=True):
        known = truth != IGNORE
        each = metrics.iou(metrics.confusion(guess[known], truth[known], len(names)))
        scores = [f"{name} {value:.2f}" for name, value in zip(names, each.tolist(), strict=True) if value == value]
        tiles += [
            pictures.tile(x, caption_row(pictures.rows, int(row))),
            pictures.tile(x, "truth", classes=truth),
            pictures.tile(
                x, "IoU " + "\n".join(", ".join(scores[i : i + 3]) for i in range(0, len(scores), 3)), classes=guess
            ),
        ]
    return tiles
