"""Safetensors files: a JSON header with names, types and shapes, and the bytes of the tensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from trainer.engine.weight_source import check_tensors
from trainer.utils.errors import ConfigError

SUFFIX = ".safetensors"


def write_tensors(path: Path, tensors: Mapping[str, Tensor], version: int | None = None) -> None:
    """Write tensors by name; those that share memory are written separately.

    Args:
        path: The file.
        tensors: Tensors by name.
        version: Version of the format, which is written as metadata; with None, equal tensors make equal files.
    """
    from safetensors.torch import save_file

    separate = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    # The package writes several entries in random order.
    save_file(separate, path, metadata={"format": "pt"} | ({} if version is None else {"version": str(version)}))


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the weights that ``init_from`` names.

    Args:
        path: The file, which is not trusted.

    Raises:
        ConfigError: As ``read_tensors``, or a tensor contains values that are not finite.
    """
    try:
        weights = read_tensors(path)
    except ConfigError as error:
        raise ConfigError(*(f"init_from: {problem}" for problem in error.problems)) from error
    return check_tensors(weights, path)


def read_tensors(path: Path) -> dict[str, Tensor]:
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
        raise ConfigError(f"{path} needs the package safetensors: pip install 'train-zoo[safetensors]'") from error
    try:
        return load_file(path)
    # Besides its own error, KeyError for a type that torch does not have, and ValueError for a name that is not UTF-8.
    except (SafetensorError, OSError, LookupError, ValueError, TypeError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"{path} is not a safetensors file, or it is damaged: {reason}") from error
