"""Conversion of errors of models and data sets, which know only their arguments, to errors with configuration keys."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from trainer.config import plugins
from trainer.config.validation import TARGET_PREFIXES
from trainer.utils import choices
from trainer.utils.errors import ConfigError, DataError, SystemFault

PACKAGES = {"model": TARGET_PREFIXES["model"], "augment": TARGET_PREFIXES["augment"], "data": "trainer.data."}
"""The modules whose ValueErrors are about the options of a group; the first match counts."""
GLOBAL_KEYS = frozenset({"data_dir"})
"""Parameters of data sets that their YAML files fill from the global key of the same name."""
ARGUMENT_NAMES = re.compile(r"[a-z_]\w*(?=:)|[a-z_]\w*(?:(?:, | and )[a-z_]\w*)+\b")
"""The start of a sentence about arguments: ``path: ...`` or ``columns and time ...``."""


@contextmanager
def explain_errors(config: Mapping[str, Any], plugin_group: str) -> Iterator[None]:
    """Convert errors that a model or data set raises inside the block to errors that name configuration keys.

    A ValueError that is raised in torch or NumPy is a bug of the code and passes with its traceback.

    Args:
        config: The configuration tree, with a node for each group.
        plugin_group: The group of a ValueError that is raised in a plugin: ``"model"``, ``"data"`` or ``"augment"``.

    Raises:
        ConfigError: A model or data set rejected its arguments or files.
        SystemFault: A data file cannot be read.
    """
    try:
        yield
    except ValueError as error:
        group = _find_group(error, plugin_group)
        if group is None:
            raise
        raise ConfigError(*add_keys(error, group, config[group])) from error
    except SystemFault as error:
        message = str(error)
        with_key = _name_arguments(message, "data", config["data"])
        if with_key == message:
            raise
        raise SystemFault(with_key) from error


def add_keys(error: ValueError, group: str, node: Mapping[str, Any]) -> list[str]:
    """Return the problems of an error with configuration keys: ``heads: 3 given`` becomes ``model.heads: 3 given``.

    A plain ValueError that names no argument is attributed to the group: ``model: ...``. So is the first problem of a
    DataError if it has no subject (``rows.csv: ...``); further problems are hints.

    Args:
        error: The error of the model or data set.
        group: The configuration group.
        node: The node of the group, whose keys are the arguments.
    """
    problems = error.problems if isinstance(error, DataError) else (str(error),)
    first, *hints = (_name_arguments(problem, group, node) for problem in problems)
    has_subject = isinstance(error, DataError) and ":" in first
    return [first if has_subject or first != problems[0] else f"{group}: {first}", *hints]


def _name_arguments(message: str, group: str, node: Mapping[str, Any]) -> str:
    """Prefix the argument names that a message begins with; return other messages unchanged."""
    match = ARGUMENT_NAMES.match(message)
    if match is None or not set(re.split(", | and ", match[0])) <= node.keys() - GLOBAL_KEYS:
        return message
    return re.sub(r"\b(?!and\b)(\w+)", rf"{group}.\1", match[0]) + message[match.end() :]


def _find_group(error: ValueError, plugin_group: str) -> str | None:
    """Return the group whose options an error is about, or None for a bug of the code."""
    modules = [str(frame.f_globals.get("__name__", "")) for frame, _ in traceback.walk_tb(error.__traceback__)]
    module = next((name for name in reversed(modules) if name != choices.__name__), "")
    group = next((group for group, packages in PACKAGES.items() if module.startswith(packages)), None)
    if group is None and isinstance(error, DataError):  # such as one that a worker process has sent
        return "augment" if plugin_group == "augment" else "data"
    return plugin_group if group is None and plugins.is_declared(module) else group
