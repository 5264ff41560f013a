"""Parameters chosen by patterns on their dotted names, for ``freeze`` and ``optimizer.groups``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from trainer.config.renamed_parameters import find_former_names
from trainer.optim.flat_params import ParamOptions
from trainer.utils.errors import ConfigError
from trainer.utils.suggest import did_you_mean

MODEL_PREFIX = "model."
"""In front of the names of the model's parameters in a task, which a pattern may leave out."""
MAX_LISTED = 12


def name_parameters(task: nn.Module) -> dict[nn.Parameter, list[str]]:
    """The names of each parameter, one that is shared under each of its places; the first is that of checkpoints."""
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
    """The names that one of some patterns matches.

    A pattern is one of fnmatch: ``*`` stands for any text, dots included. It may leave ``model.`` out.

    Args:
        key: The configuration key of the patterns, for the message.
        patterns: The patterns.
        names: The names to choose from.
        former_names: Current names by former name; tried for a pattern that matches no current name, such as one of a
            run before checkpoint version 4.

    Raises:
        ConfigError: A pattern matches nothing.
    """
    names = list(names)
    former = {old: new for old, new in (former_names or {}).items() if new in names}
    found = {
        pattern: [name for name in names if is_match(name, pattern)]
        or [new for old, new in former.items() if is_match(old, pattern)]
        for pattern in patterns
    }
    problems = [f"{key}: {describe_no_match(pattern, names)}" for pattern, matches in found.items() if not matches]
    if problems:
        raise ConfigError(*problems)
    return [*dict.fromkeys(name for matches in found.values() for name in matches)]


def is_match(name: str, pattern: str) -> bool:
    """Whether a pattern matches the name of a parameter, or what stands behind ``model.`` in it."""
    return fnmatchcase(name, pattern) or fnmatchcase(name.removeprefix(MODEL_PREFIX), pattern)


def describe_no_match(pattern: str, names: Sequence[str]) -> str:
    """That a pattern matches none of some parameters, with the nearest that would and what there is."""
    short = [name.removeprefix(MODEL_PREFIX) for name in names]
    parents = {".".join(name.split(".")[:depth]) + ".*" for name in short for depth in range(1, name.count(".") + 1)}
    leaves = {f"*.{name.rpartition('.')[2]}" for name in short if "." in name}
    near = did_you_mean(pattern, [*sorted(parents), *sorted(leaves), *short])
    if len(short) > MAX_LISTED:
        tops = Counter(f"{name.partition('.')[0]}.*" if "." in name else name for name in short)
        short = [f"{top} ({count})" for top, count in tops.items()]
    more = ", ..." if len(short) > MAX_LISTED else ""
    return f"{pattern!r} matches no parameter{near or ';'} there are: {', '.join(short[:MAX_LISTED])}{more}"


def freeze_parameters(task: nn.Module, patterns: Sequence[str]) -> list[nn.Module]:
    """Takes the gradient from the parameters that some patterns match: they are not trained.

    Returns:
        The layers that must not be in training mode from now on: norms whose running statistics belong to what is
        frozen, because all parameters of theirs are, or where they have none all of the module around them.

    Raises:
        ConfigError: A pattern matches nothing.
    """
    if not patterns:
        return []
    names = name_parameters(task)
    every = (name for own in names.values() for name in own)
    chosen = set(find_matches("freeze", patterns, every, find_former_parameter_names(task)))
    for parameter, own in names.items():
        if not chosen.isdisjoint(own):
            parameter.requires_grad_(False)
    modules = dict(task.named_modules())
    return [
        module
        for name, module in modules.items()
        if isinstance(module, _NormBase) and module.track_running_stats and _is_frozen(name, modules)
    ]


def _is_frozen(name: str, modules: Mapping[str, nn.Module]) -> bool:
    """Whether the nearest module that has parameters, from a module outwards, has none that is trained."""
    while name and not any(True for _ in modules[name].parameters()):
        name = name.rpartition(".")[0]
    return not any(parameter.requires_grad for parameter in modules[name].parameters())


def resolve_group_options(
    names: Mapping[nn.Parameter, Sequence[str]],
    groups: Sequence[Mapping[str, Any]],
    former_names: Mapping[str, str] | None = None,
) -> dict[nn.Parameter, ParamOptions]:
    """The options that the entries of ``optimizer.groups`` give the parameters that they match.

    An entry is ``{match: PATTERN or [PATTERN, ...], lr_scale: ..., weight_decay: ...}``. All entries that match a
    parameter count; where two set the same option, the later one wins.

    Args:
        names: The names of each parameter that is trained.
        groups: The entries.
        former_names: As for ``find_matches``.

    Raises:
        ConfigError: A pattern matches nothing that is trained.
    """
    options: dict[nn.Parameter, dict[str, Any]] = {}
    for place, entry in enumerate(groups):
        match = entry["match"]
        every = [name for own in names.values() for name in own]
        patterns = [match] if isinstance(match, str) else list(match)
        chosen = set(find_matches(f"optimizer.groups[{place}].match", patterns, every, former_names))
        own = {key: value for key, value in entry.items() if key != "match"}
        for parameter, mine in names.items():
            if not chosen.isdisjoint(mine):
                options[parameter] = options.get(parameter, {}) | own
    return options  # type: ignore[return-value]
