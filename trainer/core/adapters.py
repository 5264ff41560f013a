"""Adapters: small trained layers beside frozen ones, which can be merged into them."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import nn


class HasAdapters(nn.Module, ABC):
    """Base class of models that may have adapters."""

    @abstractmethod
    def merge_adapters(self) -> None:
        """Add the adapters to the weights beside them and remove them; the model computes the same function."""


def merge_adapters(module: nn.Module) -> None:
    """Merge the adapters of a model or task, for inference and export.

    Its parameters have other names afterwards, so that a checkpoint of its run must be loaded before.
    """
    for part in list(module.modules()):
        if isinstance(part, HasAdapters):
            part.merge_adapters()
