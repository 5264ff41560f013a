"""Pretrained models by name: a local directory, or a snapshot of the Hugging Face hub."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from trainer.utils.errors import ConfigError, SystemFault
from trainer.utils.paths import describe_missing_path

MODEL_FILE_PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.model"]
"""Files to download: weights as plain tensors, never pickles, and tokenizers."""
REQUEST_TIMEOUT_SECONDS = 5.0


def import_transformers() -> ModuleType:
    """Import the transformers library. Raises ConfigError where it is not installed."""
    try:
        import transformers
    except ImportError:
        raise ConfigError(
            "model=pretrained needs the package transformers: pip install 'train-zoo[pretrained]'"
        ) from None
    transformers.utils.logging.disable_progress_bar()
    return transformers


def find_model_dir(name: str) -> Path:
    """Return the directory of a pretrained model, given by path or by its name on the hub.

    Raises:
        ConfigError: The path is no directory of a saved model, or the hub does not know the name.
        SystemFault: It would have to be downloaded, and the hub cannot be reached.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ConfigError(f"model.name: {path.absolute()} holds no config.json, so it is not a saved model")
        return path
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise ConfigError(f"model.name: no folder of a saved model: {describe_missing_path(path)}")
    import_transformers()
    return _download_model(name)


def load_pretrained(kind: str, folder: Path, key: str = "model.name", **options: Any) -> Any:
    """Load a saved model with a class of transformers, without running code that it brings along.

    A saved model may name its own code (``auto_map``) or kernels on the hub: neither is ever run or offered.

    Args:
        kind: Name of a class of transformers with ``from_pretrained``.
        key: Configuration key that messages begin with.

    Raises:
        ConfigError: The directory cannot be loaded this way.
    """
    remote_code = _find_remote_code(folder)
    try:
        return getattr(import_transformers(), kind).from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, **options
        )
    except Exception as error:  # a foreign library over foreign files: there is no list of what it raises
        reason = (
            f"it needs code of its own ({remote_code}), which train never runs"
            if remote_code
            else _get_first_line(error)
        )
        raise ConfigError(f"{key}: {folder} cannot be read: {reason}") from error


def _get_first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _find_remote_code(folder: Path) -> str | None:
    """Return the code that the files of a saved model refer to, if any.

    Raises ConfigError for attention or expert kernels, which the library would download without asking.
    """
    remote_code = None
    for path in sorted(folder.glob("*config.json")):
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue  # the library says so itself
        for key, value in _iter_entries(config):
            if key == "auto_map":
                remote_code = ", ".join(map(str, value.values())) if isinstance(value, dict) else str(value)
            if key.lstrip("_").startswith(("attn_implementation", "experts_implementation")) and "/" in str(value):
                raise ConfigError(
                    f"model.name: {path} asks for code of the hub ({key}: {value}), which train never runs"
                )
    return remote_code


def _iter_entries(node: Any) -> Iterator[tuple[str, Any]]:
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield str(key), value
        yield from _iter_entries(value)


def _download_model(name: str) -> Path:
    import huggingface_hub as hub
    from huggingface_hub import errors

    try:
        return Path(hub.snapshot_download(name, allow_patterns=MODEL_FILE_PATTERNS, local_files_only=True))
    except errors.LocalEntryNotFoundError:
        pass  # never fetched before
    except ValueError as error:
        raise ConfigError(f"model.name: {name!r} is no folder and no name of a model: {error}") from error
    try:
        hub.model_info(name, timeout=REQUEST_TIMEOUT_SECONDS)  # a download would try again for half a minute
        return Path(hub.snapshot_download(name, allow_patterns=MODEL_FILE_PATTERNS))
    except (errors.RepositoryNotFoundError, errors.GatedRepoError) as error:
        raise ConfigError(f"model.name: the hub gives no model {name!r}: {str(error).splitlines()[0]}") from error
    except Exception as error:
        raise SystemFault(
            f"model.name: there is no folder {name}, and the hub cannot be reached ({error}); where there is a network,"
            f" download {name}, and give its folder as model.name"
        ) from error
