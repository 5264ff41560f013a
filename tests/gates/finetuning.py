"""Compare fine-tuning with training from scratch: digits 5 to 9 with 100 labels, after training on 0 to 4.

    python -m tests.gates.finetuning [--seeds N]

The runs of a seed have the same rows, labels and epochs; only the initial weights differ. Exits with 1 unless
fine-tuning is better for every seed, and by ``MIN_MARGIN`` in the mean accuracy on the test rows.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import trainer

MIN_MARGIN = 0.03
SOURCE = ("data.classes=[0,1,2,3,4]",)
TARGET = ("data.classes=[5,6,7,8,9]", "data.train_rows=100")
VARIANTS = {
    "from scratch": (),
    "init_from": ("init_from={run}",),
    "init_from, frozen trunk, fresh head": ("init_from={run}", 'freeze=["trunk.*"]', 'init_skip=["head.*"]'),
}


def train(folder: Path, seed: int, *overrides: str) -> trainer.Result:
    common = ("model=cnn", "data=digits", f"seed={seed}", "threads=1", "draw=false", f"hydra.run.dir={folder}")
    return trainer.run(trainer.compose([*common, *overrides]), quiet=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    seeds = range(parser.parse_args().seeds)
    accuracies: dict[str, list[float]] = {name: [] for name in VARIANTS}
    with tempfile.TemporaryDirectory() as directory:
        for seed in seeds:
            source = train(Path(directory, f"source{seed}"), seed, *SOURCE)
            for number, (name, words) in enumerate(VARIANTS.items()):
                overrides = [*TARGET, *(word.format(run=source.run_dir) for word in words)]
                result = train(Path(directory, f"run{seed}-{number}"), seed, *overrides)
                accuracies[name].append(result.test["accuracy"])
    for name, values in accuracies.items():
        print(f"{name}: mean {statistics.mean(values):.4f}, by seed {' '.join(f'{value:.4f}' for value in values)}")
    scratch, *_, best = accuracies.values()
    margins = [one - other for one, other in zip(best, scratch, strict=True)]
    print(f"margin: mean {statistics.mean(margins):.4f} (at least {MIN_MARGIN}), smallest {min(margins):.4f}")
    return int(min(margins) <= 0 or statistics.mean(margins) < MIN_MARGIN)


if __name__ == "__main__":
    sys.exit(main())
