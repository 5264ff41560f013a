"""The command ``train``. A first word without ``=`` is a verb; everything else is Hydra's override grammar.

Nothing heavy is imported before it is needed: help and lists come without Hydra, errors without torch.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from trainer import flags, listing
from trainer.errors import ConfigError, UserError, did_you_mean
from trainer.escaping import printable

HELP = """\
train trains any neural network from a configuration.

  train model=lstm data=synthetic_seq       train, validate, test, report
  train -m model=lstm,gru seed=0,1,2        every combination, and a leaderboard
  train list [models|data|tasks|optimizers|schedulers|experiments]
  train show [model=NAME | data=NAME | ...] keys with type, default and meaning; without a name the daily ones
  train show data=NAME augment=NAME samples=N  training pictures as the first epochs see them
  train show RUN [features=LAYER row=N]     the layers of a run's model, or what one of them makes of a test row
  train resume RUN                          go on with a run that was stopped, to the same bits
  train evaluate RUN                        score the best weights of a run on its test rows
  train sample RUN [prompt=TEXT ...]        what its best weights make: a text that goes on, a translation, a graph
  train score RUN [input=PATH]              how ordinary each row of a file is to it (default: its own test rows)
  train report [FOLDER]                     the leaderboard of all runs in a folder (default: outputs)

Options of Hydra's: -m sweep, --cfg job shows the configuration, --resolve, --info, --config-dir DIR adds your own
YAML files (with plugins=[your_module] for classes), --shell-completion, --hydra-help.
Exit codes: 0 done, 1 a fault of ours, 2 bad input, 3 not finite, 4 environment, 130/143 interrupted and resumable.
"""
SHOWN_LINES = 10


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
        text = "\n".join(f"{'error: ' if not i else '       '}{line}" for i, line in enumerate(shown))
        print(printable(text), file=sys.stderr)
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
        "list": listing.options,
        "show": listing.show,
        "resume": resume,
        "evaluate": evaluate,
        "sample": sample,
        "score": score,
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

    overrides, folders, given = flags.split(arguments)
    is_sweep = bool({"-m", "--multirun"} & given)
    if given & flags.HYDRAS_OWN or any(text.startswith(("hydra/sweeper=", "hydra/launcher=")) for text in overrides):
        from trainer import sweep

        if is_sweep:
            config.check_sweep_by_hydra(overrides, folders)
        elif not given & {"-sc", "--shell-completion", "--hydra-help", "--version"}:
            config.compose(overrides, folders)
        return sweep.through_hydra()
    if is_sweep:
        from trainer import sweep

        return sweep.sweep(overrides, folders)
    composed = config.compose(overrides, folders)
    from trainer import runner

    runner.run(composed)
    return 0


def resume(arguments: Sequence[str]) -> int:
    """``train resume RUN``"""
    from trainer import stored

    kept = stored.named("resume", arguments)
    from trainer import runner

    runner.resume(kept)
    return 0


def evaluate(arguments: Sequence[str]) -> int:
    """``train evaluate RUN``"""
    from trainer import stored

    kept = stored.named("evaluate", arguments)
    from trainer import afterwards

    afterwards.evaluate(kept)
    return 0


def sample(arguments: Sequence[str]) -> int:
    """``train sample RUN key=value ...``"""
    from trainer import asked, stored

    kept = stored.named("sample", arguments[:1])
    known = asked.parameters("sample", kept.tree["task"]["_target_"])
    options = asked.options("sample", arguments[1:], known)
    from trainer import afterwards

    for piece in afterwards.sample(kept, options):
        print(printable(piece), end="", flush=True)
    print()
    return 0


def score(arguments: Sequence[str]) -> int:
    """``train score RUN [input=PATH]``"""
    from trainer import asked, stored
    from trainer.signature import Parameter

    kept = stored.named("score", arguments[:1])
    asked.parameters("score", kept.tree["task"]["_target_"], method="rate")
    options = asked.options("score", arguments[1:], {"input": Parameter(str, default="its own test rows")})
    from trainer import afterwards

    afterwards.score(kept, options.get("input"))
    return 0


def report(arguments: Sequence[str]) -> int:
    """``train report [FOLDER]``"""
    from trainer import leaderboard

    if len(arguments) > 1:
        raise ConfigError("train report takes one folder")
    leaderboard.show(Path(arguments[0] if arguments else "outputs"))
    return 0
