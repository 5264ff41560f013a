"""Options of parameter groups by patterns of names, such as learning rates per layer: ``optimizer.groups``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from trainer.optim.flat_params import ParamOptions
from trainer.optim.param_patterns import find_matches


def resolve_group_options(
    names: Mapping[nn.Parameter, Sequence[str]],
    groups: Sequence[Mapping[str, Any]],
    former_names: Mapping[str, str] | None = None,
) -> dict[nn.Parameter, ParamOptions]:
    """Return the options of ``optimizer.groups`` for each parameter that an entry matches.

    An entry is ``{match: PATTERN or [PATTERN, ...], lr_scale: ..., weight_decay: ...}``. The options of all matching
    entries are combined; of the same option, the last one is used.

    Args:
        names: Names of each trainable parameter.
        groups: The entries.
        former_names: As for ``find_matches``.

    Raises:
        ConfigError: A pattern matches no trainable parameter.
    """
    options: dict[nn.Parameter, dict[str, Any]] = {}
    for index, entry in enumerate(groups):
        match = entry["match"]
        all_names = [name for own_names in names.values() for name in own_names]
        patterns = [match] if isinstance(match, str) else list(match)
        matched = set(find_matches(f"optimizer.groups[{index}].match", patterns, all_names, former_names))
        entry_options = {key: value for key, value in entry.items() if key != "match"}
        for parameter, own_names in names.items():
            if not matched.isdisjoint(own_names):
                options[parameter] = options.get(parameter, {}) | entry_options
    return options  # type: ignore[return-value]
