"""Errors of models that are applied to other rows, as errors with configuration keys or of the machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from trainer.engine import device
from trainer.engine.config_errors import explain_errors

REMEDY = "a smaller batch_size, or smaller inputs, need less"


@contextmanager
def explain_inference_errors(config: Mapping[str, Any]) -> Iterator[None]:
    """Convert errors that a trained model raises inside the block to errors for the user.

    Args:
        config: The configuration tree of its run.

    Raises:
        ConfigError: The model rejects the rows or an option.
        SystemFault: Memory is exhausted.
    """
    with device.explain_memory(REMEDY), explain_errors(config, "model"):
        yield
