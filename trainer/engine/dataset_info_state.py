"""The part of ``DatasetInfo`` that is stored in checkpoints, as a flat dictionary of plain values.

The keys do not follow the nesting of ``DatasetInfo``. Checkpoints before format 4 have no ``target_mean``,
``target_unit``, ``channel_names`` and ``channel_moments``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from operator import attrgetter
from typing import Any

from torch import Tensor

from trainer.core.dataset_info import DatasetInfo

STORED_FIELDS = {
    "sizes": "sizes",
    "baseline": "baseline",
    "best_possible": "best_possible",
    "class_names": "class_names",
    "bounds": "image.bounds",
    "blank": "image.blank",
    "blank_class": "image.blank_class",
    "target_scale": "target.scale",
    "target_mean": "target.mean",
    "target_unit": "target.unit",
    "channel_names": "target.channel_names",
    "channel_moments": "target.channel_moments",
    "end_token": "text.end_token",
    "node_classes": "graph.node_classes",
    "modes": "density.modes",
    "mode_sigma": "density.mode_sigma",
}
"""Stored key -> attribute of ``DatasetInfo``.

The other attributes are functions, tokenizers or summaries, which ``Dataset.complete_info`` rebuilds or only a new run
prints.
"""


def info_state(info: DatasetInfo) -> dict[str, Any]:
    """Return the stored fields by key, as lists, dicts, numbers, strings and CPU tensors."""
    return {key: _to_plain(attrgetter(path)(info)) for key, path in STORED_FIELDS.items()}


def info_from_state(state: Mapping[str, Any]) -> DatasetInfo:
    """Return the info of stored fields; attributes without a stored value have their defaults."""
    fields: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = defaultdict(dict)
    for key, value in state.items():
        part, _, name = STORED_FIELDS[key].rpartition(".")
        (parts[part] if part else fields)[name] = value
    info = DatasetInfo(**fields)
    return replace(info, **{part: replace(getattr(info, part), **values) for part, values in parts.items()})


def _to_plain(value: Any) -> Any:
    """Convert nested sequences to lists and mappings to dicts, and copy tensors to the CPU."""
    if isinstance(value, Mapping):
        return {key: _to_plain(item) for key, item in value.items()}
    if isinstance(value, Tensor):
        return value.cpu().clone()
    return [_to_plain(item) for item in value] if isinstance(value, list | tuple) else value
