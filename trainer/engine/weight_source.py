"""Source of initial weights: the tensors of a run or file, and what the run had learned about its data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainer.utils import digests
from trainer.utils.errors import ConfigError

MAX_PROBLEMS = 5


@dataclass(frozen=True)
class WeightSource:
    """Weights of another run, or of a file.

    Attributes:
        path: Run directory, file or folder.
        description: Which weights they are, such as ``best weights, epoch 12``.
        weights: Tensors on the CPU, by name.
        data_options: Options of the data set of the run; empty for a file.
        data_state: State of the data set in the checkpoint of the run; empty for a file.
    """

    path: Path
    description: str
    weights: Mapping[str, Tensor]
    data_options: Mapping[str, Any] = field(default_factory=dict)
    data_state: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Digest of the contents, which is the same wherever they are."""
        contents = [dict(self.weights), self.fitted_values, self.sizes, list(self.class_names)]
        (digest,) = digests.digest_parts({"": contents}).values()
        return digest

    @property
    def fitted_values(self) -> Mapping[str, Any]:
        """Values of the preprocessing of the run."""
        return self.data_state.get("fitted") or {}

    @property
    def sizes(self) -> Mapping[str, Any]:
        """Sizes that the data set of the run reported."""
        sizes: Mapping[str, Any] = self.data_state.get("dataset_info", {}).get("sizes", {})
        return sizes

    @property
    def class_names(self) -> Sequence[str]:
        """Names of the classes of the run; empty if they have none."""
        return [str(name) for name in self.data_state.get("dataset_info", {}).get("class_names", ())]


def check_tensors(weights: object, path: Path) -> dict[str, Tensor]:
    """Return weights from a file that is not trusted, if they are tensors of finite numbers.

    Args:
        weights: Contents of the file.
        path: The file, for messages.

    Raises:
        ConfigError: They are not.
    """
    if not isinstance(weights, Mapping) or not weights:
        raise ConfigError(f"init_from: {path} contains no weights")
    problems = [
        f"init_from: {path}: {name}: {'contains values that are not finite' if is_tensor else 'not a tensor'}"
        for name, value in weights.items()
        if not (is_tensor := isinstance(value, Tensor)) or not _is_finite(value)
    ]
    if problems:
        raise ConfigError(*problems[:MAX_PROBLEMS])
    return {str(name): value for name, value in weights.items()}


def _is_finite(value: Tensor) -> bool:
    # Types of 8 bits have no isfinite.
    return not value.is_floating_point() or bool(torch.isfinite(value.float()).all())
