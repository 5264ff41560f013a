"""Selection of parameters by patterns of their dotted names, for ``freeze`` and ``optimizer.groups``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from trainer.optim.flat_params import ParamOptions
from trainer.utils.errors import ConfigError
from trainer.utils.suggest import did_you_mean

MODEL_PREFIX = "model."
"""Prefix of the names of model parameters in a task, which patterns may omit."""
MAX_LISTED = 12


def name_parameters(task: nn.Module) -> dict[nn.Parameter, list[str]]:
    """Return all names of each parameter of a task; the first one of a shared parameter is used in checkpoints."""
    names: dict[nn.Parameter, list[str]] = {}
    for name, parameter in task.named_parameters(remove_duplicate=False):
        names.setdefault(parameter, []).append(name)
    return names


def find_matches(key: str, patterns: Sequence[str], names: Iterable[str]) -> list[str]:
    """Return the names that match any of the patterns.

    Args:
        key: Configuration key of the patterns, for messages.
        patterns: Patterns of ``fnmatch``, in which ``*`` also matches dots. They may omit the prefix ``model.``.
        names: Names of parameters.

    Raises:
        ConfigError: A pattern matches no name.
    """
    names = list(names)
    matches_by_pattern = {pattern: [name for name in names if is_match(name, pattern)] for pattern in patterns}
    problems = [
        f"{key}: {describe_no_match(pattern, names)}" for pattern, matches in matches_by_pattern.items() if not matches
    ]
    if problems:
        raise ConfigError(*problems)
    return [*dict.fromkeys(name for matches in matches_by_pattern.values() for name in matches)]


def is_match(name: str, pattern: str) -> bool:
    """Return whether a pattern matches the name of a parameter, with or without the prefix ``model.``.

    Args:
        name: Name of the parameter.
        pattern: Pattern of ``fnmatch``.
    """
    return fnmatchcase(name, pattern) or fnmatchcase(name.removeprefix(MODEL_PREFIX), pattern)


def describe_no_match(pattern: str, names: Sequence[str]) -> str:
    """Describe that a pattern matches no parameter, with the nearest pattern and the names.

    Args:
        pattern: The pattern.
        names: Names of the parameters.
    """
    names_in_model = [name.removeprefix(MODEL_PREFIX) for name in names]
    parents = {
        ".".join(name.split(".")[:depth]) + ".*" for name in names_in_model for depth in range(1, name.count(".") + 1)
    }
    leaves = {f"*.{name.rpartition('.')[2]}" for name in names_in_model if "." in name}
    suggestion = did_you_mean(pattern, [*sorted(parents), *sorted(leaves), *names_in_model])
    if len(names_in_model) > MAX_LISTED:
        counts = Counter(f"{name.partition('.')[0]}.*" if "." in name else name for name in names_in_model)
        names_in_model = [f"{prefix} ({count})" for prefix, count in counts.items()]
    ellipsis = ", ..." if len(names_in_model) > MAX_LISTED else ""
    listed = ", ".join(names_in_model[:MAX_LISTED])
    return f"{pattern!r} matches no parameter{suggestion or ';'} there are: {listed}{ellipsis}"


def freeze_parameters(task: nn.Module, patterns: Sequence[str]) -> list[nn.Module]:
    """Freeze the parameters that match patterns, by disabling their gradients.

    Args:
        task: The task.
        patterns: Patterns of names.

    Returns:
        Normalization layers that must stay in evaluation mode, so that their running statistics are frozen, too: those
        whose parameters are all frozen or, for layers without parameters, the parameters of the module around them.

    Raises:
        ConfigError: A pattern matches no parameter.
    """
    if not patterns:
        return []
    names = name_parameters(task)
    matched = set(find_matches("freeze", patterns, (name for own_names in names.values() for name in own_names)))
    for parameter, own_names in names.items():
        if not matched.isdisjoint(own_names):
            parameter.requires_grad_(False)
    modules = dict(task.named_modules())
    return [
        module
        for name, module in modules.items()
        if isinstance(module, _NormBase) and module.track_running_stats and _is_frozen(name, modules)
    ]


def _is_frozen(name: str, modules: Mapping[str, nn.Module]) -> bool:
    """Return whether all parameters of a module, or of the nearest parent with parameters, are frozen."""
    while name and not any(True for _ in modules[name].parameters()):
        name = name.rpartition(".")[0]
    return not any(parameter.requires_grad for parameter in modules[name].parameters())


def resolve_group_options(
    names: Mapping[nn.Parameter, Sequence[str]], groups: Sequence[Mapping[str, Any]]
) -> dict[nn.Parameter, ParamOptions]:
    """Return the options of ``optimizer.groups`` for each parameter that an entry matches.

    An entry is ``{match: PATTERN or [PATTERN, ...], lr_scale: ..., weight_decay: ...}``. The options of all matching
    entries are combined; of the same option, the last one is used.

    Args:
        names: Names of each trainable parameter.
        groups: The entries.

    Raises:
        ConfigError: A pattern matches no trainable parameter.
    """
    options: dict[nn.Parameter, dict[str, Any]] = {}
    for index, entry in enumerate(groups):
        match = entry["match"]
        all_names = [name for own_names in names.values() for name in own_names]
        patterns = [match] if isinstance(match, str) else list(match)
        matched = set(find_matches(f"optimizer.groups[{index}].match", patterns, all_names))
        entry_options = {key: value for key, value in entry.items() if key != "match"}
        for parameter, own_names in names.items():
            if not matched.isdisjoint(own_names):
                options[parameter] = options.get(parameter, {}) | entry_options
    return options  # type: ignore[return-value]
