"""Mutated inputs on the command line: no traceback, no message over ten lines, nothing that hangs.

    python -m tests.faults.fuzz --count 5000 --seed 1
    python -m tests.faults.fuzz --only overrides:1:42     # one case again

Cases run in this process; one that does not end gets SIGTERM.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import io
import logging
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import torch

from tests.helpers import mutations
from tests.helpers.bases import BASES, SHORT, write_files
from tests.helpers.run_folders import foreign, hub_folders, runs, states
from trainer.cli import main as cli
from trainer.config import compose, plugins, registry
from trainer.utils.errors import UserError

SECONDS, GRACE = 30.0, 20.0
MEMORY = 8 * 2**30


class Hang(BaseException):
    """A case that ignores SIGTERM."""


@contextlib.contextmanager
def limit_time() -> Iterator[None]:
    """Send SIGTERM after a time limit; raise ``Hang`` if that does not end the case."""

    def on_alarm(_: int, frame: FrameType | None) -> None:
        handler = signal.getsignal(signal.SIGTERM)
        if handler is signal.SIG_DFL or on_alarm.times:  # type: ignore[attr-defined]
            raise Hang("".join(traceback.format_stack(frame)[-4:]))
        on_alarm.times += 1  # type: ignore[attr-defined]
        signal.setitimer(signal.ITIMER_REAL, GRACE)
        os.kill(os.getpid(), signal.SIGTERM)

    on_alarm.times = 0  # type: ignore[attr-defined]
    previous = signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def keys(base: str) -> list[str]:
    composed = compose.compose([*BASES[base], *SHORT])
    deep = [
        f"{group}.{key}" for group in registry.OBJECT_GROUPS for key in composed.tree[group] if not key.startswith("_")
    ]
    flat = [key for key in composed.tree if key not in registry.OBJECT_GROUPS]
    return [*flat, *deep, *registry.GROUPS, "hydra/launcher", "hydra/sweeper"]


# Kinds of cases: each changes the working folder and returns a command line.


def overrides(rng: random.Random) -> list[str]:
    base = rng.choice(list(BASES))
    mutated = [mutations.override(rng, keys(base)) for _ in range(rng.randrange(1, 4))]
    sweep = ["-m"] if rng.random() < 0.1 else []
    flags = rng.choice([[], [], [], [], ["--cfg", "job"], ["--info"], ["--resolve"], ["-x"]])
    return [*sweep, *flags, *BASES[base], *SHORT, *mutated]


def folders(rng: random.Random) -> list[str]:
    group = rng.choice(registry.GROUPS)
    option = rng.choice(list(registry.list_options(group).values()))
    path = Path("conf", group, "own.yaml")
    path.parent.mkdir(parents=True)
    path.write_bytes(option.path.read_bytes())
    for _ in range(rng.randrange(1, 3)):
        if path.is_file():
            mutations.mutate_file(rng, path)
    base = rng.choice(["mlp", "lstm"])
    arguments = rng.choice([[], ["-m", "seed=0,1"], ["--cfg", "job"], ["list"], ["show", f"{group}=own"]])
    if arguments and arguments[0] in ("list", "show"):
        return [*arguments, "--config-dir", "conf"]
    return [*arguments, "--config-dir", "conf", *BASES[base], *SHORT, f"{group}=own"]


def tables(rng: random.Random) -> list[str]:
    path = Path("table.csv")
    text = path.read_text()
    if rng.random() < 0.7:
        path.write_text(mutations.mutate_table(rng, text), encoding="utf-8")
    else:
        path.write_bytes(mutations.mutate_bytes(rng, text.encode()))
    mutated = (
        [mutations.override(rng, [key for key in keys("csv") if key.startswith("data.")])] if rng.random() < 0.3 else []
    )
    return [*BASES["csv"], *SHORT, *mutated]


def pictures(rng: random.Random) -> list[str]:
    found = sorted(Path("pictures").rglob("*.*"))
    for path in rng.sample(found, rng.randrange(1, 4)):
        mutations.mutate_file(rng, path)
    return [*BASES["pictures"], *SHORT]


def texts(rng: random.Random) -> list[str]:
    mutations.mutate_file(rng, Path("text.txt"))
    return [*BASES["text"], *SHORT[1:]]


KINDS: dict[str, Callable[[random.Random], list[str]]] = {
    kind.__name__: kind for kind in (overrides, folders, tables, pictures, texts, runs, states, foreign, hub_folders)
}
REFUSED = {"foreign"}
"""Kinds whose every case must be refused."""


def run_case(kind: str, seed: int, number: int) -> str | None:
    """Run a case; return a description of its failure, or None."""
    rng = random.Random(f"{kind}:{seed}:{number}")
    working_folder, output = os.getcwd(), io.StringIO()
    folder = Path(tempfile.mkdtemp())
    os.chdir(folder)
    write_files(folder)
    arguments: list[str] = []
    started = time.monotonic()
    try:
        arguments = KINDS[kind](rng)
        sys.argv = ["train"]
        with limit_time(), contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            cli.run_command(arguments)
        failure = "it is accepted" if kind in REFUSED else None
    except UserError as error:
        lines = cli.format_error(error).splitlines()
        failure = f"{len(lines)} lines" if len(lines) > cli.MAX_ERROR_LINES else None
        failure = failure or ("an empty message" if not str(error).strip() else None)
    except SystemExit as error:
        failure = f"SystemExit {error.code}: {output.getvalue()[-300:]}"
    except Hang as error:
        failure = f"hangs: {error}"
    except BaseException:
        failure = "".join(traceback.format_exc().splitlines(keepends=True)[-9:])
    finally:
        os.chdir(working_folder)
        plugins.declare_plugins([])
    outputs = [path.read_text(errors="replace") for path in folder.rglob("*.out") if path.is_file()]
    if failure is None and any("Traceback" in text for text in [output.getvalue(), *outputs]):
        failure = "a traceback is printed: " + "".join([output.getvalue(), *outputs])[-500:]
    shutil.rmtree(folder, ignore_errors=True)
    description = f"{kind}:{seed}:{number} ({time.monotonic() - started:.1f} s) train {' '.join(map(repr, arguments))}"
    return f"{description}\n{failure}" if failure else None


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--only", help="KIND:SEED:NUMBER")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.lastResort = None
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    tempfile.tempdir = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, tempfile.tempdir, ignore_errors=True)
    if options.only:
        kind, seed, number = options.only.split(":")
        found = run_case(kind, int(seed), int(number))
        print(found or "nothing is wrong")
        return int(found is not None)
    kinds = options.kinds.split(",")
    failures: Counter[str] = Counter()
    for number in range(options.count):
        kind = kinds[number % len(kinds)]
        found = run_case(kind, options.seed, number)
        if found:
            failures[kind] += 1
            print(found, flush=True)
    print(f"{options.count} cases, {failures.total()} wrong {dict(failures)}")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
