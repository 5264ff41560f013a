"""Runs on a table with separate test rows, for predictions and evaluations of files."""

from __future__ import annotations

import csv
import random
from pathlib import Path

from trainer.config import compose
from trainer.runs import train

COLUMNS = ("size", "colour", "weight", "label", "price")
BASE = ("model=mlp", "model.hidden=[8]", "data=csv", "data.test_path=test.csv", "data.path=train.csv", "threads=1")
SETTINGS = ("epochs=4", "batch_size=16", "optimizer.lr=0.02", "draw=false", "hydra.run.dir=run")


def make_rows(count: int, seed: int) -> list[list[str]]:
    """Return rows of a table whose label and price depend on size and colour."""
    draw = random.Random(seed)
    rows = []
    for _ in range(count):
        size, colour, weight = draw.uniform(-2, 2), draw.choice(["red", "green", "blue"]), draw.randint(1, 9)
        score = size + (colour == "red") + draw.gauss(0, 0.7)
        label = "high" if score > 0.8 else "mid" if score > -0.5 else "low"
        rows.append([f"{size:.4f}", colour, str(weight), label, f"{1000 + 50 * score:.2f}"])
    return rows


def write_rows(path: Path, rows: list[list[str]], columns: tuple[str, ...] = COLUMNS) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([columns, *rows])
    return path


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def train_on_table(target: str, *more: str) -> Path:
    """Train a small run in the working folder; its training and test rows are in ``train.csv`` and ``test.csv``."""
    write_rows(Path("train.csv"), make_rows(160, 0))
    write_rows(Path("test.csv"), make_rows(70, 1))
    other = {"label": "price", "price": "label"}[target]
    overrides = [*BASE, f"data.target={target}", f"data.drop_columns=[{other}]", *SETTINGS, *more]
    return Path(train.run(compose.compose(overrides)).run_dir).absolute()
