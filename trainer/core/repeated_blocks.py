"""Repeated blocks of a model, such as Transformer blocks, at which memory can be saved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from torch import nn


@runtime_checkable
class BlockModel(Protocol):
    """Protocol of models that consist mostly of repeated blocks."""

    def repeated_blocks(self) -> Sequence[nn.Module]:
        """Return the blocks in the order of the forward pass.

        Each is called as a module, at most once per forward pass, and contains no other block.
        """


@runtime_checkable
class HasOtherMethods(Protocol):
    """Protocol of blocks of which a model calls other methods than ``forward``, before it.

    Attributes:
        other_methods: Names of these methods.
    """

    other_methods: tuple[str, ...]


def list_blocks(model: nn.Module) -> Sequence[nn.Module]:
    """Return the repeated blocks of a model; none for a model that is no ``BlockModel``."""
    return model.repeated_blocks() if isinstance(model, BlockModel) else ()
