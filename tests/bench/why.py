"""Faults that ``train why`` names, and healthy runs it is silent about, in families its rules were not made with.

    python -m tests.bench.why [NAME ...]

Prints a line for each run: whether one of the expected rules has spoken, or none has, and what was said. Ends with an
error if a fault is not named, or a rule speaks of a healthy run.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Set
from contextlib import redirect_stdout
from io import StringIO

import torch

from tests.helpers.diagnosed_families import BROKEN, HEALTHY, SEEDS_CASE, train_similar_gnns
from tests.helpers.diagnosed_files import write_files
from tests.helpers.diagnosed_runs import find_rules, train_run


def judge(name: str, expected: Set[str]) -> bool:
    """Train and diagnose a run; print and return whether the rules say what is expected."""
    folder = name.replace(", ", "-").replace(" ", "_")
    with redirect_stdout(StringIO()):
        if name == SEEDS_CASE:
            path = train_similar_gnns(folder)
        else:
            path = train_run(folder, *(BROKEN[name][1] if name in BROKEN else HEALTHY[name]).split())
        found = find_rules(path)
    is_right = bool(found.keys() & expected) if expected else not found
    verdict = ("named" if expected else "silent") if is_right else ("MISSED" if expected else "FALSE")
    print(f"{verdict:<7} {name:<30} {'; '.join(finding.sentence for finding in found.values())}", flush=True)
    return is_right


def main() -> None:
    """Train and diagnose the runs, and print what was found."""
    torch.set_num_threads(1)
    cases = {name: rules for name, (rules, _) in BROKEN.items()} | {SEEDS_CASE: {"seed noise"}}
    cases |= {name: set() for name in HEALTHY}
    chosen = sys.argv[1:] or [*cases]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        sys.path.insert(0, folder)
        write_files()
        right = {name: judge(name, cases[name]) for name in chosen}
        os.chdir("/")
    broken = [name for name in chosen if cases[name]]
    healthy = [name for name in chosen if not cases[name]]
    print(
        f"{sum(right[name] for name in broken)} of {len(broken)} broken runs named,"
        f" {sum(right[name] for name in healthy)} of {len(healthy)} healthy runs silent"
    )
    sys.exit(not all(right.values()))


if __name__ == "__main__":
    main()
