"""Activation checkpointing: blocks keep only their inputs for the backward pass, and compute the rest again there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from trainer.core.repeated_blocks import list_blocks
from trainer.utils.errors import ConfigError


def checkpoint_activations(model: nn.Module) -> None:
    """Let every repeated block of a model compute its activations again in the backward pass.

    Losses, gradients and buffers stay the same to the bit, and so do the names of parameters. Nothing changes in
    evaluation mode or without gradients.

    Args:
        model: The model; it is modified.

    Raises:
        ConfigError: The model has no repeated blocks.

    References:
        Chen et al. 2016, Training Deep Nets with Sublinear Memory Cost
    """
    blocks = list_blocks(model)
    if not blocks:
        raise ConfigError(f"checkpoint_activations: {type(model).__name__} has no repeated blocks")
    for block in blocks:
        block.forward = CheckpointedForward(block)


class CheckpointedForward:
    """The ``forward`` of a block with activation checkpointing.

    Args:
        block: The block.
    """

    def __init__(self, block: nn.Module):
        self.block = block
        self.forward: Callable[..., Any] = block.forward

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not (self.block.training and torch.is_grad_enabled()):
            return self.forward(*args, **kwargs)
        if torch.compiler.is_compiling():  # a compiled function recomputes no update of a buffer
            return checkpoint(self.forward, *args, use_reentrant=False, **kwargs)
        return checkpoint(self.forward, *args, use_reentrant=False, context_fn=self._make_contexts, **kwargs)

    def _make_contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """Return the contexts of the forward pass and of its repetition."""
        buffers = {name: buffer.clone() for name, buffer in self.block.named_buffers()}
        return nullcontext(), _replace_buffers(self.block, buffers)


@contextmanager
def _replace_buffers(block: nn.Module, copies: dict[str, Tensor]) -> Iterator[None]:
    """Replace the buffers of a block within the ``with`` statement, so that running statistics are not updated twice.

    Args:
        block: The block.
        copies: Values of the buffers before the forward pass, by name.
    """
    buffers = dict(block.named_buffers())
    _set_buffers(block, copies)
    try:
        yield
    finally:
        _set_buffers(block, buffers)


def _set_buffers(block: nn.Module, buffers: dict[str, Tensor]) -> None:
    for name, buffer in buffers.items():
        path, _, key = name.rpartition(".")
        setattr(block.get_submodule(path), key, buffer)
