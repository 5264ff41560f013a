"""Masks predicted in windows against the whole image, on the ISBI 2012 test slices, and a mask of 4000 x 4000 pixels.

    python -m tests.bench.large_masks [RUN] [--data-dir DIR]

Trains a U-Net on random windows of 256 x 256 pixels, or takes a run of ``data=isbi2012``; predicts the test slices at
once and in windows of 256 x 256; then one image of 4000 x 4000 pixels, made of test slices, in a process of its own,
whose peak memory is reported. Exits with 1 if the intersections over union differ by more than ``MAX_DIFFERENCE``, or
if the borders of windows can be seen: if neighboring pixels differ in class more often there than elsewhere.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.metrics import jaccard_score

import trainer
from tests.helpers import commands
from tests.helpers.peak_memory import run_and_measure
from trainer.data.readers import download
from trainer.data.splits.window_blending import place_windows

WINDOW, SIDE, NUM_SLICES, FIRST_TEST_SLICE = 256, 4000, 30, 24
MAX_DIFFERENCE, MAX_SEAM_RATIO = 0.005, 1.1
TRAINING = (
    *("model=unet", "model.widths=[16,32,64]", "data=isbi2012", f"augment.window={WINDOW}", "data.repeats=4"),
    *("epochs=8", "threads=1", "draw=false"),
)


def read_image(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def predict(run: str, source: Path, output: Path, *options: str) -> tuple[float, float]:
    """Run ``train predict`` in a process; return the seconds that it took and its peak memory in MB."""
    return run_and_measure(commands.argv("predict", run, f"input={source}", f"output={output}", *options))


def measure_seams(mask: np.ndarray, positions: list[int]) -> float:
    """Return how often neighbors differ at the borders of windows, as a ratio to all neighbors, in both directions."""
    ratios = []
    for values in (mask, mask.T):
        changes = (values[:, 1:] != values[:, :-1]).mean(0)
        ratios.append(changes[[position - 1 for position in positions]].mean() / changes.mean())
    return float(max(ratios))


def compare_on_test_slices(run: str, folder: Path, directory: Path) -> bool:
    """Compare the masks of the test slices, predicted in windows and at once, with the labels."""
    source = directory / "slices"
    source.mkdir()
    numbers = range(FIRST_TEST_SLICE, NUM_SLICES)
    for number in numbers:
        (source / f"{number}.png").write_bytes((folder / f"train/image/{number}.png").read_bytes())
    truth = np.stack([read_image(folder / f"train/label/{number}.png") for number in numbers])
    masks = {}
    for name, options in {"whole": (), "windows": (f"window={WINDOW}",)}.items():
        predict(run, source, directory / name, *options)
        masks[name] = np.stack([read_image(directory / name / f"masks/{number}.png") for number in numbers])
    scores = {
        name: jaccard_score(truth.ravel(), mask.ravel(), average=None, labels=[0, 255]) for name, mask in masks.items()
    }
    for name, (membrane, cell) in scores.items():
        print(f"{name}: IoU membrane {membrane:.4f}, cell {cell:.4f}, mean {(membrane + cell) / 2:.4f}")
    difference = float(np.abs(scores["whole"] - scores["windows"]).max())
    equal = float((masks["whole"] == masks["windows"]).mean())
    print(f"largest difference of an IoU: {difference:.5f} (at most {MAX_DIFFERENCE}); equal pixels: {equal:.5f}")
    return difference <= MAX_DIFFERENCE


def predict_large_image(run: str, folder: Path, directory: Path) -> bool:
    """Predict an image of ``SIDE`` pixels, and measure seams, seconds and memory."""
    slices = [read_image(folder / f"train/image/{number}.png") for number in range(FIRST_TEST_SLICE, NUM_SLICES)]
    tiles = -(-SIDE // len(slices[0]))
    rows = [
        np.concatenate([np.rot90(slices[(row + column) % len(slices)], row) for column in range(tiles)], 1)
        for row in range(tiles)
    ]
    source = directory / "large.png"
    Image.fromarray(np.concatenate(rows)[:SIDE, :SIDE]).save(source)
    passed = True
    for window in (WINDOW, len(slices[0])):
        seconds, megabytes = predict(run, source, directory / f"large-{window}", f"window={window}")
        mask = read_image(directory / f"large-{window}/masks/large.png")
        # Every second border lies on a border of the slices, where the image itself has a seam.
        borders = [start for start in place_windows(SIDE, window, window // 2)[1:-1] if start % len(slices[0])]
        seams = measure_seams(mask, borders)
        print(
            f"{mask.shape[1]} x {mask.shape[0]} in windows of {window}: {seconds:.0f} s, {megabytes:.0f} MB, seam ratio"
            f" {seams:.3f} (at most {MAX_SEAM_RATIO})"
        )
        passed &= mask.shape == (SIDE, SIDE) and seams <= MAX_SEAM_RATIO
    return passed


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", nargs="?")
    parser.add_argument("--data-dir")
    options = parser.parse_args()
    data_dir = options.data_dir or os.environ.get("TRAIN_DATA")
    run = options.run
    if run is None:
        overrides = [*TRAINING, *([f"data_dir={data_dir}"] if data_dir else [])]
        run = trainer.run(trainer.compose(overrides)).run_dir
    folder = download.data_root(data_dir) / "isbi2012"
    with tempfile.TemporaryDirectory() as directory:
        passed = [check(run, folder, Path(directory)) for check in (compare_on_test_slices, predict_large_image)]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
