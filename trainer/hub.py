"""Pretrained models by name: a folder of the user's, or one fetched from the model hub and kept."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from trainer.errors import ConfigError, SystemFault, nearest_folder

FILES = ["*.json", "*.safetensors", "*.txt", "*.model"]
"""What is fetched: weights as plain tensors, never pickles, and tokenizers."""
PATIENCE_SECONDS = 5.0


def transformers() -> ModuleType:
    """The library, imported when it is needed. Raises ConfigError where it is not installed."""
    try:
        import transformers
    except ImportError:
        raise ConfigError(
            "model=pretrained needs the package transformers: pip install 'train-zoo[pretrained]'"
        ) from None
    transformers.utils.logging.disable_progress_bar()
    return transformers


def folder_of(name: str) -> Path:
    """The folder of a pretrained model, by its path or by its name on the hub.

    Raises ConfigError for a path that is no folder or a name the hub does not know, SystemFault where it would have to
    be downloaded and cannot be.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ConfigError(f"model.name: {path.absolute()} holds no config.json, so it is not a saved model")
        return path
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise ConfigError(f"model.name: no folder {path.absolute()}; the nearest that exists is {nearest_folder(path)}")
    transformers()
    return _fetched(name)


def _fetched(name: str) -> Path:
    import huggingface_hub as hub
    from huggingface_hub import errors

    try:
        return Path(hub.snapshot_download(name, allow_patterns=FILES, local_files_only=True))
    except errors.LocalEntryNotFoundError:
        pass  # never fetched before
    except ValueError as error:
        raise ConfigError(f"model.name: {name!r} is no folder and no name of a model: {error}") from error
    try:
        hub.model_info(name, timeout=PATIENCE_SECONDS)  # a download would try again for half a minute
        return Path(hub.snapshot_download(name, allow_patterns=FILES))
    except (errors.RepositoryNotFoundError, errors.GatedRepoError) as error:
        raise ConfigError(f"model.name: the hub gives no model {name!r}: {str(error).splitlines()[0]}") from error
    except Exception as error:
        raise SystemFault(
            f"model.name: there is no folder {name}, and the hub cannot be reached ({error}); where there is a network,"
            f" download {name}, and give its folder as model.name"
        ) from error
