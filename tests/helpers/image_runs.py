"""Small trained runs on images, and what they predict."""

from __future__ import annotations

import csv
import json
import shutil
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

UNET = ("model=unet", "model.widths=[4]", "data=image_masks", "data.path=maps")
RUNS = {
    "classifier": ("model=cnn", "data=image_folder", "data.size=8", "data.path=kinds"),
    "segmenter": (*UNET, "data.classes=[low,mid,high]"),
    "resized": (*UNET, "data.size=16"),
}


@cache
def write_images() -> Path:
    """Return a folder with labeled images in ``kinds/``, and images with masks in ``maps/``."""
    path = Path(tempfile.mkdtemp())
    image_folders.write(path / "kinds")
    palette_masks.write(path / "maps")
    return path


@cache
def train_image_run(name: str) -> Path:
    """Return a small trained run, moved after training, whose data no longer exists."""
    path = Path(tempfile.mkdtemp())
    shutil.copytree(write_images(), path, dirs_exist_ok=True)
    with chdir(path):
        small = ("max_steps=12", "batch_size=4", "threads=1", "draw=false", "hydra.run.dir=run")
        train.run(compose.compose([*RUNS[name], *small]))
    for folder in ("kinds", "maps"):
        shutil.rmtree(path / folder)
    return (path / "run").rename(path / name)


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
