"""Dotted names of plugin metrics, checked before anything is imported."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, get_args

from trainer.config import introspection, plugins
from trainer.core.types import PluginMetric, is_valid_value
from trainer.utils.suggest import did_you_mean


def accepts_plugin_metrics(kind: Any) -> bool:
    """Return whether values of a type may name plugin metrics."""
    return kind == PluginMetric or any(accepts_plugin_metrics(arg) for arg in get_args(kind))


def find_metric_problems(key: str, value: Any, kind: Any) -> list[str]:
    """Return a problem for each metric in a value that is not defined by a declared plugin.

    Args:
        key: Configuration key, for messages.
        value: Value of the key, already checked against its type.
        kind: Type of the key.
    """
    if not accepts_plugin_metrics(kind):
        return []
    return [problem for path in _list_paths(value) for problem in _check_path(key, path)]


def _list_paths(value: Any) -> Iterator[str]:
    for item in value if isinstance(value, list | tuple) else [value]:
        if is_valid_value(item, PluginMetric):
            yield item


def _check_path(key: str, path: str) -> Iterator[str]:
    module, _, name = path.rpartition(".")
    top = module.split(".")[0]
    file = plugins.find_plugin_file(module)
    if not plugins.is_declared(module):
        hint = f"; if the module is yours, plugins=[{top}]" if top not in {*sys.stdlib_module_names, "trainer"} else ""
        yield f"{key}: metric {path!r} is not on the allow-list{hint}"
    elif file is None:
        yield f"{key}: there is no module {module} for metric {path!r}"
    elif name not in (definitions := introspection.find_definitions(file)):
        suggestion = did_you_mean(name, definitions, f"{module}.")
        yield f"{key}: {file} defines no class or function {name}{suggestion}"
