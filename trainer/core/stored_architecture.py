"""Models whose architecture is described by files outside of the configuration, which runs store."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn


class HasStoredArchitecture(nn.Module):
    """Base class of models whose layers are described by the files of a saved model.

    A run stores their contents in its checkpoints, and passes them to the class as ``stored_architecture`` when it is
    loaded or resumed, so that the saved model is not needed again.

    Args:
        architecture: Contents of the files, by file name.
    """

    def __init__(self, architecture: Mapping[str, str]):
        super().__init__()
        self.architecture = dict(architecture)


def get_architecture(model: nn.Module) -> dict[str, str] | None:
    """Return the contents of the files that describe a model; None if the configuration describes it."""
    return model.architecture if isinstance(model, HasStoredArchitecture) else None
