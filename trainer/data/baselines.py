"""The best guess that never looks at the input: what every score is compared with."""

from __future__ import annotations

import torch
from torch import Tensor


def majority(train: Tensor, test: Tensor, classes: int, ignore: int = -100) -> dict[str, float]:
    """The most frequent class of the training targets for accuracy, their frequencies for nll."""
    train, test = train.reshape(-1), test.reshape(-1)
    train, test = train[train != ignore], test[test != ignore]
    counts = torch.bincount(train, minlength=classes).double()
    share = (counts + 1e-9) / (counts + 1e-9).sum()
    return {
        "accuracy": float((test == counts.argmax()).double().mean()),
        "nll": float(-share.log()[test].mean()),
    }


def mean(train: Tensor, test: Tensor, scale: float = 1.0) -> dict[str, float]:
    """The mean of the training targets, per output; ``scale`` turns errors into the data's own units."""
    guess = train.double().mean(0)
    return errors(guess.expand_as(test), test, scale)


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
