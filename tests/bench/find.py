"""Learning rates and batch sizes that ``train find`` suggests, in several families.

    python -m tests.bench.find [FAMILY ...]

The suggested rate is trained beside a grid of rates. Its gain over the baseline, by the validation score, must be 90 %
of that of the best rate of the grid. Both values must have been run by the search; the batch size must train, and no
file may be left behind. Prints a line for each family.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import torch

from tests.helpers.lab import Lab, lab
from trainer.analysis.batch_size_finder import search_batch_size
from trainer.analysis.lr_finder import choose_rate, run_range_test
from trainer.config import compose
from trainer.utils.errors import ConfigError, NonFiniteError
from trainer.utils.signals import StopFlag

FAMILIES = {
    "mlp": "model=mlp data=synthetic_tabular data.rows=2000 epochs=8",
    "lstm": "model=lstm data=synthetic_seq data.rows=1500 epochs=8",
    "transformer": "model=transformer model.width=32 model.layers=1 data=synthetic_seq data.rows=1500 epochs=8",
    "cnn": "model=cnn model.channels=[8,16,16] data=digits data.size=8 augment=none epochs=6",
    "gcn": "model=gcn data=sbm epochs=60",
    "forecaster": "model=gru_forecaster data=sine_trend max_steps=300",
    "linear forecaster": "model=dlinear data=sine_trend max_steps=300",
    "regression": "model=mlp data=diabetes epochs=30",
    "seq2seq": "model=seq2seq model.hidden_size=64 data=reverse data.rows=1500 data.length=5 epochs=10",
}
"""Overrides of one run of each family."""
GRID = ("1e-4", "3e-4", "1e-3", "3e-3", "1e-2", "3e-2", "1e-1")
MIN_SHARE = 0.9


def measure_gain(words: list[str]) -> tuple[float, str]:
    """Train a run; return the gain of its best validation score over the baseline, and the name of the score."""
    run = lab(*words)
    try:
        run.trainer.fit()
    except NonFiniteError:
        return float("-inf"), ""
    metric = run.trainer.monitor_metric
    scores = [row[f"val_{run.trainer.monitor}"] for row in run.trainer.history]
    sign = 1 if metric.higher_is_better else -1
    return max(sign * score for score in scores) - sign * get_baseline(run), run.trainer.monitor


def get_baseline(run: Lab) -> float:
    return float(run.data.info.baseline[run.trainer.monitor])


def check_rate(words: list[str]) -> tuple[bool, str]:
    """Compare the suggested rate with a grid; return whether it is good, and a description."""
    test = run_range_test(compose.compose([*words, "threads=1"]), StopFlag())
    rate = choose_rate(test.rates, test.smoothed)
    if rate is None or rate not in test.rates:
        return False, f"rate {rate}, which was not run"
    gains = {text: measure_gain([*words, f"optimizer.lr={text}"])[0] for text in GRID}
    best = max(gains, key=gains.__getitem__)
    gain, name = measure_gain([*words, f"optimizer.lr={rate:g}"])
    share = gain / gains[best]
    return share >= MIN_SHARE, f"rate {rate:<8g} {name} {share:6.1%} of the gain of {best}, the best of the grid"


def check_batch_size(words: list[str]) -> tuple[bool, str]:
    """Search a batch size and train with it; return whether it was run and fits, and a description."""
    try:
        search = search_batch_size(compose.compose([*words, "threads=1"]), StopFlag())
    except ConfigError as error:
        return "one whole graph, without batches" in str(error), str(error)
    lab(*words, f"batch_size={search.chosen}", "epochs=1").trainer.fit()
    was_run = search.chosen in [result.batch_size for result in search.results]
    return was_run, f"batch size {search.chosen} of {len(search.results)}"


def main() -> None:
    """Search and train, and end with an error if a suggestion is bad."""
    torch.set_num_threads(1)
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for name in sys.argv[1:] or FAMILIES:
            words = FAMILIES[name].split()
            (is_good, rate), (is_valid, size) = check_rate(words), check_batch_size(words)
            has_traces = any(Path(folder).iterdir())
            failures += [] if is_good and is_valid and not has_traces else [name]
            print(f"{name:<18} {rate}; {size}{'; left files behind' * has_traces}", flush=True)
        os.chdir("/")
    print(f"{len(failures)} of {len(sys.argv[1:] or FAMILIES)} failed{': ' * bool(failures)}{', '.join(failures)}")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
