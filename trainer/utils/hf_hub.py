"""Pretrained models: a local directory or a snapshot from the Hugging Face Hub."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from trainer.utils.errors import ConfigError, SystemFault
from trainer.utils.paths import describe_missing_path

MODEL_FILE_PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.model"]
"""Files to download: tokenizers, and weights as plain tensors; never pickles."""
REQUEST_TIMEOUT_SECONDS = 5.0
"""Timeout of the request that checks whether a model exists."""


def import_transformers() -> ModuleType:
    """Import the transformers library.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import transformers
    except ImportError:
        raise ConfigError(
            "model=pretrained needs the package transformers: pip install 'train-zoo[pretrained]'"
        ) from None
    transformers.utils.logging.disable_progress_bar()
    return transformers


def import_peft() -> ModuleType:
    """Import the peft library, which implements LoRA.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import peft
    except ImportError:
        raise ConfigError("model.lora_rank needs the package peft: pip install 'train-zoo[lora]'") from None
    return peft


def find_model_dir(name: str) -> Path:
    """Return the directory of a pretrained model; download it if necessary.

    Args:
        name: Path of a directory, or name on the Hub, such as ``distilbert-base-uncased``.

    Raises:
        ConfigError: The path is not the directory of a saved model, or the Hub does not have the model.
        SystemFault: The model must be downloaded, and the Hub cannot be reached.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ConfigError(f"model.name: {path.absolute()} contains no config.json, so it is not a saved model")
        return path
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise ConfigError(f"model.name: not a directory of a saved model: {describe_missing_path(path)}")
    import_transformers()
    return _download_model(name)


def load_pretrained(kind: str, folder: Path, key: str = "model.name", **options: Any) -> Any:
    """Load a saved model with a class of transformers, without running code that comes with it.

    A saved model may refer to its own code (``auto_map``) or to kernels on the Hub; neither is ever run.

    Args:
        kind: Name of a class of transformers with ``from_pretrained``.
        folder: Directory of the saved model.
        key: Configuration key that messages begin with.
        options: Keyword arguments of ``from_pretrained``.

    Raises:
        ConfigError: The directory cannot be loaded this way.
    """
    remote_code, transformers = _find_remote_code(folder), import_transformers()
    try:
        with _silence_logs(transformers):
            return getattr(transformers, kind).from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, **options
            )
    except Exception as error:  # transformers documents no list of exceptions for damaged files
        reason = (
            f"it needs custom code ({remote_code}), which train never runs" if remote_code else _get_first_line(error)
        )
        raise ConfigError(f"{key}: {folder} cannot be read: {reason}") from error


@contextmanager
def _silence_logs(transformers: ModuleType) -> Iterator[None]:
    """Suppress what transformers logs below errors, such as its table of weights that a model does not use."""
    logging = transformers.utils.logging
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)


def _get_first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _find_remote_code(folder: Path) -> str | None:
    """Return the code that the files of a saved model refer to, or None.

    Raises:
        ConfigError: They refer to attention or expert kernels, which transformers would download without asking.
    """
    remote_code = None
    for path in sorted(folder.glob("*config.json")):
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue  # transformers reports it when it loads the model
        for key, value in _iter_entries(config):
            if key == "auto_map":
                remote_code = ", ".join(map(str, value.values())) if isinstance(value, dict) else str(value)
            if key.lstrip("_").startswith(("attn_implementation", "experts_implementation")) and "/" in str(value):
                raise ConfigError(
                    f"model.name: {path} refers to code on the Hub ({key}: {value}), which train never runs"
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
        raise ConfigError(f"model.name: {name!r} is neither a directory nor the name of a model: {error}") from error
    try:
        hub.model_info(name, timeout=REQUEST_TIMEOUT_SECONDS)  # a download would retry for half a minute
        return Path(hub.snapshot_download(name, allow_patterns=MODEL_FILE_PATTERNS))
    except (errors.RepositoryNotFoundError, errors.GatedRepoError) as error:
        raise ConfigError(f"model.name: the Hub has no model {name!r}: {str(error).splitlines()[0]}") from error
    except Exception as error:
        raise SystemFault(
            f"model.name: there is no directory {name}, and the Hub cannot be reached ({error}); download {name} on a"
            " machine with network access, and set model.name to its directory"
        ) from error
