"""Checkpoints before version 5, whose keys have other names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.utils import digests
from trainer.utils.errors import ConfigError

_STATE_KEYS = {"players": "param_groups", "running": "running_totals", "about": "run_metadata"}
_BEST_KEYS = {"finer": "tiebreak_score"}
_PARAM_GROUP_KEYS = {"rate": "lr", "average": "ema"}
_PLATEAU_KEYS = {"waited": "num_bad_validations"}
_TORCH_SCHEDULE_KEYS = {"rate": "lr"}
_DATA_KEYS = {"facts": "dataset_info"}
_DATASET_INFO_KEYS = {"end": "end_token", "channel_scale": "channel_moments"}
_EXCERPT_KEYS = {"asked": "output_index"}
_PLATEAU_STATE = {"scale", "best", "waited"}
_TORCH_SCHEDULE_STATE = {"position", "is_max", "rate", "momentum"}
"""Keys by which the state of a schedule is recognized; a schedule of a plugin has keys of its own."""
_WRONG_DIGEST = ""
"""Digest that no part has."""


def rename_keys(state: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return a checkpoint of version 4 with the keys of version 5.

    Names of parameters and of values that a data set has fitted are not changed. Digests of parts whose keys are
    renamed are computed again, if the part is the one that was saved: otherwise its digest stays wrong.

    Args:
        state: The checkpoint, which may be damaged.
        path: Its file, for messages.

    Raises:
        ConfigError: It contains a key of version 5.
    """
    try:
        return _rename_state(state)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error


def _rename_state(state: Mapping[str, Any]) -> dict[str, Any]:
    renamed: dict[str, Any] = _rename(state, _STATE_KEYS | _BEST_KEYS)
    if "best" in renamed:
        renamed["best"] = _rename(renamed["best"], _BEST_KEYS)
    metadata = renamed.get("run_metadata")
    groups = renamed.get("param_groups")
    if isinstance(groups, Mapping):
        is_plugin = _has_scheduler_of_plugin(metadata)
        renamed["param_groups"] = {name: _rename_group(group, is_plugin) for name, group in groups.items()}
    if isinstance(renamed.get("data"), Mapping):
        data = renamed["data"] = _rename_data(renamed["data"])
        if isinstance(metadata, Mapping) and isinstance(metadata.get("data"), Mapping):
            renamed["run_metadata"] = {**metadata, "data": _rename_digests(metadata["data"], state["data"], data)}
    return renamed


def _rename(node: Any, names: Mapping[str, str]) -> Any:
    """Return a mapping with renamed keys in the same order; any other value is left to the check of the schema.

    Raises:
        ValueError: It already has one of the current names.
    """
    if not isinstance(node, Mapping):
        return node
    for name in names.values():
        if name in node:
            raise ValueError(f"it contains {name}, which its format_version does not have; the file was edited")
    return {names.get(key, key): value for key, value in node.items()}


def _rename_group(group: Any, has_scheduler_of_plugin: bool) -> Any:
    renamed = _rename(group, _PARAM_GROUP_KEYS)
    schedule = renamed.get("schedule") if isinstance(renamed, Mapping) else None
    if not isinstance(schedule, Mapping):
        return renamed
    if schedule.keys() >= _PLATEAU_STATE:
        return {**renamed, "schedule": _rename(schedule, _PLATEAU_KEYS)}
    if schedule.keys() >= _TORCH_SCHEDULE_STATE:
        if has_scheduler_of_plugin:  # its attributes are not saved any more, and may have one of the names
            schedule = {key: value for key, value in schedule.items() if key in _TORCH_SCHEDULE_STATE}
        return {**renamed, "schedule": _rename(schedule, _TORCH_SCHEDULE_KEYS)}
    return renamed


def _has_scheduler_of_plugin(metadata: Any) -> bool:
    """Return whether the scheduler of a run is neither of torch nor of this package."""
    config = metadata.get("config") if isinstance(metadata, Mapping) else None
    scheduler = config.get("scheduler") if isinstance(config, Mapping) else None
    target = scheduler.get("_target_") if isinstance(scheduler, Mapping) else None
    return isinstance(target, str) and not target.startswith(("torch.", "trainer."))


def _rename_data(data: Mapping[str, Any]) -> dict[str, Any]:
    renamed: dict[str, Any] = _rename(data, _DATA_KEYS)
    if "dataset_info" in renamed:
        renamed["dataset_info"] = _rename(renamed["dataset_info"], _DATASET_INFO_KEYS)
    if isinstance(renamed.get("excerpts"), Mapping):
        renamed["excerpts"] = {name: _rename(rows, _EXCERPT_KEYS) for name, rows in renamed["excerpts"].items()}
    return renamed


def _rename_digests(
    saved: Mapping[str, Any], former_data: Mapping[str, Any], data: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the saved digests by the current names of the parts.

    A digest depends on the keys within a part, which have changed in excerpts only.

    Args:
        saved: Digests that were saved with the data.
        former_data: The data as saved.
        data: The data with the current keys.
    """
    former_digests, current_digests = (
        digests.digest_parts({"excerpts": each["excerpts"]} if "excerpts" in each else {})
        for each in (former_data, data)
    )
    renamed = {}
    for key, digest in saved.items():
        if key in former_digests:
            renamed[key] = current_digests[key] if digest == former_digests[key] else _WRONG_DIGEST
        else:
            renamed[_rename_part(key)] = digest
    return renamed


def _rename_part(key: Any) -> Any:
    """Return the current name of a part, such as ``dataset_info.end_token`` for ``facts.end``."""
    if not isinstance(key, str):
        return key
    part, dot, name = key.partition(".")
    name = _DATASET_INFO_KEYS.get(name, name) if part == "facts" else name
    return f"{_DATA_KEYS.get(part, part)}{dot}{name}"
