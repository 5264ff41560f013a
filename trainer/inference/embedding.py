"""Embeddings: the input of the last layer of a model, captured by forward hooks."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import torch
from torch import Tensor, nn

from trainer.core.task import Task
from trainer.engine.dataloader import Loader
from trainer.utils.errors import ConfigError

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)
"""Layers that may be the last one, the head of a model."""


@torch.no_grad()
def embed_rows(task: Task, loader: Loader) -> Tensor:
    """Return the features (N, D) of the rows of a split, in their order, on the CPU.

    Args:
        task: Task in evaluation mode.
        loader: Loader of the split.

    Raises:
        ConfigError: The last layer of the model reads no features of rows, or rows differ in length.
    """
    features, index = [], []
    with HeadInput(task.model) as head:
        for batch in loader.iter_epoch(0):
            task.forward_batch(batch)
            features.append(head.get_features(len(batch)).float().cpu())
            index.append(batch.index.cpu())
    widths = {part.shape[1] for part in features}
    if len(widths) > 1:
        raise ConfigError(
            f"embed: rows differ in length, and the last layer reads {min(widths)} to {max(widths)} numbers"
        )
    return torch.cat(features)[torch.cat(index).argsort()]


class HeadInput:
    """Captures the input of the layer that a model calls last, inside a ``with`` block.

    Args:
        model: The model.
    """

    def __init__(self, model: nn.Module):
        self._layers = [module for module in model.modules() if isinstance(module, LAYERS)]
        self._last_input: Tensor | None = None
        self._hooks: list[object] = []

    def __enter__(self) -> Self:
        self._handles = [layer.register_forward_hook(self._capture) for layer in self._layers]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()

    def _capture(self, _: nn.Module, inputs: tuple[Tensor, ...], __: Tensor) -> None:
        self._last_input = inputs[0]

    def get_features(self, rows: int) -> Tensor:
        """Return the features (B, D) of the last forward pass, with all other dimensions in D.

        Args:
            rows: Number of rows B of the batch.

        Raises:
            ConfigError: No layer was called, or its input has no dimension of the rows.
        """
        if self._last_input is None:
            raise ConfigError("embed: the model of this run has no linear or convolutional layer")
        if len(self._last_input) % rows:
            raise ConfigError(
                f"embed: the last layer reads {tuple(self._last_input.shape)}, not features of {rows} rows"
            )
        return self._last_input.reshape(rows, -1)
