"""The best guess that never looks at the input: what every score is compared with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trainer import metrics
from trainer.batch import IGNORE
from trainer.data.base import Split


def _targets(split: Split) -> Tensor:
    targets = split.targets()
    assert targets is not None, "a baseline needs targets in memory"
    return targets


def majority(train: Split, test: Split, classes: int, ignore: int = IGNORE) -> dict[str, float]:
    """The most frequent class of the training targets for accuracy, their frequencies for nll."""
    seen, truth = _targets(train).reshape(-1), _targets(test).reshape(-1)
    seen, truth = seen[seen != ignore], truth[truth != ignore]
    counts = torch.bincount(seen, minlength=classes).double()
    share = (counts + 1e-9) / (counts + 1e-9).sum()
    return {
        "accuracy": float((truth == counts.argmax()).double().mean()),
        "nll": float(-share.log()[truth].mean()),
    }


def mean(train: Split, test: Split, scale: float = 1.0) -> dict[str, float]:
    """The mean of the training targets, per output; ``scale`` turns errors into the data's own units."""
    truth = _targets(test)
    return errors(_targets(train).double().mean(0).expand_as(truth), truth, scale)


def errors(prediction: Tensor, target: Tensor, scale: float = 1.0) -> dict[str, float]:
    """The scores of a prediction that some rule made."""
    error = prediction.double() - target.double()
    mse = float(error.square().mean()) * scale**2
    spread = float((target.double() - target.double().mean()).square().mean()) * scale**2
    return {
        "mse": mse,
        "rmse": mse**0.5,
        "mae": float(error.abs().mean()) * scale,
        "r2": 1 - mse / spread if spread else float("nan"),
    }


def majority_everywhere(train: Split, test: Split, names: Sequence[str], ignore: int = -100) -> dict[str, float]:
    """The most frequent class of the training pixels at every pixel, in the scores of a segmentation.

    names: of the classes, in order.
    """
    guess = majority(train, test, len(names), ignore)
    seen, truth = _targets(train).reshape(-1), _targets(test).reshape(-1)
    seen, truth = seen[seen != ignore], truth[truth != ignore]
    commonest = torch.bincount(seen, minlength=len(names)).argmax()
    each = metrics.iou(metrics.confusion(commonest.expand_as(truth), truth, len(names)))
    scores = {"mean_iou": float(each.nanmean()), "pixel_accuracy": guess["accuracy"], "nll": guess["nll"]}
    return scores | {f"iou_{name}": float(value) for name, value in zip(names, each, strict=True)}
