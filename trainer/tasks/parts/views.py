"""What there is to see of a classifier: what it takes for what, its worst mistakes, where it looked, maps it drew."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer import metrics, seeding
from trainer.batch import IGNORE, Batch
from trainer.gallery import NUMBERED, Item, Matrix, RowNames, Sheet, Tile, caption_row

LABELLED = range(3, 61)
"""How many classes a matrix is drawn for: two are told in a line, and hundreds cannot be read."""
SHOWN, COLUMNS, MAPS = 24, 8, 6
COPIES, NOISE = 16, 0.15
"""Noisy copies a gradient is averaged over, and their noise as a share of a picture's range (Smilkov et al. 2017)."""

Logits = Callable[[Batch], Tensor]


def of_classes(
    logits: Logits,
    batches: Iterable[Batch],
    names: Sequence[str],
    pictures: Sequence[str],
    rows: RowNames = NUMBERED,
) -> Iterator[Item]:
    """A confusion matrix; of the first of ``pictures``, mistakes and saliency, or overlays where targets are maps.

    rows: what those of the batches are called.
    """
    counts = torch.zeros(len(names), len(names), dtype=torch.long)
    mistakes: list[tuple[float, Tile]] = []
    first, picture = None, next(iter(pictures), None)
    for batch in batches:
        first = first or batch
        with torch.no_grad():
            found = logits(batch).float()
        assert batch.target is not None
        predicted, known = found.argmax(1), batch.target != IGNORE
        counts += metrics.confusion(predicted[known], batch.target[known], len(names)).cpu()
        if picture is not None and batch.target.dim() == 1:
            mistakes = sorted([*mistakes, *_mistakes(batch, picture, found, names, rows)], key=lambda one: -one[0])[
                :SHOWN
            ]
    if len(names) in LABELLED:
        yield Matrix("confusion", counts, names)
    if mistakes:
        yield Sheet("mistakes", [tile for _, tile in mistakes], COLUMNS)
    if first is not None and first.target is not None and picture is not None:
        if first.target.dim() == 1 and (first.target != IGNORE).any():
            yield Sheet("saliency", _saliency(logits, first, picture, names), COLUMNS)
        elif first.target.dim() == 3:
            yield Sheet("overlays", _overlays(logits, first, picture, names, rows), 3)


def _mistakes(
    batch: Batch, picture: str, logits: Tensor, names: Sequence[str], rows: RowNames
) -> list[tuple[float, Tile]]:
    """The mistakes of a batch that cost most, each with its loss."""
    assert batch.target is not None
    sure, predicted = logits.softmax(1).max(1)
    loss = F.cross_entropy(logits, batch.target, reduction="none", ignore_index=IGNORE)
    loss = loss.masked_fill(predicted == batch.target, 0)
    found = []
    for row in loss.argsort(descending=True)[:SHOWN].tolist():
        if loss[row] > 0:
            truth, taken = names[int(batch.target[row])], names[int(predicted[row])]
            caption = f"{truth} as {taken}, {float(sure[row]):.0%}\n{caption_row(rows, int(batch.index[row]))}"
            found.append((float(loss[row]), Tile(batch.inputs[picture][row], caption)))
    return found


def _rows(batch: Batch, rows: list[int]) -> Batch:
    """A part of a batch."""
    assert batch.target is not None
    inputs = {key: value[rows] for key, value in batch.inputs.items()}
    return Batch(inputs, batch.target[rows], batch.index[rows])


def _saliency(logits: Logits, batch: Batch, picture: str, names: Sequence[str]) -> list[Tile]:
    """A picture of each class with the size of the gradient of the class it was taken for (Simonyan et al. 2013)."""
    assert batch.target is not None
    classes = batch.target.tolist()
    batch = _rows(batch, [classes.index(label) for label in sorted(set(classes) - {IGNORE})][:SHOWN])
    x = batch.inputs[picture]
    with torch.no_grad():
        predicted = logits(batch).argmax(1, keepdim=True)
    spread = NOISE * (x.amax((1, 2, 3), keepdim=True) - x.amin((1, 2, 3), keepdim=True))
    random, heat = seeding.generator(0), torch.zeros_like(x[:, 0])
    for _ in range(COPIES):
        noisy = (x + spread * torch.randn(x.shape, generator=random).to(x.device)).requires_grad_()
        # cuDNN's recurrent layers have no gradient while a model is evaluated; torch's own have.
        with torch.backends.cudnn.flags(enabled=False):
            chosen = logits(replace(batch, inputs=batch.inputs | {picture: noisy})).gather(1, predicted).sum()
            heat += torch.autograd.grad(chosen, noisy, materialize_grads=True)[0].square().amax(1)
    heat = heat.sqrt()
    heat /= heat.flatten(1).quantile(0.99, 1).clamp(min=1e-12)[:, None, None]
    taken = [names[label] for label in predicted[:, 0].tolist()]
    return [Tile(*those) for those in zip(x, (f"taken for {name}" for name in taken), heat, strict=True)]


def _overlays(logits: Logits, batch: Batch, picture: str, names: Sequence[str], rows: RowNames) -> list[Tile]:
    """Picture, truth and prediction of the first rows, with the overlap of each class that is in one of them."""
    batch = _rows(batch, list(range(min(MAPS, len(batch)))))
    with torch.no_grad():
        predicted = logits(batch).argmax(1)
    tiles = []
    assert batch.target is not None
    for x, truth, guess, row in zip(batch.inputs[picture], batch.target, predicted, batch.index, strict=True):
        known = truth != IGNORE
        each = metrics.iou(metrics.confusion(guess[known], truth[known], len(names)))
        scores = [f"{name} {value:.2f}" for name, value in zip(names, each.tolist(), strict=True) if value == value]
        tiles += [
            Tile(x, caption_row(rows, int(row))),
            Tile(x, "truth", classes=truth),
            Tile(x, "IoU " + "\n".join(", ".join(scores[i : i + 3]) for i in range(0, len(scores), 3)), classes=guess),
        ]
    return tiles
