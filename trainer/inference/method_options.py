"""Options of the methods of a task or data set that implement a subcommand, read from their signatures."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from trainer.config import introspection, registry
from trainer.config.introspection import Parameter
from trainer.config.schema import Device
from trainer.core.types import PositiveInt, describe_type, is_valid_value
from trainer.utils.errors import ConfigError
from trainer.utils.suggest import did_you_mean

_ARGUMENTS = ("batch", "path", "rows", "with_targets")
"""Parameters of these methods that are not options."""


def find_task_options(target: str, verb: str, method: str | None = None) -> dict[str, Parameter]:
    """Return the options of the task method that implements a subcommand.

    Args:
        target: Class path of the task.
        verb: Subcommand; also the name of the method, unless ``method`` is given.
        method: Name of the method, if it differs.

    Raises:
        ConfigError: The task has no such method; the message has the subcommands that it implements.
    """
    methods, name = read_methods(target), method or verb
    if name not in methods:
        raise ConfigError(_describe_missing_method(verb, name, methods))
    return _without_arguments(methods[name])


def find_read_options(target: str) -> dict[str, Parameter]:
    """Return the options with which a data set reads another file.

    Args:
        target: Class path of the data set.
    """
    return _without_arguments(read_methods(target).get("read_chunks", {}))


def find_row_options(target: str) -> dict[str, Parameter]:
    """Return the options with which a data set encodes rows in memory.

    Args:
        target: Class path of the data set.
    """
    return _without_arguments(read_methods(target).get("encode_rows", {}))


def reads_without_file(target: str) -> bool:
    """Return whether ``read_chunks`` of a data set can do without a file, such as for new links of a graph.

    Args:
        target: Class path of the data set.
    """
    path = read_methods(target).get("read_chunks", {}).get("path")
    return path is not None and path.default is not None


def check_options(
    verb: str,
    options: Mapping[str, Any],
    parameters: Mapping[str, Parameter],
    file_options: Collection[str] = (),
) -> None:
    """Check options that are given from Python.

    Args:
        verb: Name of the method, for messages.
        options: Values by name.
        parameters: The options that exist.
        file_options: Options that would exist if the rows were given as the path of a file.

    Raises:
        ConfigError: An option is unknown or its value is invalid; all problems are listed.
    """
    problems = [
        f"{verb} {key}: it is about a file, but the rows are in memory"
        if key in file_options
        else f"{verb}: unknown option {key!r}{did_you_mean(key, parameters) or ';'}"
        f" it has {', '.join(parameters) or 'none'}"
        for key in sorted(options.keys() - parameters.keys())
    ]
    problems += [
        f"{verb} {key}: {value!r} given; it must be {describe_type(parameters[key].kind)}"
        for key, value in options.items()
        if key in parameters and not is_valid_value(value, parameters[key].kind)
    ]
    if problems:
        raise ConfigError(*problems)


def check_batch_size(batch_size: Any) -> None:
    """Raise ConfigError for an invalid number of rows per batch; None is valid."""
    check_options("predict", {"batch_size": batch_size}, {"batch_size": Parameter(PositiveInt | None, "None")})


def check_device(name: Any) -> None:
    """Raise ConfigError for an invalid name of a device."""
    check_options("load", {"device": name}, {"device": Parameter(Device, None)})


def read_methods(target: str) -> Mapping[str, Mapping[str, Parameter]]:
    """Return the parameters of each method of a class, by name.

    Args:
        target: Class path.
    """
    signature = introspection.read_signature(target)
    return {} if signature is None else signature.parameters_by_method


def _without_arguments(parameters: Mapping[str, Parameter]) -> dict[str, Parameter]:
    return {key: parameter for key, parameter in parameters.items() if key not in _ARGUMENTS}


def _describe_missing_method(verb: str, method: str, methods: Mapping[str, Any]) -> str:
    """Describe a subcommand that a task does not implement, with those that it does and the tasks that implement it."""
    forms = {"predict": "predict RUN input=PATH", "sample": "sample RUN", "score_rows": "score RUN input=PATH"}
    implemented = [f"train {form}" for name, form in forms.items() if name in methods]
    options = registry.list_options("task").values()
    tasks = [option.name for option in options if option.class_path and method in read_methods(option.class_path)]
    remedy = f"; use {' or '.join(implemented)}" if implemented else ""
    return f"the task of this run cannot {verb}; these can: {', '.join(tasks)}{remedy}"
