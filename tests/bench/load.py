"""Time of ``trainer.load(RUN)`` with one prediction of an MLP, as a ratio to ``import torch``.

    python -m tests.bench.load [--rounds N]

Processes of both kinds in turns, after one of each that writes the bytecode. The gate is on the processor time, which
other processes change less than the elapsed time. Exits with 1 if its ratio of medians is above ``MAX_RATIO``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import trainer
from tests.helpers import census_tables

MAX_RATIO = 1.3
OVERRIDES = ("model=mlp", "data=csv", "epochs=1", "threads=1", "draw=false")
PREDICT = "import trainer; trainer.load({run!r}).predict([{row!r}])"


def measure(code: str, directory: str) -> tuple[float, float]:
    """Return the seconds of processor time, and elapsed seconds, of a process that runs code."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(trainer.__file__).parents[1])}
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", code], cwd=directory, env=environment, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, f"{code} failed"
    return usage.ru_utime + usage.ru_stime, time.perf_counter() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as directory:
        table = census_tables.write_table(Path(directory, "table.csv"), 2000)
        paths = (f"data.path={table}", f"data.target={census_tables.TARGET}", f"hydra.run.dir={directory}/run")
        run = trainer.run(trainer.compose([*OVERRIDES, *paths]), quiet=True).run_dir
        row = dict(zip(census_tables.read_titles(), census_tables.read_rows(1)[0].split(","), strict=True))
        codes = ("import torch", PREDICT.format(run=run, row=row))
        for code in codes:
            measure(code, directory)
        times = [[measure(code, directory) for code in codes] for _ in range(rounds)]
    ratios = []
    for kind, name in enumerate(("processor time", "elapsed time")):
        torch_import, load = (statistics.median(pair[code][kind] for pair in times) for code in range(2))
        ratios.append(load / torch_import)
        print(f"{name}: load and one prediction {load / torch_import:.2f} times import torch (at most {MAX_RATIO})")
    return int(ratios[0] > MAX_RATIO)


if __name__ == "__main__":
    sys.exit(main())
