"""The best guess that never looks at the input: what every score is compared with."""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.data.base import Split


def _targets(split: Split) -> Tensor:
    targets = split.targets()
    assert targets is not None, "a baseline needs targets in memory"
    return targets


def majority(train: Split, test: Split, classes: int, ignore: int = -100) -> dict[str, float]:
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
