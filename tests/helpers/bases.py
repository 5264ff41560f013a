"""Small runs whose inputs are mutated, and the files that they read."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
from PIL import Image

from tests.helpers.commands import write

SHORT = ("epochs=1", "threads=1")
BASES: dict[str, tuple[str, ...]] = {
    "mlp": ("model=mlp", "data=moons", "data.rows=60", "model.hidden=[4]"),
    "lstm": ("model=lstm", "data=synthetic_seq", "data.rows=60", "model.hidden_size=4"),
    "csv": ("model=mlp", "data=csv", "data.path=table.csv", "data.target=label", "model.hidden=[4]"),
    "pictures": ("model=cnn", "data=image_folder", "data.path=pictures", "model.channels=[2]", "model.hidden=[4]"),
    "text": (
        "model=char_lstm",
        "data=text_file",
        "data.path=text.txt",
        "data.seq_len=8",
        "model.hidden_size=4",
        "max_steps=2",
    ),
}
RUN_BASES = BASES | {
    "averaged": (*BASES["lstm"], "ema=0.9", "scheduler=plateau", "model.dropout=0.2"),
    "vae": ("model=vae", "data=moons", "data.rows=60", "model.hidden=[4]", "task.classifier=null"),
    "gan": ("model=gan", "data=moons", "data.rows=60", "task.classifier=null"),
}
"""Runs whose folders are mutated."""


def get_overrides(base: str) -> list[str]:
    """Return the command line of a short run."""
    return [*RUN_BASES[base], *(SHORT[1:] if base == "text" else SHORT)]


def write_files(folder: Path) -> None:
    """Write a small file of each kind."""
    rng = random.Random(0)
    rows = [f"{rng.random():.3f},{rng.random():.3f},{rng.choice('xyz')},{rng.choice(['yes', 'no'])}" for _ in range(60)]
    write(folder, {"table.csv": "\n".join(["a,b,kind,label", *rows]), "text.txt": "the cat sat on the mat. " * 60})
    draw = np.random.default_rng(0)
    for label in ("left", "right"):
        for number in range(8):
            path = folder / "pictures" / label / f"{number}.{'png' if number % 2 else 'jpg'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(path)
