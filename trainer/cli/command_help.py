"""Help of ``train`` and of each subcommand, generated from the table of commands."""

from __future__ import annotations

from trainer.cli.text_columns import print_table, print_text
from trainer.runs.commands import COMMANDS, OVERRIDABLE_KEYS

FORM_WIDTH = 41
"""Width of the column of forms."""
_TEMPLATE = """\
train trains any neural network from a configuration.

  train model=lstm data=synthetic_seq       train, validate, test, report
  train -m model=lstm,gru seed=0,1,2        train every combination, rank them in a leaderboard
{forms}
  A run that uses classes of your own module needs its name again: train evaluate RUN plugins=[your_module]

Hydra flags: -m sweep, --cfg job shows the configuration, --resolve, --info, --config-dir DIR adds your own
YAML files (with plugins=[your_module] for classes), --shell-completion, --hydra-help.
Exit codes: 0 success, 1 internal error or a failed job of a sweep, 2 invalid input, 3 NaN or infinite loss,
4 system error, 129/130/143 interrupted and resumable.
"""


def print_help() -> None:
    """Print the help of ``train``."""
    print(_TEMPLATE.format(forms="\n".join(line for name in COMMANDS for line in _format_forms(name))), end="")


def print_command_help(name: str) -> None:
    """Print the help of a subcommand: its forms, the keys that it takes, and an example.

    Args:
        name: Name of the subcommand.
    """
    command = COMMANDS[name]
    print("\n".join(_format_forms(name)), end="\n\n")
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


def _format_forms(name: str) -> list[str]:
    lines = []
    for arguments, effect in COMMANDS[name].forms.items():
        form = f"train {name} {arguments}"
        separator = " " if len(form) <= FORM_WIDTH else "  "
        lines.append(f"  {form:<{FORM_WIDTH}}{separator}{effect}".rstrip())
    return lines


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
