"""The command ``train``. A first word without ``=`` is a verb; everything else is Hydra's override grammar.

Nothing heavy is imported before it is needed: help and lists come without Hydra, errors without torch.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.errors import ConfigError, UserError, did_you_mean, nearest_folder

if TYPE_CHECKING:
    from trainer.catalog import Option
    from trainer.config import Config

HELP = """\
train trains any neural network from a configuration.

  train model=lstm data=synthetic_seq       train, validate, test, report
  train -m model=lstm,gru seed=0,1,2        every combination, and a leaderboard
  train list [models|data|tasks|optimizers|schedulers|experiments]
  train show [model=NAME | data=NAME | ...] keys with type, default and meaning; without a name the daily ones
  train resume RUN                          go on with a run that was stopped, to the same bits
  train evaluate RUN                        score the best weights of a run on its test rows
  train sample RUN [prompt=TEXT ...]        what its best weights write: a text that goes on, or a translation
  train report [FOLDER]                     the leaderboard of all runs in a folder (default: outputs)

Options of Hydra's: -m sweep, --cfg job shows the configuration, --resolve, --info, --config-dir DIR adds your own
YAML files (with plugins=[your_module] for classes), --shell-completion, --hydra-help.
Exit codes: 0 done, 1 a fault of ours, 2 bad input, 3 not finite, 4 environment, 130/143 interrupted and resumable.
"""
SHOWN_LINES = 10
WITH_VALUE = frozenset({"--config-dir", "-cd", "--cfg", "-c", "--package", "-p"})
HYDRAS_OWN = frozenset(
    {
        *("--cfg", "-c", "--package", "-p", "--info", "-i", "--resolve", "--hydra-help", "--version"),
        *("--shell-completion", "-sc"),
    }
)


def main() -> None:
    """The console script."""
    arguments = sys.argv[1:]
    try:
        sys.exit(dispatch(arguments))
    except UserError as error:
        if "debug=true" in [argument.lower() for argument in arguments] or os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        lines = str(error).splitlines()
        more = [f"... and {len(lines) - SHOWN_LINES + 1} more"] if len(lines) > SHOWN_LINES else []
        shown = lines[: SHOWN_LINES - len(more)] + more
        print("\n".join(f"{'error: ' if not i else '       '}{line}" for i, line in enumerate(shown)), file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader (head, less) has seen enough; nothing is left to flush to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


def dispatch(arguments: Sequence[str]) -> int:
    """Runs one command line and returns its exit code."""
    if any(argument in ("--help", "-h") for argument in arguments) or list(arguments) == ["help"]:
        print(HELP, end="")
        return 0
    verbs: dict[str, Callable[[Sequence[str]], int]] = {
        "list": list_options,
        "show": show,
        "resume": resume,
        "evaluate": evaluate,
        "sample": sample,
        "report": report,
    }
    first = arguments[0] if arguments else ""
    if first and "=" not in first and first[0] not in "-+~":
        if first not in verbs:
            raise ConfigError(
                f"{first!r} is no verb of train{did_you_mean(first, verbs) or ';'} one of {', '.join(verbs)}"
            )
        return verbs[first](arguments[1:])
    return compose_and_run(arguments)


def compose_and_run(arguments: Sequence[str]) -> int:
    """One run, a sweep, or one of Hydra's own abilities."""
    from trainer import config

    overrides, folders, flags = split_flags(arguments)
    is_sweep = bool({"-m", "--multirun"} & flags)
    if flags & HYDRAS_OWN or any(text.startswith(("hydra/sweeper=", "hydra/launcher=")) for text in overrides):
        from trainer import sweep

        if is_sweep:
            config.check_sweep_by_hydra(overrides, folders)
        elif not flags & {"-sc", "--shell-completion", "--hydra-help", "--version"}:
            config.compose(overrides, folders)
        return sweep.through_hydra()
    if is_sweep:
        from trainer import sweep

        return sweep.sweep(overrides, folders)
    composed = config.compose(overrides, folders)
    from trainer import runner

    runner.run(composed)
    return 0


def split_flags(arguments: Sequence[str]) -> tuple[list[str], list[Path], set[str]]:
    """(overrides, the user's own YAML folders, the flags given).

    Raises ConfigError for a flag that neither we nor Hydra know, or a folder that is not there.
    """
    known = {"-m", "--multirun", *WITH_VALUE, *HYDRAS_OWN}
    overrides: list[str] = []
    folders: list[Path] = []
    flags: set[str] = set()
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            overrides.append(word)
            continue
        flag, _, value = word.partition("=")
        if flag not in known:
            raise ConfigError(f"{flag}: unknown option{did_you_mean(flag, known) or ';'} train --help lists them")
        flags.add(flag)
        if flag in WITH_VALUE and not value:
            value = rest.pop(0) if rest else ""
        if flag in ("--config-dir", "-cd"):
            folders.append(_folder(value))
    return overrides, folders, flags


