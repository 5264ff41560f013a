"""The command ``train``. A first word without ``=`` is a verb; everything else is Hydra's override grammar.

Nothing heavy is imported before it is needed: help and lists come without Hydra, errors without torch.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from trainer.cli import argv, show
from trainer.utils import signals, stdio
from trainer.utils.errors import ConfigError, SystemFault, UserError, did_you_mean
from trainer.utils.text import escape_control_chars, escape_unencodable

HELP = """\
train trains any neural network from a configuration.

  train model=lstm data=synthetic_seq       train, validate, test, report
  train -m model=lstm,gru seed=0,1,2        every combination, and a leaderboard
  train list [models|data|tasks|optimizers|schedulers|loggers|experiments]
  train show [model=NAME | data=NAME | ...] keys with type, default and meaning; without a name the daily ones
  train show data=NAME augment=NAME samples=N  training pictures as the first epochs see them
  train show RUN [features=LAYER row=N]     the layers of a run's model, or what one of them makes of a test row
  train resume RUN                          go on with a run that was stopped, to the same bits
  train evaluate RUN                        score the best weights of a run on its test rows
  train sample RUN [prompt=TEXT ...]        what its best weights make: a text that goes on, a translation, a graph
  train score RUN [input=PATH]              how ordinary each row of a file is to it (default: its own test rows)
  train report [FOLDER]                     the leaderboard of all runs in a folder (default: outputs)
  A run whose classes are of a module of yours is opened by naming it again: train evaluate RUN plugins=[your_module]

Options of Hydra's: -m sweep, --cfg job shows the configuration, --resolve, --info, --config-dir DIR adds your own
YAML files (with plugins=[your_module] for classes), --shell-completion, --hydra-help.
Exit codes: 0 done, 1 a fault of ours, 2 bad input, 3 not finite, 4 environment, 129/130/143 interrupted and resumable.
"""
MAX_ERROR_LINES = 10
MAX_LINE_LENGTH = 2000
"""Letters of a line of an error: enough for every list of names there is."""


def main() -> None:
    """The console script."""
    streams = stdio.protect_std_streams()
    arguments = sys.argv[1:]
    try:
        with signals.exit_on_interrupt():
            code = run_command(arguments)
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
    """What is told of an error: a few lines, whatever is in it."""
    lines = str(error).splitlines()
    more = [f"... and {len(lines) - MAX_ERROR_LINES + 1} more"] if len(lines) > MAX_ERROR_LINES else []
    shown = [
        line if len(line) <= MAX_LINE_LENGTH else f"{line[: MAX_LINE_LENGTH - 4]} ..."
        for line in lines[: MAX_ERROR_LINES - len(more)]
    ]
    return escape_control_chars(
        "\n".join(f"{'error: ' if not i else '       '}{line}" for i, line in enumerate([*shown, *more]))
    )


def run_command(arguments: Sequence[str]) -> int:
    """Runs one command line and returns its exit code."""
    if any(argument in ("--help", "-h") for argument in arguments) or list(arguments) == ["help"]:
        print(HELP, end="")
        return 0
    check_working_dir()
    verbs: dict[str, Callable[[Sequence[str]], int]] = {
        "list": show.list_options,
        "show": show.show_details,
        "resume": resume_run,
        "evaluate": evaluate_run,
        "sample": sample_run,
        "score": score_run,
        "report": print_leaderboard,
    }
    first = arguments[0] if arguments else ""
    if first and "=" not in first and first[0] not in "-+~":
        if first not in verbs:
            raise ConfigError(_describe_unknown_command(first, arguments[1:], verbs))
        return verbs[first](arguments[1:])
    return compose_and_run(arguments)


def _describe_unknown_command(word: str, rest: Sequence[str], verbs: Iterable[str]) -> str:
    """Of something that can be chosen or set, how that is done; of anything else, the nearest verb."""
    from trainer.config import registry
    from trainer.config.schema import Settings

    if word in (*registry.GROUPS, *Settings.__dataclass_fields__):
        value = rest[0] if rest and "=" not in rest[0] else "VALUE"
        return f"unknown command {word!r}: it is a key, which is set by: train {word}={value}"
    ways = [f"train {group}={word}" for group in registry.GROUPS if word in registry.list_options(group)]
    if ways:
        return f"unknown command {word!r}; it is chosen by: {' or '.join(ways)}"
    return f"unknown command {word!r}{did_you_mean(word, verbs) or ';'} one of {', '.join(verbs)}"


def check_working_dir() -> None:
    """Raises SystemFault where there is none: paths, and the folder of all runs, are looked for in it."""
    try:
        os.getcwd()
    except OSError as error:
        raise SystemFault(f"the working folder is gone ({error.strerror}); go to one that exists") from error


def compose_and_run(arguments: Sequence[str]) -> int:
    """One run, a sweep, or one of Hydra's own abilities."""
    from trainer.config import compose

    overrides, folders, given = argv.split_args(arguments)
    if "--version" in given:
        return print_version()
    is_sweep = "--multirun" in given
    if given & argv.HYDRA_FLAGS or any(text.startswith(("hydra/sweeper=", "hydra/launcher=")) for text in overrides):
        from trainer.runs import sweep

        if "--shell-completion" in given or "--hydra-help" in given:
            argv.check_standalone_flag(overrides, folders, given)
        elif is_sweep:
            compose.check_hydra_sweep(overrides, folders)
        else:
            compose.compose(overrides, folders)
        return sweep.run_with_hydra(argv.make_hydra_args(arguments), overrides, folders)
    if is_sweep:
        from trainer.runs import sweep

        return sweep.run_sweep(overrides, folders)
    composed = compose.compose(overrides, folders)
    from trainer.runs import train

    train.run(composed)
    return 0


