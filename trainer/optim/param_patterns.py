"""Selection of parameters by patterns of their dotted names, for ``freeze`` and ``optimizer.groups``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from torch import nn

from trainer.config.renamed_parameters import find_former_names
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


def find_former_parameter_names(task: nn.Module) -> dict[str, str]:
    """Return the current name of each renamed parameter by its name in runs before checkpoint version 4."""
    return find_former_names(task, [name for name, _ in task.named_parameters(remove_duplicate=False)])


def find_matches(
    key: str, patterns: Sequence[str], names: Iterable[str], former_names: Mapping[str, str] | None = None
) -> list[str]:
    """Return the names that match any of the patterns.

    Args:
        key: Configuration key of the patterns, for messages.
        patterns: Patterns of ``fnmatch``, in which ``*`` also matches dots. They may omit the prefix ``model.``.
        names: Names of parameters.
        former_names: Current names by former name; tried for a pattern that matches no current name, such as one of a
            run before checkpoint version 4.

    Raises:
        ConfigError: A pattern matches no name.
    """
    names = list(names)
    former = {old: new for old, new in (former_names or {}).items() if new in names}
    matches_by_pattern = {
        pattern: [name for name in names if is_match(name, pattern)]
        or [new for old, new in former.items() if is_match(old, pattern)]
        for pattern in patterns
    }
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
    listing = ", ".join(names_in_model[:MAX_LISTED])
    return f"{pattern!r} matches no parameter{suggestion or ';'} there are: {listing}{ellipsis}"
