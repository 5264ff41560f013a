"""Small trained runs on images, and what they predict."""

from __future__ import annotations

import csv
import json
import tempfile
from contextlib import chdir
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from tests.helpers import image_folders, palette_masks
from trainer.cli import main
from trainer.config import compose
from trainer.runs import train

RUNS = {
    "classifier": ("model=cnn", "data=image_folder", "data.size=8", "data.path=kinds"),
    "segmenter": (
        "model=unet",
        "model.widths=[4]",
        "data=image_masks",
        "data.classes=[low,mid,high]",
        "data.path=maps",
    ),
    "resized": ("model=unet", "model.widths=[4]", "data=image_masks", "data.size=16", "data.path=maps"),
}


@cache
def train_image_runs() -> Path:
    """Return a folder with trained runs, and their data in ``kinds/`` and ``maps/``, all moved after training."""
    path = Path(tempfile.mkdtemp())
    image_folders.write(path / "kinds")
    palette_masks.write(path / "maps")
    with chdir(path):
        for name, overrides in RUNS.items():
            small = ("max_steps=12", "batch_size=4", "threads=1", "draw=false", f"hydra.run.dir={path}/{name}")
            train.run(compose.compose([*overrides, *small]))
    (path / "moved").mkdir()
    for name in (*RUNS, "kinds", "maps"):
        (path / name).rename(path / "moved" / name)
    return path / "moved"


def predict(run: Path, output: Path, *options: str) -> list[dict[str, str]]:
    main.run_command(["predict", str(run), f"output={output}", *options])
    table = output / "predictions.csv" if output.is_dir() else output
    with table.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def read_mask(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def get_test_scores(run: Path) -> dict[str, float]:
    scores: dict[str, float] = json.loads((run / "results.json").read_text())["test"]
    return scores
