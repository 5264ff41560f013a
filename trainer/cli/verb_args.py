"""Arguments of subcommands, ``key=value``, validated like a configuration."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from trainer.config import registry
from trainer.config.introspection import Parameter
from trainer.config.schema import Settings
from trainer.core.types import PositiveInt, describe_type, is_valid_value
from trainer.inference import method_options
from trainer.runs.commands import COMMANDS, OVERRIDABLE_KEYS, TRAINING_KEYS
from trainer.utils.errors import ConfigError
from trainer.utils.suggest import did_you_mean

LITERALS = {"null": None, "true": True, "false": False}


def make_parameters(verb: str, kinds: Mapping[str, Any]) -> dict[str, Parameter]:
    """Return optional parameters of a subcommand, which its help lists.

    Args:
        verb: Subcommand.
        kinds: Types by key.
    """
    assert kinds.keys() <= COMMANDS[verb].keys.keys()
    return {key: Parameter(kind, default="") for key, kind in kinds.items()}


class FileArguments(NamedTuple):
    """Arguments of a subcommand that reads rows and writes a file.

    Attributes:
        input_path: File with the rows; None for the test rows.
        output: File to write; None for the default.
        batch_size: Rows per batch; None for that of evaluation.
        read_options: Options with which the data set reads the file.
        task_options: Options of the method of the task.
    """

    input_path: str | None
    output: str | None
    batch_size: int | None
    read_options: dict[str, Any]
    task_options: dict[str, Any]


def parse_file_args(
    verb: str, words: Sequence[str], tree: Mapping[str, Any], method: str | None = None
) -> FileArguments:
    """Parse the arguments of a subcommand that reads rows and writes a file.

    Args:
        verb: Subcommand; also the name of the method of the task, unless ``method`` is given.
        words: Arguments of the form ``key=value``.
        tree: Configuration of the run.
        method: Name of the method, if it differs.

    Raises:
        ConfigError: An argument is invalid, or an option of the file is given without a file.
    """
    task_keys = method_options.find_task_options(tree["task"]["_target_"], verb, method)
    read_keys = method_options.find_read_options(tree["data"]["_target_"])
    keys = make_parameters(verb, {"input": str, "output": str, "batch_size": PositiveInt})
    options = parse_verb_args(verb, words, keys | read_keys | task_keys)
    unused = sorted(options.keys() & read_keys.keys())
    if unused and "input" not in options and not method_options.reads_without_file(tree["data"]["_target_"]):
        raise ConfigError(f"{verb} {unused[0]}: it is about the file that input=PATH names, which is missing")
    return FileArguments(
        options.get("input"),
        options.get("output"),
        options.get("batch_size"),
        {key: options[key] for key in read_keys if key in options},
        {key: options[key] for key in task_keys if key in options},
    )


def parse_verb_args(verb: str, words: Sequence[str], parameters: Mapping[str, Parameter]) -> dict[str, Any]:
    """Parse and validate the arguments of a subcommand.

    Values of string parameters are taken literally, so that a prompt needs no quotes other than the shell's.

    Args:
        verb: Subcommand, for messages.
        words: Arguments of the form ``key=value``.
        parameters: Allowed keys with types and defaults; those without a default are required.

    Raises:
        ConfigError: An argument is unknown, invalid or missing; all problems are listed.
    """
    values: dict[str, Any] = {}
    problems = []
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or key not in parameters:
            problems.append(_describe_unknown_key(verb, word, parameters))
            continue
        parsed, kind = _parse_value(text), parameters[key].kind
        # A column is given by its name or its number.
        is_literal = not is_valid_value(text, kind) or (type(parsed) is int and is_valid_value(parsed, kind))
        value = parsed if is_literal else text
        if not is_valid_value(value, parameters[key].kind):
            problems.append(f"{verb} {key}: {text!r} given; it must be {describe_type(parameters[key].kind)}")
        values[key] = value
    required = {name for name, parameter in parameters.items() if parameter.default is None}
    problems += [f"{verb} {key}: missing" for key in sorted(required - values.keys())]
    if problems:
        raise ConfigError(*problems)
    return values


def _describe_unknown_key(verb: str, word: str, parameters: Mapping[str, Parameter]) -> str:
    """Describe an unknown key of a subcommand, with the keys that are allowed, including runtime keys."""
    key = word.partition("=")[0]
    runtime_keys = OVERRIDABLE_KEYS if COMMANDS[verb].takes_run else set()
    names = (*parameters, *sorted(runtime_keys | (TRAINING_KEYS.keys() & COMMANDS[verb].keys)))
    if key in Settings.__dataclass_fields__ or key.split(".")[0] in registry.GROUPS:
        remedy = f"start a new run with {word}"
        if verb == "resume":
            remedy = f"the command line of the run with resume=RUN {word} continues it as a new run"
        reason = f"the configuration of a trained run is fixed; {remedy}"
        return f"{verb} {word}: {reason}; {verb} accepts {', '.join(names)}"
    return f"{verb} {key}: unknown key{did_you_mean(key, names) or ';'} {', '.join(f'{name}=...' for name in names)}"


def _parse_value(text: str) -> Any:
    if text in LITERALS:
        return LITERALS[text]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
