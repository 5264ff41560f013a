"""Count and validation of target tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.core.batch import IGNORE_INDEX, Batch
from trainer.utils.errors import ConfigError
from trainer.utils.text import format_dtype


def count_tokens(batch: Batch) -> Tensor:
    """Return the number of target tokens of a batch that are not ignored, a scalar tensor."""
    return (batch.require_target() != IGNORE_INDEX).sum()


def validate_logits(logits: Tensor, target: Tensor, vocab_size: int, task: str) -> None:
    """Validate that the logits match the targets.

    Args:
        logits: Logits (B, T, V).
        target: Target tokens (B, T).
        vocab_size: Number of tokens V.
        task: Name of the task, for the message.

    Raises:
        ConfigError: The shapes do not match.
    """
    if logits.shape != (*target.shape, vocab_size):
        raise ConfigError(
            f"model: logits {tuple(logits.shape)} do not fit targets {tuple(target.shape)}:"
            f" {task} needs (B, T, {vocab_size}) against (B, T)"
        )


def validate_tokens(targets: Tensor | None, split: str, vocab_size: int, task: str) -> None:
    """Validate that the targets of a split are token ids.

    Args:
        targets: Target tokens (N, T), int64, each in 0..vocab_size - 1 or ``IGNORE_INDEX``.
        split: Name of the split, for the message.
        vocab_size: Number of tokens.
        task: Name of the task, for the message.

    Raises:
        ConfigError: The targets are of another kind, out of range or all ignored.
    """
    if targets is None or targets.dtype != torch.long or targets.ndim != 2:
        description = "none" if targets is None else f"{format_dtype(targets.dtype)} {tuple(targets.shape)}"
        raise ConfigError(f"task: {task} needs int64 target tokens (rows, steps); the {split} split has {description}")
    is_invalid = (targets != IGNORE_INDEX) & ((targets < 0) | (targets >= vocab_size))
    if is_invalid.any():
        row, step = is_invalid.nonzero()[0].tolist()
        raise ConfigError(
            f"data: {split} target tokens must be 0..{vocab_size - 1};"
            f" found {int(targets[row, step])} at row {row}, step {step}"
        )
    if (targets == IGNORE_INDEX).all():
        raise ConfigError(f"data: every {split} target token is {IGNORE_INDEX} (ignored): nothing to train on")
