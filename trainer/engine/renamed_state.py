"""Checkpoints before version 4, whose weights and optimizer states have other parameter names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from trainer.config.renamed_parameters import find_former_names


def rename_parameters(state: Mapping[str, Any], task: nn.Module) -> dict[str, Any]:
    """Return a checkpoint with the current names of parameters and buffers in weights, optimizer states and EMA.

    The modules of the task decide which names have changed, so this cannot be part of ``migrate_state``. A checkpoint
    with current names is not changed.

    Args:
        state: The checkpoint.
        task: The task that it is loaded into.
    """
    current = find_former_names(task, task.state_dict())
    return {**state, **{key: _rename_keys(state[key], current) for key in ("task", "param_groups") if key in state}}


def _rename_keys(node: Any, current: Mapping[str, str]) -> Any:
    if not isinstance(node, Mapping):
        return node
    return {current.get(key, key): _rename_keys(value, current) for key, value in node.items()}
