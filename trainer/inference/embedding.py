"""Embeddings: the input of the last layer of a model, captured by forward hooks."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from trainer.core.shapes import parse_shapes
from trainer.core.task import Task
from trainer.engine.dataloader import Loader
from trainer.engine.ensemble import AveragedModel
from trainer.utils.errors import ConfigError

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)
"""Layers that may be the last one, the head of a model; one without them, such as a graph network, has its own."""


@torch.no_grad()
def embed_rows(task: Task, loader: Loader, shapes: str = "") -> Tensor:
    """Return the features (N, D) of the rows of a split, in their order, on the CPU.

    Args:
        task: Task in evaluation mode.
        loader: Loader of the split.
        shapes: Shapes of its data set, such as ``x (B, F) -> (B)``.

    Raises:
        ConfigError: The last layer of the model reads no features of rows, or each step of rows of unequal length, or
            there are several models, as in an ensemble.
    """
    if isinstance(task.model, AveragedModel):
        raise ConfigError("embed: the models of an ensemble have different features; load one of its members")
    features, index = [], []
    num_outputs = len(next(iter(loader.split.get_output_columns(0).values())))
    is_graph = len(loader.split) == 1  # its outputs are nodes
    parsed = parse_shapes(shapes)
    shares_inputs = parsed is not None and any(dims[0] != "B" for dims in parsed.inputs.values())  # such as a graph
    lengths = loader.split.get_lengths()
    is_ragged = lengths is not None and len(lengths.unique()) > 1
    with HeadInput(task.model) as head:
        for batch in loader.iter_epoch(0):
            task.forward_batch(batch)
            count = num_outputs if is_graph else len(batch)
            features.append(head.get_features(count, needs_vectors=is_ragged or shares_inputs).cpu())
            index.append(batch.index.cpu())
    rows = torch.cat(features)
    if len(rows) != num_outputs:
        raise ConfigError(f"embed: the model reads {len(rows)} parts of {num_outputs} rows, such as windows of images")
    return rows if is_graph else rows[torch.cat(index).argsort()]


class HeadInput:
    """Captures the input of the layer that a model calls last, inside a ``with`` block.

    Args:
        model: The model.
    """

    def __init__(self, model: nn.Module):
        modules = list(model.modules())
        layers: list[nn.Module] = [module for module in modules if isinstance(module, LAYERS)]
        self._layers = layers or [module for module in modules if any(True for _ in module.parameters(recurse=False))]
        self._last_input: Tensor | None = None
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> Self:
        self._handles = [layer.register_forward_hook(self._capture) for layer in self._layers]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()

    def _capture(self, _: nn.Module, inputs: tuple[Tensor, ...], __: Tensor) -> None:
        if inputs and isinstance(inputs[0], Tensor) and inputs[0].is_floating_point():
            self._last_input = inputs[0]

    def get_features(self, rows: int, *, needs_vectors: bool) -> Tensor:
        """Return the features (B, D) float32 of the last forward pass, with all other dimensions in D.

        Args:
            rows: Number of rows B of the batch.
            needs_vectors: Whether a row must have one vector of features, not one for each of its steps.

        Raises:
            ConfigError: No layer was called, or its input has no dimension of the rows, or one of their steps.
        """
        if self._last_input is None:
            raise ConfigError("embed: the model of this run has no layer with weights that reads features")
        has_vectors = self._last_input.dim() == 2 and len(self._last_input) == rows
        if (needs_vectors and not has_vectors) or len(self._last_input) % rows:
            raise ConfigError(
                f"embed: the last layer reads {tuple(self._last_input.shape)}, not features of {rows} rows"
            )
        return self._last_input.reshape(rows, -1).float()
