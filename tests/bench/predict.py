"""Rows per second of ``train predict`` on a table, against one call per row, and the memory that a large file takes.

    python -m tests.bench.predict [--rows N] [--megabytes N] [--directory DIR]

The table has the columns of Adult. ``--megabytes`` is the size of the file whose peak memory is measured, in a process
of its own; 2000 takes some minutes. Exits with 1 if the ratio is below ``MIN_RATIO`` or the peak above
``MAX_MEGABYTES``.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import trainer
from tests.helpers import census_tables, commands
from tests.helpers.peak_memory import run_and_measure
from trainer.cli import main as cli

ROUNDS, SINGLE_ROWS, ROWS_PER_BATCH_OF_ONE = 5, 200, 5000
MIN_RATIO, MAX_MEGABYTES = 10, 1000
OVERRIDES = (
    *("model=mlp", "data=csv", f"data.target={census_tables.TARGET}", "epochs=1", "threads=1", "draw=false"),
    "model.hidden=[64,64]",
)


def measure_rate(function: Callable[[], int]) -> float:
    """Return the rows per second of a function that returns their number."""
    start = time.perf_counter()
    return function() / (time.perf_counter() - start)


def compare_rates(run: Path, table: Path, rows: int, directory: Path) -> bool:
    """Compare the rows per second of a whole file with those of one call per row, in turns."""
    logging.getLogger("trainer").setLevel(logging.ERROR)  # rows have categories that are rare
    model = trainer.load(run)
    titles = census_tables.read_titles()[:-1]
    singles = [dict(zip(titles, line.split(","), strict=False)) for line in census_tables.read_rows(SINGLE_ROWS)]
    few = census_tables.write_table(directory / "few.csv", ROWS_PER_BATCH_OF_ONE, has_target=False)

    def predict_file() -> int:
        """Run the whole command: load the model, read, predict and write."""
        words = ["predict", str(run), f"input={table}", f"output={directory / 'predicted.csv'}"]
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            assert cli.run_command(words) == 0
        return rows

    def predict_singly() -> int:
        return sum(len(model.predict([row])) for row in singles)

    def predict_batches_of_one() -> int:
        return len(model.predict(few, batch_size=1))

    rates: dict[Callable[[], int], list[float]] = {
        function: [] for function in (predict_file, predict_singly, predict_batches_of_one)
    }
    for _ in range(ROUNDS):
        for function, values in rates.items():
            values.append(measure_rate(function))
    whole, single, batches = (statistics.median(values) for values in rates.values())
    print(f"{rows} rows, rows per second against one call per row: {whole / single:.1f} (at least {MIN_RATIO})")
    print(f"against batches of one row, without loading and writing: {whole / batches:.1f}")
    return whole / single >= MIN_RATIO


def measure_memory(run: Path, megabytes: int, directory: Path) -> bool:
    """Predict a file of a size in a process; print the peak memory of the process."""
    table = directory / "large.csv"
    chunk = census_tables.write_table(directory / "chunk.csv", 100_000, has_target=False).read_text("utf-8")
    header, _, body = chunk.partition("\n")
    with table.open("w", encoding="utf-8") as file:
        file.write(f"{header}\n")
        while file.tell() < megabytes * 1e6:
            file.write(body)
    size = table.stat().st_size / 1e6
    words = commands.argv("predict", str(run), f"input={table}", f"output={directory / 'large-predictions.csv'}")
    seconds, peak = run_and_measure(words)
    table.unlink()
    print(f"file of {size:.0f} MB: {peak:.0f} MB at the peak (at most {MAX_MEGABYTES}), {seconds:.0f} s")
    return peak <= MAX_MEGABYTES


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--directory", help="parent of the temporary directory, for a large file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as name:
        directory = Path(name)
        train = census_tables.write_table(directory / "train.csv", 5000)
        paths = [f"data.path={train}", f"hydra.run.dir={directory / 'run'}"]
        run = Path(trainer.run(trainer.compose([*OVERRIDES, *paths]), quiet=True).run_dir)
        table = census_tables.write_table(directory / "table.csv", options.rows, has_target=False)
        passed = [
            compare_rates(run, table, options.rows, directory),
            measure_memory(run, options.megabytes, directory),
        ]
    return int(not all(passed))


if __name__ == "__main__":
    sys.exit(main())
