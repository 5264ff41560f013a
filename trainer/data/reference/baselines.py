"""Trivial baselines that ignore the input."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trainer.core.batch import IGNORE_INDEX
from trainer.core.split import Split
from trainer.core.tokenizer import UNKNOWN_TOKEN, Tokenizer
from trainer.metrics.bleu import corpus_bleu, count_bleu_ngrams
from trainer.metrics.classification import iou_per_class
from trainer.metrics.registry import IOU_PER_CLASS


def _require_targets(split: Split) -> Tensor:
    targets = split.get_targets()
    assert targets is not None, "a baseline needs targets in memory"
    return targets


def majority_class(train: Split, test: Split, classes: int, ignore: int = IGNORE_INDEX) -> dict[str, float]:
    """Compute the scores of the majority class (accuracy) and the class frequencies (NLL) of the training targets.

    The accuracy is the expectation over a random choice among equally frequent classes.

    Args:
        train: Training split.
        test: Test split.
        classes: Number of classes.
        ignore: Target that is not counted.
    """
    return _majority_scores(*_count_classes(train, test, classes, ignore))


def _count_classes(train: Split, test: Split, classes: int, ignore: int) -> list[Tensor]:
    """Count the targets of each class, (C,), in both splits."""
    flat = [_require_targets(split).reshape(-1) for split in (train, test)]
    return [target[target != ignore].bincount(minlength=classes) for target in flat]


def _majority_scores(train_counts: Tensor, test_counts: Tensor) -> dict[str, float]:
    train_counts, test_counts = train_counts.double(), test_counts.double()
    frequency = (train_counts + 1e-9) / (train_counts + 1e-9).sum()
    return {
        "accuracy": float(test_counts[train_counts == train_counts.max()].mean() / test_counts.sum()),
        "nll": float(-(test_counts * frequency.log()).sum() / test_counts.sum()),
    }


def mean_prediction(train: Split, test: Split, scale: float = 1.0) -> dict[str, float]:
    """Compute the scores of the mean training target per output.

    Args:
        train: Training split.
        test: Test split.
        scale: Factor from targets to the original units.
    """
    target = _require_targets(test)
    return regression_scores(_require_targets(train).double().mean(0).expand_as(target), target, scale)


def regression_scores(prediction: Tensor, target: Tensor, scale: float = 1.0) -> dict[str, float]:
    """Compute regression scores of a prediction.

    Args:
        prediction: Predictions, of the shape of the targets or broadcast to it.
        target: Targets, (N, ...).
        scale: Factor from targets to the original units.
    """
    error = prediction.double() - target.double()
    mse = float(error.square().mean()) * scale**2
    variance = float((target.double() - target.double().mean()).square().mean()) * scale**2
    return {
        "mse": mse,
        "rmse": mse**0.5,
        "mae": float(error.abs().mean()) * scale,
        "r2": 1 - mse / variance if variance else float("nan"),
    }


def majority_pixel_class(train: Split, test: Split, names: Sequence[str], ignore: int = -100) -> dict[str, float]:
    """Compute the segmentation scores of the most frequent class of the training pixels.

    Args:
        train: Training split.
        test: Test split.
        names: Class names, in order.
        ignore: Target that is not counted.
    """
    train_counts, test_counts = _count_classes(train, test, len(names), ignore)
    return majority_pixel_scores(train_counts, test_counts, names)


def majority_pixel_scores(train_counts: Tensor, test_counts: Tensor, names: Sequence[str]) -> dict[str, float]:
    """Compute the scores of ``majority_pixel_class`` from training and test pixel counts per class, (C,).

    Args:
        train_counts: Training pixels of each class, (C,).
        test_counts: Test pixels of each class, (C,).
        names: Class names, in order.
    """
    class_scores = _majority_scores(train_counts, test_counts)
    ious = []
    for majority in (train_counts == train_counts.max()).nonzero()[:, 0].tolist():
        confusion = torch.zeros(len(names), len(names), dtype=torch.double)
        confusion[:, majority] = test_counts.double()
        ious.append(iou_per_class(confusion))
    mean_ious = torch.stack(ious).nanmean(0)
    scores = {
        "mean_iou": float(torch.stack(ious).nanmean(1).mean()),
        "pixel_accuracy": class_scores["accuracy"],
        "nll": class_scores["nll"],
    }
    return scores | dict(zip(IOU_PER_CLASS.name_members(names), mean_ious.tolist(), strict=True))


def most_frequent_tokens(
    train: Split, test: Split, tokenizer: Tokenizer | None = None, end: int | None = None
) -> dict[str, float]:
    """Compute the scores of the most frequent training token at each position, up to the first end token.

    Args:
        train: Training split.
        test: Test split.
        tokenizer: Tokenizer of the targets, for BLEU; None omits it.
        end: Token that ends a target.
    """
    train_targets, test_targets = _require_targets(train), _require_targets(test)
    token_by_step = [column[column != IGNORE_INDEX].mode().values for column in train_targets.t()]
    prediction = torch.stack(
        [token_by_step[min(step, len(token_by_step) - 1)] for step in range(test_targets.shape[1])]
    )
    if end is not None:
        prediction = prediction.masked_fill((prediction == end).cumsum(0) > 0, end)
    is_counted = test_targets != IGNORE_INDEX
    correct = (test_targets == prediction) & is_counted
    scores = {
        "token_accuracy": float(correct.sum()) / float(is_counted.sum()),
        "exact_match": float((correct | ~is_counted).all(1).double().mean()),
        "forcing_gap": 0.0,
    }
    if tokenizer is not None:
        predicted_words = tokenizer.decode_words([token for token in prediction.tolist() if token != end])
        rows = ([token for token in row if token not in (IGNORE_INDEX, end)] for row in test_targets.tolist())
        counts = [count_bleu_ngrams(predicted_words, tokenizer.decode_words(row), UNKNOWN_TOKEN) for row in rows]
        scores["bleu"] = corpus_bleu(torch.tensor(counts).sum(0).tolist())
    return scores
