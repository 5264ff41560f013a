"""Train every gate at full size on one thread, check its bounds, and write the score table of ``docs/scores.md``.

    python -m tests.gates.run [--data-dir DIR] [WORD ...]      only the gates whose command contains a word;
                                                           the other lines of the table stay

Exits with 1 if a gate is missed. Real data is read from DIR or ``TRAIN_DATA``, else downloaded; the gate on a local CSV
file needs one of them.
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
from trainer.utils.code_version import get_git_commit
from trainer.utils.cpu import count_processors
from trainer.utils.text import format_count

SCORES = Path(__file__).parents[2] / "docs" / "scores.md"
HEADER = (
    *("model", "data", "options", "metric", "baseline", "score", "best possible", "gate", "seeds", "seconds"),
    "measured",
)
MARKERS = "<!-- scores -->", "<!-- end of scores -->"


def measure(gate: Gate, data_dir: str | None, directory: str) -> tuple[dict[str, float], dict[str, object], bool]:
    """Return mean test scores over seeds and folds, details for the table, and True if every bound is met."""
    runs, seconds = [], []
    run_overrides = ["threads=1", f"hydra.run.dir={directory}", *([] if data_dir is None else [f"data_dir={data_dir}"])]
    for seed, fold in itertools.product(range(gate.seeds), range(gate.folds)):
        overrides = gate.command.replace("{data}", str(data_dir)).split()
        overrides += [f"data.fold={fold}"] if gate.folds > 1 else []
        if gate.source:
            source = trainer.run(trainer.compose([*gate.source.split(), f"seed={seed}", *run_overrides]))
            overrides = [word.replace("=RUN", f"={source.run_dir}") for word in overrides]
        started = time.perf_counter()
        runs.append(trainer.run(trainer.compose([*overrides, f"seed={seed}", *run_overrides])))
        seconds.append(time.perf_counter() - started)
    scores = {name: statistics.fmean(run.test[name] for run in runs) for name in runs[0].test}
    passed = max(seconds) <= gate.seconds and all(
        (low is None or scores[name] >= low) and (high is None or scores[name] <= high)
        for name, low, high in gate.bounds
    )
    baseline = {name: statistics.fmean(run.baseline[name] for run in runs) for name in runs[0].baseline}
    details = {"baseline": baseline, "best": runs[0].best_possible, "seconds": statistics.fmean(seconds)}
    return scores, details, passed


def format_name(gate: Gate) -> str:
    """Return the first cells of a gate's line: model, data and other options."""
    overrides = gate.command.split()
    model, data = (word.split("=")[-1] for word in overrides[:2])
    options = " ".join(word for word in overrides[2:] if "{data}" not in word)
    return " | ".join([model, data, options.replace("*", r"\*")])


def describe_measurement() -> str:
    """Return date, commit and machine, for the last column."""
    return (
        f"{date.today()}, {get_git_commit() or 'no commit'}, {_cpu_name()}, {format_count(count_processors(), 'core')}"
    )


def _cpu_name() -> str:
    """Return the model of the processor, if the system reports it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def format_row(gate: Gate, scores: dict[str, float], details: dict[str, object], passed: bool, measurement: str) -> str:
    """Return the line of the table for the first bound, with the other scores after the first."""
    baseline, best = details["baseline"], details["best"]
    assert isinstance(baseline, dict)
    assert isinstance(best, dict)
    name, low, high = gate.bounds[0]
    bound = " to ".join(f"{end:g}" for end in (low, high) if end is not None)
    sign = "" if low is not None and high is not None else ">= " if low is not None else "<= "
    others = "".join(f", {other} {scores[other]:.3f}" for other, _, _ in gate.bounds[1:])
    cells = [format_name(gate), name, _number(baseline.get(name)), f"**{scores[name]:.4f}**{others}"]
    cells += [
        _number(best.get(name)),
        f"{sign}{bound}" + ("" if passed else " MISSED"),
        str(gate.seeds) if gate.folds == 1 else f"{gate.folds} folds",
    ]
    return "| " + " | ".join([*cells, f"{details['seconds']:.0f}", measurement]) + " |"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def write_table(new_lines: dict[str, str]) -> None:
    """Write new lines into the table between the markers of ``docs/scores.md``, in the order of the gates.

    Other lines are kept; lines of removed gates are deleted.
    """
    text = SCORES.read_text(encoding="utf-8")
    before, rest = text.split(MARKERS[0])
    table, after = rest.split(MARKERS[1])
    names = [format_name(gate) for gate in GATES]
    lines = {name: line for line in table.splitlines() for name in names if line.startswith(f"| {name} | ")}
    lines |= new_lines
    head = f"| {' | '.join(HEADER)} |"
    new_table = "\n".join([head, "|" + " --- |" * len(HEADER), *(lines[name] for name in names if name in lines)])
    SCORES.write_text(f"{before}{MARKERS[0]}\n{new_table}\n{MARKERS[1]}{after}", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", default=os.environ.get("TRAIN_DATA"))
    parser.add_argument("words", nargs="*")
    options = parser.parse_args()
    data_dir = None if options.data_dir is None else str(Path(options.data_dir).absolute())
    selected = [gate for gate in GATES if not options.words or any(word in gate.command for word in options.words)]
    missed = []
    measurement = describe_measurement()  # before the table changes, which is a difference from the commit
    with tempfile.TemporaryDirectory() as directory:
        for index, gate in enumerate(selected):
            if "{data}" in gate.command and data_dir is None:
                print(f"left out, needs --data-dir: {gate.command}")
                continue
            scores, details, passed = measure(gate, data_dir, f"{directory}/{index}")
            line = format_row(gate, scores, details, passed, measurement)
            print(line, flush=True)
            write_table({format_name(gate): line})
            missed += [] if passed else [gate.command]
    for command in missed:
        print(f"MISSED: {command}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
