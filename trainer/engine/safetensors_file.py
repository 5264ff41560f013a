"""Reading of safetensors files: a JSON header with names, types and shapes, and the bytes of the tensors."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from trainer.engine.weight_source import check_tensors
from trainer.utils.errors import ConfigError

SUFFIX = ".safetensors"


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file, which cannot contain code.

    Args:
        path: The file, which is not trusted.

    Raises:
        ConfigError: The package is not installed, or the file is damaged or not of this format.
    """
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise ConfigError(
            f"init_from: {path} needs the package safetensors: pip install 'train-zoo[safetensors]'"
        ) from error
    try:
        weights = load_file(path)
    # Besides its own error, KeyError for a type that torch does not have, and ValueError for a name that is not UTF-8.
    except (SafetensorError, OSError, LookupError, ValueError, TypeError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"init_from: {path} is not a safetensors file, or it is damaged: {reason}") from error
    return check_tensors(weights, path)
