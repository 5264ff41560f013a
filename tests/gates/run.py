"""Every gate at full size, one thread: trains, compares, and writes the score table of ``docs/scores.md``.

    python -m tests.gates.run [--data-dir DIR] [WORD ...]      only the gates whose command holds one of the words;
                                                           the other lines of the table stay

Exits with 1 if a gate is missed. Real data is looked for in DIR or where ``TRAIN_DATA`` says, else downloaded; the
gate on a CSV file of ours needs one of them.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import statistics
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import trainer
from tests.gates.gate_list import GATES, Gate
from trainer.runs.results import get_git_commit
from trainer.utils.cpu import count_processors
from trainer.utils.text import format_count

SCORES = Path(__file__).parents[2] / "docs" / "scores.md"
HEAD = (
    *("model", "data", "options", "metric", "baseline", "score", "best possible", "gate", "seeds", "seconds"),
    "measured",
)
MARKS = "<!-- scores -->", "<!-- end of scores -->"


def measure(gate: Gate, data_dir: str | None, place: str) -> tuple[dict[str, float], dict[str, object], bool]:
    """Mean test scores over seeds and folds, facts for the table, and whether every bound was met."""
    runs, seconds = [], []
    for seed, fold in itertools.product(range(gate.seeds), range(gate.folds)):
        words = gate.command.format(data=data_dir).split()
        words += [f"data.fold={fold}"] if gate.folds > 1 else []
        extra = [f"hydra.run.dir={place}"] + ([] if data_dir is None else [f"data_dir={data_dir}"])
        started = time.perf_counter()
        runs.append(trainer.run(trainer.compose([*words, f"seed={seed}", "threads=1", *extra])))
        seconds.append(time.perf_counter() - started)
    scores = {name: statistics.fmean(run.test[name] for run in runs) for name in runs[0].test}
    met = max(seconds) <= gate.seconds and all(
        (low is None or scores[name] >= low) and (high is None or scores[name] <= high)
        for name, low, high in gate.bounds
    )
    baseline = {name: statistics.fmean(run.baseline[name] for run in runs) for name in runs[0].baseline}
    facts = {"baseline": baseline, "best": runs[0].best_possible, "seconds": statistics.fmean(seconds)}
    return scores, facts, met


def named(gate: Gate) -> str:
    """The first cells of a gate's line: model, data and the options beside them."""
    words = gate.command.split()
    model, data = (word.split("=")[-1] for word in words[:2])
    return " | ".join([model, data, " ".join(word for word in words[2:] if "{data}" not in word)])


def describe_measurement() -> str:
    """Date, commit and machine, for the last column."""
    return (
        f"{date.today()}, {get_git_commit() or 'no commit'}, {_cpu_name()}, {format_count(count_processors(), 'core')}"
    )


def _cpu_name() -> str:
    """The model of the processor, where the system says it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def row(gate: Gate, scores: dict[str, float], facts: dict[str, object], met: bool, measured: str) -> str:
    """A line of the table for the first bound, with the others behind the score."""
    baseline, best = facts["baseline"], facts["best"]
    assert isinstance(baseline, dict)
    assert isinstance(best, dict)
    name, low, high = gate.bounds[0]
    bound = " to ".join(f"{end:g}" for end in (low, high) if end is not None)
    sign = "" if low is not None and high is not None else ">= " if low is not None else "<= "
    others = "".join(f", {other} {scores[other]:.3f}" for other, _, _ in gate.bounds[1:])
    cells = [named(gate), name, _number(baseline.get(name)), f"**{scores[name]:.4f}**{others}"]
    cells += [
        _number(best.get(name)),
        f"{sign}{bound}" + ("" if met else " MISSED"),
        str(gate.seeds) if gate.folds == 1 else f"{gate.folds} folds",
    ]
    return "| " + " | ".join([*cells, f"{facts['seconds']:.0f}", measured]) + " |"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def write_table(measured: dict[str, str]) -> None:
    """Puts measured lines into the table between the marks of ``docs/scores.md``, in the order of the gates.

    Other lines stay as they are; those of gates that are no more go.
    """
    text = SCORES.read_text(encoding="utf-8")
    before, rest = text.split(MARKS[0])
    table, after = rest.split(MARKS[1])
    known = [named(gate) for gate in GATES]
    lines = {name: line for line in table.splitlines() for name in known if line.startswith(f"| {name} | ")}
    lines |= measured
    head = f"| {' | '.join(HEAD)} |"
    whole = "\n".join([head, "|" + " --- |" * len(HEAD), *(lines[name] for name in known if name in lines)])
    SCORES.write_text(f"{before}{MARKS[0]}\n{whole}\n{MARKS[1]}{after}", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", default=os.environ.get("TRAIN_DATA"))
    parser.add_argument("words", nargs="*")
    options = parser.parse_args()
    data_dir = None if options.data_dir is None else str(Path(options.data_dir).absolute())
    chosen = [gate for gate in GATES if not options.words or any(word in gate.command for word in options.words)]
    missed = []
    measured = describe_measurement()  # before the table changes, which is a difference from the commit
    with tempfile.TemporaryDirectory() as folder:
        for number, gate in enumerate(chosen):
            if "{data}" in gate.command and data_dir is None:
                print(f"left out, needs --data-dir: {gate.command}")
                continue
            scores, facts, met = measure(gate, data_dir, f"{folder}/{number}")
            line = row(gate, scores, facts, met, measured)
            print(line, flush=True)
            write_table({named(gate): line})
            missed += [] if met else [gate.command]
    for command in missed:
        print(f"MISSED: {command}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