def print_version() -> int:
    """``train --version``"""
    from importlib import metadata

    names = ("train-zoo", "torch", "hydra-core")
    print(", ".join(f"{name} {metadata.version(name)}" for name in names), f"(Python {sys.version.split()[0]})")
    return 0


def resume_run(arguments: Sequence[str]) -> int:
    """``train resume RUN [key=value ...]``"""
    from trainer.cli import verb_args
    from trainer.runs import saved_run

    kept, more = saved_run.load_from_args("resume", arguments)
    verb_args.parse_verb_args("resume", more, {})
    from trainer.runs import train

    train.resume_run(kept)
    return 0


def evaluate_run(arguments: Sequence[str]) -> int:
    """``train evaluate RUN [key=value ...]``"""
    from trainer.cli import verb_args
    from trainer.runs import saved_run

    kept, more = saved_run.load_from_args("evaluate", arguments)
    verb_args.parse_verb_args("evaluate", more, {})
    from trainer.runs import inference

    inference.evaluate_run(kept)
    return 0


def sample_run(arguments: Sequence[str]) -> int:
    """``train sample RUN key=value ...``"""
    from trainer.cli import verb_args
    from trainer.runs import saved_run

    kept, more = saved_run.load_from_args("sample", arguments)
    known = verb_args.verb_parameters("sample", kept.tree["task"]["_target_"])
    options = verb_args.parse_verb_args("sample", more, known)
    from trainer.runs import inference

    for piece in inference.sample(kept, options):
        print(escape_unencodable(escape_control_chars(piece)), end="", flush=True)
    print()
    return 0


def score_run(arguments: Sequence[str]) -> int:
    """``train score RUN [input=PATH]``"""
    from trainer.cli import verb_args
    from trainer.config.introspection import Parameter
    from trainer.runs import saved_run

    kept, more = saved_run.load_from_args("score", arguments)
    verb_args.verb_parameters("score", kept.tree["task"]["_target_"], method="score_rows")
    options = verb_args.parse_verb_args("score", more, {"input": Parameter(str, default="its own test rows")})
    from trainer.runs import inference

    inference.score(kept, options.get("input"))
    return 0


def print_leaderboard(arguments: Sequence[str]) -> int:
    """``train report [FOLDER]``"""
    from trainer.runs import leaderboard

    if len(arguments) > 1:
        raise ConfigError("train report takes one folder")
    leaderboard.show_leaderboard(Path(arguments[0] if arguments else "outputs"))
    return 0
