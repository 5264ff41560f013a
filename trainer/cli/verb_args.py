"""Arguments of subcommands, ``key=value``, validated like a configuration."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any

from trainer.config import introspection, registry
from trainer.config.introspection import Parameter
from trainer.config.schema import Settings
from trainer.core.types import describe_type, is_valid_value
from trainer.runs.saved_run import OVERRIDABLE_KEYS
from trainer.utils.errors import ConfigError
from trainer.utils.suggest import did_you_mean

LITERALS = {"null": None, "true": True, "false": False}


def verb_parameters(verb: str, target: str, method: str | None = None) -> Mapping[str, Parameter]:
    """Return the parameters of the task method that implements a subcommand.

    Args:
        verb: Subcommand; also the name of the method, unless ``method`` is given.
        target: Class path of the task.

    Raises:
        ConfigError: The task has no such method.
    """
    found, method = introspection.read_signature(target), method or verb
    if found is None or method not in found.parameters_by_method:
        able = [
            option.name for option in registry.list_options("task").values() if _supports(method, option.class_path)
        ]
        raise ConfigError(f"the task of this run cannot {verb}; these can: {', '.join(able)}")
    return found.parameters_by_method[method]


def parse_verb_args(verb: str, words: Sequence[str], known: Mapping[str, Parameter]) -> dict[str, Any]:
    """Parse and validate the arguments of a subcommand.

    Values of text parameters are taken literally, so that a prompt needs no quotes but the shell's.

    Raises:
        ConfigError: With every problem.
    """
    given: dict[str, Any] = {}
    problems = []
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or key not in known:
            problems.append(_describe_unknown_key(verb, word, known))
            continue
        value = text if is_valid_value(text, known[key].kind) else _parse_value(text)
        if not is_valid_value(value, known[key].kind):
            problems.append(f"{verb} {key}: {text!r} given; it must be {describe_type(known[key].kind)}")
        given[key] = value
    needed = {name for name, parameter in known.items() if parameter.default is None}
    problems += [f"{verb} {key}: missing" for key in sorted(needed - given.keys())]
    if problems:
        raise ConfigError(*problems)
    return given


def _describe_unknown_key(verb: str, word: str, known: Mapping[str, Parameter]) -> str:
    """Describe an unknown key of a subcommand, with its own keys and those that depend on the machine."""
    key = word.partition("=")[0]
    names = (*known, *sorted(OVERRIDABLE_KEYS))
    if key in Settings.__dataclass_fields__ or key.split(".")[0] in registry.GROUPS:
        way = f"start a new run with {word}, or pass {verb} one of {', '.join(names)}"
        return f"{verb} {word}: the configuration of a trained run is fixed; {way}"
    return f"{verb} {word}: unknown{did_you_mean(key, names) or ';'} {', '.join(f'{name}=...' for name in names)}"


def _supports(method: str, target: str | None) -> bool:
    found = introspection.read_signature(target) if target else None
    return found is not None and method in found.parameters_by_method


def _parse_value(text: str) -> Any:
    if text in LITERALS:
        return LITERALS[text]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
