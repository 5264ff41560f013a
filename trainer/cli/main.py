"""The command ``train``: a first word without ``=`` is a subcommand, everything else is Hydra's override grammar.

Imports are lazy: help and lists need no Hydra, errors no torch.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from trainer.cli import argv, evaluate, export, show
from trainer.config import parallel_keys
from trainer.runs import slurm
from trainer.utils import signals, stdio
from trainer.utils.errors import ConfigError, SystemFault, UserError
from trainer.utils.gc_pause import pause_gc
from trainer.utils.suggest import did_you_mean
from trainer.utils.text import escape_control_chars, escape_unencodable

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
    verbs: dict[str, Callable[[Sequence[str]], int]] = {
        "list": show.list_options,
        "show": show.show_details,
        "resume": resume_run,
        "evaluate": evaluate.evaluate_run,
        "predict": predict_run,
        "sample": sample_run,
        "score": score_run,
        "serve": serve_run,
        "export": export.export_run,
        "report": print_leaderboard,
    }
    if first and "=" not in first and first[0] not in "-+~":
        if first not in verbs:
            raise ConfigError(_describe_unknown_command(first, arguments[1:], verbs))
        return verbs[first](arguments[1:])
    return compose_and_run(arguments)


def _describe_unknown_command(word: str, rest: Sequence[str], verbs: Iterable[str]) -> str:
    """Describe an unknown subcommand: how to set a key or choose an option of that name, or the nearest name."""
    from trainer.config import registry
    from trainer.config.schema import Settings

    if word in (*registry.GROUPS, *Settings.__dataclass_fields__):
        value = rest[0] if rest and "=" not in rest[0] else "VALUE"
        return f"unknown command {word!r}: it is a configuration key; set it by: train {word}={value}"
    commands = [f"train {group}={word}" for group in registry.GROUPS if word in registry.list_options(group)]
    if commands:
        return f"unknown command {word!r}; choose it by: {' or '.join(commands)}"
    return f"unknown command {word!r}{did_you_mean(word, verbs) or ';'} one of {', '.join(verbs)}"


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
        from trainer.config.overrides import is_set, quote_letters

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
    with pause_gc(freeze=True):
        from trainer.runs import resume_changes, train
    with slurm.requeue_on_warning(is_resumable=resume_changes.continues_itself(composed)):
        train.run(composed)
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


def resume_run(arguments: Sequence[str]) -> int:
    """Run ``train resume RUN [key=value ...]``."""
    from trainer.cli import verb_args
    from trainer.runs import run_overrides

    saved, rest = run_overrides.load_from_args("resume", parallel_keys.with_launched_processes(arguments))
    verb_args.parse_verb_args("resume", rest, {})
    with pause_gc(freeze=True):
        from trainer.runs import train
    with slurm.requeue_on_warning(is_resumable=True):
        train.resume_run(saved)
    return 0


def predict_run(arguments: Sequence[str]) -> int:
    """Run ``train predict RUN [input=PATH] [output=PATH] [key=value ...]``.

    Args:
        arguments: Words after ``train predict``.
    """
    from trainer.cli import verb_args
    from trainer.runs import run_overrides

    saved, rest = run_overrides.load_from_args("predict", arguments)
    file_arguments = verb_args.parse_file_args("predict", rest, saved.tree)
    with pause_gc(freeze=True):
        from trainer.inference import predict
    predict.predict_run(saved, *file_arguments)
    return 0


def sample_run(arguments: Sequence[str]) -> int:
    """Run ``train sample RUN key=value ...``."""
    from trainer.cli import verb_args
    from trainer.inference import method_options
    from trainer.runs import run_overrides

    saved, rest = run_overrides.load_from_args("sample", arguments)
    parameters = method_options.find_task_options(saved.tree["task"]["_target_"], "sample")
    keys = verb_args.make_parameters("sample", {"output": str})
    options = verb_args.parse_verb_args("sample", rest, keys | parameters)
    output = options.pop("output", None)
    with pause_gc(freeze=True):
        from trainer.inference import sample
    for piece in sample.sample_run(saved, options, output):
        print(escape_unencodable(escape_control_chars(piece)), end="", flush=True)
    print()
    return 0


def score_run(arguments: Sequence[str]) -> int:
    """Run ``train score RUN [input=PATH] [output=PATH] [key=value ...]``."""
    from trainer.cli import verb_args
    from trainer.runs import run_overrides

    saved, rest = run_overrides.load_from_args("score", arguments)
    file_arguments = verb_args.parse_file_args("score", rest, saved.tree, "score_rows")
    with pause_gc(freeze=True):
        from trainer.inference import score
    score.score_run(saved, *file_arguments[:-1])  # the method of the task has no options
    return 0


def serve_run(arguments: Sequence[str]) -> int:
    """Run ``train serve RUN [port=PORT] [host=ADDRESS]``."""
    from trainer.cli import verb_args
    from trainer.config.schema import Port
    from trainer.core.types import PositiveFloat
    from trainer.inference import method_options
    from trainer.runs import run_overrides

    saved, rest = run_overrides.load_from_args("serve", arguments)
    method_options.find_task_options(saved.tree["task"]["_target_"], "serve", "predict")
    keys = verb_args.make_parameters("serve", {"port": Port, "host": str, "max_megabytes": PositiveFloat})
    options = verb_args.parse_verb_args("serve", rest, keys)
    with pause_gc(freeze=True):
        from trainer.inference import serve, trained_model
    model = trained_model.load_from_config(saved)
    serve.serve_model(
        model, options.get("host", "127.0.0.1"), options.get("port", 8000), options.get("max_megabytes", 32.0)
    )
    return 0


def print_leaderboard(arguments: Sequence[str]) -> int:
    """Run ``train report [DIR]``.

    Args:
        arguments: Words after ``train report``: a directory, or none for ``outputs``.

    Raises:
        ConfigError: There are several arguments, or the directory does not exist.
    """
    from trainer.runs import leaderboard

    if len(arguments) > 1:
        raise ConfigError("train report takes one directory")
    leaderboard.show_leaderboard(Path(arguments[0] if arguments else "outputs"))
    return 0
