"""The command ``train``: a first word without ``=`` is a subcommand, everything else is Hydra's override grammar.

Imports are lazy: help and lists need no Hydra, errors no torch.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence

from trainer.cli import argv
from trainer.cli.verbs import VERBS
from trainer.config import debug_keys, parallel_keys
from trainer.runs import slurm
from trainer.utils import signals, stdio
from trainer.utils.errors import ConfigError, SystemFault, UserError
from trainer.utils.gc_pause import pause_gc
from trainer.utils.text import escape_control_chars

MAX_ERROR_LINES = 10
MAX_LINE_LENGTH = 2000
"""Maximum number of characters in a line of an error: enough for the longest list of names."""


def main() -> None:
    """Run the console script."""
    streams = stdio.protect_std_streams()
    arguments = sys.argv[1:]
    try:
        with signals.exit_on_interrupt():
            code = run_process(arguments)
            stdio.raise_write_errors(streams)
    except UserError as error:
        if "debug=true" in [argument.lower() for argument in arguments] or os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        print(format_error(error), file=sys.stderr)
        code = error.exit_code
    except KeyboardInterrupt:
        code = 130
    gc.freeze()  # at its exit, the interpreter would visit every object of every module once more, for half a second
    sys.exit(code)


def format_error(error: UserError) -> str:
    """Format an error for the terminal: at most ``MAX_ERROR_LINES`` lines, control characters escaped."""
    lines = str(error).splitlines()
    remainder = [f"... and {len(lines) - MAX_ERROR_LINES + 1} more"] if len(lines) > MAX_ERROR_LINES else []
    visible = [
        line if len(line) <= MAX_LINE_LENGTH else f"{line[: MAX_LINE_LENGTH - 4]} ..."
        for line in lines[: MAX_ERROR_LINES - len(remainder)]
    ]
    return escape_control_chars(
        "\n".join(f"{'error: ' if not i else '       '}{line}" for i, line in enumerate([*visible, *remainder]))
    )


def run_process(arguments: Sequence[str]) -> int:
    """Run a command line in one process, or in process 0 of several; the others wait for what it trains.

    Args:
        arguments: Words after ``train``.
    """
    if parallel_keys.count_launched_processes() == 1:
        return run_command(arguments)
    with pause_gc(freeze=True):
        from trainer.runs import process_groups, worker
    if os.environ["RANK"] != "0":
        worker.run_worker()
    code = run_command(arguments)
    process_groups.release_launched_workers()
    return code


def run_command(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code.

    Args:
        arguments: Words after ``train``.

    Raises:
        UserError: The command fails; the exit code is that of the exception.
    """
    first = arguments[0] if arguments else ""
    if first in ("help", "--help", "-h"):  # also "train help list"
        return print_help(next(iter(arguments[1:]), ""))
    if any(argument in ("--help", "-h") for argument in arguments):
        return print_help(first)
    check_working_dir()
    if first and "=" not in first and first[0] not in "-+~":
        if first not in VERBS:
            from trainer.cli.unknown_command import describe_unknown_command

            raise ConfigError(describe_unknown_command(first, arguments[1:]))
        return VERBS[first](arguments[1:])
    return compose_and_run(arguments)


def check_working_dir() -> None:
    """Raise SystemFault if the working directory has been deleted: paths are relative to it."""
    try:
        os.getcwd()
    except OSError as error:
        raise SystemFault(
            f"the working directory no longer exists ({error.strerror}); change to one that does"
        ) from error


def compose_and_run(arguments: Sequence[str]) -> int:
    """Train one run, run a sweep, or let Hydra handle its own flags.

    Raises:
        ConfigError: The command line is invalid.
    """
    with pause_gc():
        from trainer.config import compose, hydra_sweep, launcher_options
        from trainer.config.override_parser import is_set, quote_letters

    words, config_dirs, flags = argv.split_args(arguments)
    overrides = parallel_keys.with_launched_processes([quote_letters(word) for word in words])
    if "--version" in flags:
        return print_version()
    is_sweep = "--multirun" in flags
    if is_sweep and parallel_keys.count_launched_processes() > 1:
        raise ConfigError("-m: torchrun starts the processes of a single run; devices=2 gives each job of a sweep two")
    launcher, overrides = launcher_options.split_launcher(overrides, config_dirs, is_sweep=is_sweep)
    if flags & argv.HYDRA_FLAGS or any(text.startswith(("hydra/sweeper=", "hydra/launcher=")) for text in overrides):
        from trainer.runs import sweep

        if "--shell-completion" in flags or "--hydra-help" in flags:
            argv.check_standalone_flag(overrides, config_dirs, flags)
        elif is_sweep:
            hydra_sweep.check_hydra_sweep(overrides, config_dirs)
        else:
            compose.compose(overrides, config_dirs, is_single_run=not flags & argv.HYDRA_FLAGS)
        return sweep.run_with_hydra(argv.make_hydra_args(arguments), overrides, config_dirs)
    if is_sweep:
        from trainer.runs import sweep

        with slurm.requeue_on_warning(is_resumable=is_set(overrides, "resume", "auto")):
            return sweep.run_sweep(overrides, config_dirs, launcher)
    composed = compose.compose(overrides, config_dirs, is_single_run=True)
    if composed.settings.debug == debug_keys.OVERFIT:
        with pause_gc(freeze=True):
            from trainer.runs import overfit_run
        return overfit_run.check_overfit(composed)
    with pause_gc(freeze=True):
        from trainer.runs import resume_changes, train
    with slurm.requeue_on_warning(is_resumable=resume_changes.continues_itself(composed)):
        train.run(composed)
    if composed.settings.debug == debug_keys.FAST:
        print("debug=fast: one step and one batch of each split; leaderboards leave this run out")
    return 0


def print_help(first: str) -> int:
    """Run ``train --help``, or ``train COMMAND --help``.

    Args:
        first: First word of the command line.
    """
    from trainer.cli import command_help
    from trainer.runs.commands import COMMANDS

    if first in COMMANDS:
        command_help.print_command_help(first)
    else:
        command_help.print_help()
    return 0


def print_version() -> int:
    """Run ``train --version``."""
    from importlib import metadata

    names = ("train-zoo", "torch", "hydra-core")
    print(", ".join(f"{name} {metadata.version(name)}" for name in names), f"(Python {sys.version.split()[0]})")
    return 0
