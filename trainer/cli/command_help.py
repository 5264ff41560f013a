"""Help of ``train`` and of each subcommand, generated from the table of commands."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from trainer.cli.text_columns import get_line_width, print_table, print_text
from trainer.runs.commands import COMMANDS, OVERRIDABLE_KEYS

FORM_WIDTH = 41
"""Width of the column of forms."""
MIN_EFFECT_WIDTH = 36
"""Minimum width of the column of effects; if there is less space, effects stand below their forms."""
_TRAINING_FORMS = {
    "train model=lstm data=synthetic_seq": "train, validate, test, report",
    "train -m model=lstm,gru seed=0,1,2": "train every combination, rank them in a leaderboard",
}
_NOTES = """\
A run that uses classes of your own module needs its name again: train evaluate RUN plugins=[your_module]

Hydra flags: -m sweep, --cfg job shows the configuration, --resolve, --info, --config-dir DIR adds your own \
YAML files (with plugins=[your_module] for classes), --shell-completion, --hydra-help.

Exit codes: 0 success, 1 internal error or a failed job of a sweep, 2 invalid input, 3 NaN or infinite loss, \
4 system error, 129/130/143 interrupted and resumable. train COMMAND --help explains a command."""


def print_help() -> None:
    """Print the help of ``train``."""
    print("train trains any neural network from a configuration.\n")
    _print_forms(_TRAINING_FORMS)
    for name in COMMANDS:
        _print_forms(_name_forms(name))
    print()
    print_text(_NOTES)


def print_command_help(name: str) -> None:
    """Print the help of a subcommand: its forms, the keys that it takes, and an example.

    Args:
        name: Name of the subcommand.
    """
    command = COMMANDS[name]
    _print_forms(_name_forms(name))
    print()
    if command.note:
        print_text(command.note)
    if command.keys:
        print_table([("KEY", "MEANING"), *command.keys.items()])
    if command.options:
        print_table([("KEY", "FOR SOME KINDS OF DATA"), *command.options.items()])
    if name == "sample":
        print_table([("KEY", "DEFAULT", "TYPE", "TASKS"), *_list_sample_keys()])
    if command.takes_run:
        print_text(
            f"For a RUN: {', '.join(sorted(OVERRIDABLE_KEYS))} (train show explains them), data.KEY=PATH for data files"
            " that have moved, and plugins=[your_module] for classes of your own module."
        )
    print(f"Example: train {name} {command.example}")


def _name_forms(name: str) -> dict[str, str]:
    """Return the effect of each form of a subcommand by the whole form."""
    return {f"train {name} {arguments}": effect for arguments, effect in COMMANDS[name].forms.items()}


def _print_forms(forms: Mapping[str, str]) -> None:
    """Print forms with their effects beside them, or below them on a narrow terminal; forms stay on one line."""
    line_width = get_line_width()
    is_stacked = line_width - FORM_WIDTH < MIN_EFFECT_WIDTH
    column = 6 if is_stacked else FORM_WIDTH + 3
    for form, effect in forms.items():
        is_short = len(form) <= FORM_WIDTH
        if not is_stacked and not is_short and len(form) + len(effect) + 4 <= line_width:
            print(f"  {form}  {effect}".rstrip())
            continue
        lines = textwrap.wrap(effect, line_width - column, break_on_hyphens=False)
        first = lines.pop(0) if lines and is_short and not is_stacked else ""
        print(f"  {form:<{FORM_WIDTH}} {first}".rstrip())
        for line in lines:
            print(f"{'':{column}}{line}")


def _list_sample_keys() -> list[tuple[str, str, str, str]]:
    """Return ``(key, default, type, names of tasks)`` of the options of ``sample``, read from the tasks."""
    from trainer.config import introspection, registry
    from trainer.core.types import describe_type

    tasks: dict[tuple[str, str, str], list[str]] = {}
    for option in registry.list_options("task").values():
        signature = introspection.read_signature(option.class_path) if option.class_path else None
        parameters = signature.parameters_by_method.get("sample", {}) if signature else {}
        for key, parameter in parameters.items():
            default = {None: "required", "None": "null"}.get(parameter.default, parameter.default)
            row = key, str(default), describe_type(parameter.kind)
            tasks.setdefault(row, []).append(option.name)
    return [(*row, ", ".join(names)) for row, names in sorted(tasks.items())]
