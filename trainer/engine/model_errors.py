"""A ValueError of a model, as a user is told it: with the key of the configuration that it is about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from trainer.config import plugins
from trainer.config.validation import TARGET_PREFIXES
from trainer.utils.errors import ConfigError


def name_model_key(error: ValueError, keys: Mapping[str, Any]) -> str:
    """Return a model's sentence with its key: ``heads: 3 given`` is told as ``model.heads: 3 given``.

    Args:
        error: What a model or one of its layers raised.
        keys: The model's node of the configuration.
    """
    message = str(error)
    return f"model.{message}" if message.partition(":")[0] in keys else f"model: {message}"


@contextmanager
def explain_model_errors(keys: Mapping[str, Any]) -> Iterator[None]:
    """Run a block in which a ValueError that a model raises itself is one of the user's data and keys.

    One that comes out of torch is a fault of the code, and keeps its traceback.

    Args:
        keys: The model's node of the configuration.

    Raises:
        ConfigError: A model cannot take what it is given.
    """
    try:
        yield
    except ValueError as error:
        if not _is_raised_by_model(error):
            raise
        raise ConfigError(name_model_key(error, keys)) from error


def _is_raised_by_model(error: ValueError) -> bool:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    module = "" if trace is None else str(trace.tb_frame.f_globals.get("__name__", ""))
    return module.startswith(TARGET_PREFIXES["model"]) or plugins.is_declared(module)
