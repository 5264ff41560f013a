"""Import of the plugin metrics that a checked configuration names."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from trainer.config import introspection, plugins
from trainer.config.plugin_metrics import accepts_plugin_metrics
from trainer.core.types import PluginMetric, is_valid_value
from trainer.metrics.computed import ComputedMetric, as_computed_metric
from trainer.utils.errors import ConfigError


def load_metrics(group: str, node: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checked configuration node in which the dotted names of plugin metrics are replaced by the metrics.

    Args:
        group: Group of the node, such as ``task``, for messages.
        node: The node, with its ``_target_``.

    Raises:
        ConfigError: The object with that name in the plugin is not a metric.
    """
    signature = introspection.read_signature(node["_target_"])
    kinds = signature.init_types if signature else {}
    return {
        key: _load_all(f"{group}.{key}", value) if accepts_plugin_metrics(kinds.get(key)) else value
        for key, value in node.items()
    }


def _load_all(key: str, value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_load_all(key, item) for item in value]
    return _load(key, value) if is_valid_value(value, PluginMetric) else value


def _load(key: str, path: str) -> ComputedMetric:
    plugins.import_plugins()
    module, _, name = path.rpartition(".")
    try:
        return as_computed_metric(getattr(importlib.import_module(module), name), path)
    except ValueError as error:
        raise ConfigError(f"{key}: {error}") from error