def _folder(name: str) -> Path:
    if not name:
        raise ConfigError("--config-dir: takes a folder of your YAML files")
    path = Path(name).expanduser().absolute()
    there = nearest_folder(path)
    if there != path:
        raise ConfigError(f"--config-dir: no folder {path}; the nearest that exists is {there}")
    return path


def list_options(arguments: Sequence[str]) -> int:
    """One line for each thing there is to choose from."""
    from trainer import catalog

    plural = {"models": "model", "tasks": "task", "optimizers": "optimizer", "schedulers": "scheduler"}
    plural |= {"experiments": "experiment", "data": "data"} | {group: group for group in catalog.GROUPS}
    wanted = []
    words, folders, _ = split_flags(arguments)
    for word in words:
        if word not in plural:
            near = did_you_mean(word, plural)
            raise ConfigError(f"train list {word}: nothing of that name{near or ';'} one of {', '.join(plural)}")
        wanted.append(plural[word])
    for group in wanted or catalog.GROUPS:
        options = catalog.options(group, folders).values()
        if not options:
            continue
        rows = [(option.name, option.task or "", option.contract, option.description) for option in options]
        titles = (group.upper(), "TASK", "SHAPES", "")
        _print_table([titles, *rows] if group in ("model", "data") else [(r[0], "", "", r[3]) for r in [titles, *rows]])
    return 0


def show(arguments: Sequence[str]) -> int:
    """Keys with type, default and meaning: of one option, or the flat ones."""
    from trainer import catalog, plugins, signature

    words, folders, _ = split_flags(arguments)
    for word in words:
        if word.startswith("plugins="):
            plugins.declare(word.partition("=")[2].strip("[]").split(","))
    named = [word for word in words if not word.startswith("plugins=")]
    if not named:
        from typing import get_type_hints

        from trainer.settings import Settings

        path = catalog.builtin() / "train.yaml"
        _print_keys(catalog.Option("", "train", path), get_type_hints(Settings, include_extras=True))
        return 0
    for word in named:
        group, _, name = word.partition("=")
        if group not in catalog.GROUPS:
            near = did_you_mean(group, catalog.GROUPS)
            raise ConfigError(
                f"train show {word}: {group!r} is no group{near or ';'} one of {', '.join(catalog.GROUPS)}"
            )
        options = catalog.options(group, folders)
        if name not in options:
            raise ConfigError(catalog.not_found(group, name, options))
        option = options[name]
        found = signature.read(option.target) if option.target else None
        print(f"{group}={name}: {option.description}")
        if found:
            print("\n" + found.doc + "\n")
        _print_keys(option, found.types if found else {}, f"{group}.")
    return 0


def _print_keys(option: Option, kinds: Mapping[str, Any], prefix: str = "") -> None:
    from trainer.types import describe

    rows = [("KEY", "DEFAULT", "TYPE", "MEANING")]
    for key, value, meaning in option.entries():
        if key in kinds:
            rows.append((prefix + key, value, describe(kinds[key]), meaning))
    _print_table(rows)


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as they must be; the last one is cut at the edge of a terminal."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    edge = os.get_terminal_size().columns if sys.stdout.isatty() else 10_000
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True) if width]
        print("  ".join(cells).rstrip()[:edge])
    print()


def resume(arguments: Sequence[str]) -> int:
    """``train resume RUN``"""
    kept = _stored("resume", arguments)
    from trainer import runner

    runner.resume(kept)
    return 0


def evaluate(arguments: Sequence[str]) -> int:
    """``train evaluate RUN``"""
    kept = _stored("evaluate", arguments)
    from trainer import runner

    runner.evaluate(kept)
    return 0


def sample(arguments: Sequence[str]) -> int:
    """``train sample RUN key=value ...``"""
    kept = _stored("sample", arguments[:1])
    from trainer import asked

    options = asked.options("sample", arguments[1:], kept.tree["task"]["_target_"])
    from trainer import runner

    for piece in runner.sample(kept, options):
        print(piece, end="", flush=True)
    print()
    return 0


def report(arguments: Sequence[str]) -> int:
    """``train report [FOLDER]``"""
    from trainer import leaderboard

    if len(arguments) > 1:
        raise ConfigError("train report takes one folder")
    leaderboard.show(Path(arguments[0] if arguments else "outputs"))
    return 0


def _stored(verb: str, arguments: Sequence[str]) -> Config:
    """The configuration of the run that a verb is to be done to; whether there is one is told without torch."""
    from trainer import stored

    if len(arguments) != 1:
        raise ConfigError(
            f"train {verb} takes one run folder, as in: train {verb} outputs/2026-01-31/12-00-00-lstm-adding"
        )
    return stored.load(Path(arguments[0]))
