"""Files that broken and healthy runs of many families read: models, texts, images and tables, synthetic and small."""

from __future__ import annotations

import math
import random
from pathlib import Path

import numpy as np

PLUGIN = '''
import torch
from torch import Tensor, nn

class RatioGRU(nn.Module):
    """A recurrent model that divides by the first value of a sequence, which is 0 in a few rows."""

    shapes = "x (B, T, F) -> (B, C)"

    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.ratio = Ratio()
        self.cells = nn.GRU(in_features, 8, batch_first=True)
        self.head = nn.Linear(8, out_features)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cells(self.ratio(x))[0][:, -1])

class Ratio(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        first = x[:, :1, :1].round(decimals=2)
        return x / first

class ShiftedCNN(nn.Module):
    """A convolutional model whose last ReLUs are all 0."""

    shapes = "x (B, C, H, W) -> (B, C)"

    def __init__(self, in_channels: int, out_features: int):
        super().__init__()
        self.first, self.second = nn.Conv2d(in_channels, 8, 3), nn.Conv2d(8, 16, 3)
        self.head = nn.Linear(16, out_features)
        nn.init.constant_(self.second.bias, -30.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.second(torch.relu(self.first(x)))).mean((2, 3)))

class StuckGRU(nn.Module):
    """A GRU whose gates are all open or closed."""

    shapes = "x (B, T, F) -> (B, C)"

    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.cells = nn.GRU(in_features, 16, batch_first=True)
        self.head = nn.Linear(16, out_features)
        for parameter in self.cells.parameters():
            parameter.data.mul_(300.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cells(x)[0][:, -1])
'''
FILES = {
    "family_models.py": PLUGIN,
    "conf/model/ratio_gru.yaml": "# A model.\n_target_: family_models.RatioGRU\nin_features: ??? # from the data\n"
    "out_features: ??? # from the data\n",
    "conf/model/stuck_gru.yaml": "# A model.\n_target_: family_models.StuckGRU\nin_features: ??? # from the data\n"
    "out_features: ??? # from the data\n",
    "conf/model/shifted_cnn.yaml": "# A model.\n_target_: family_models.ShiftedCNN\nin_channels: ??? # from the data\n"
    "out_features: ??? # from the data\n",
}
WORD_LISTS = {kind: [f"{kind}{number}" for number in range(20)] for kind in ("sun", "sea", "any")}


def write_files() -> None:
    """Write the plugin, texts, images and tables that the runs use into the working folder."""
    for name, text in FILES.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)
    Path("texts.tsv").write_text(make_texts(400))
    Path("texts_flipped.tsv").write_text(make_texts(600, flipped=0.15))
    Path("texts_random.tsv").write_text(make_texts(400, flipped=0.5))
    Path("texts_twice.tsv").write_text(make_texts(150, copies=2))
    Path("texts_rare.tsv").write_text(make_texts(700, rare=0.05, signal=0.04))
    Path("book.txt").write_text(make_book(1500))
    Path("noise.txt").write_text("".join(random.Random(0).choices("abcdefghij", k=2000)))
    Path("regression.csv").write_text(make_regression(400))
    Path("series.csv").write_text(make_series(400))
    write_images(Path("images"), 120)
    write_images(Path("images_twice"), 60, copies=2)
    write_images(Path("images_large"), 120, scale=16)


def make_texts(rows: int, *, flipped: float = 0.0, copies: int = 1, rare: float = 0.5, signal: float = 0.5) -> str:
    """Return lines of text, tab and class.

    Args:
        rows: Number of distinct texts.
        flipped: Share of the texts with the other class.
        copies: How often each text occurs.
        rare: Share of the second class.
        signal: Share of the words that tell the class.
    """
    draw = random.Random(0)
    lines = []
    for _ in range(rows):
        kind = ("sun", "sea")[draw.random() < rare]
        words = [draw.choice(WORD_LISTS[kind if draw.random() < signal else "any"]) for _ in range(12)]
        label = {"sun": "sea", "sea": "sun"}[kind] if draw.random() < flipped else kind
        lines += [f"{' '.join(words)}\t{label}"] * copies
    draw.shuffle(lines)
    return "\n".join(lines) + "\n"


def make_book(words: int) -> str:
    """Return a text of random words of a small vocabulary, each followed by one of four."""
    draw = random.Random(0)
    vocabulary = ["".join(draw.choice("abcdefghij") for _ in range(draw.randint(2, 6))) for _ in range(60)]
    following = {word: draw.sample(vocabulary, 4) for word in vocabulary}
    text = [vocabulary[0]]
    while len(text) < words:
        text.append(draw.choice(following[text[-1]]))
    return " ".join(text) + "\n"


def make_regression(rows: int) -> str:
    """Return a table with a number to predict, a function of three others."""
    draw = random.Random(0)
    lines = ["a,b,c,target"]
    for _ in range(rows):
        a, b, c = (draw.gauss(0, 1) for _ in range(3))
        target = a - 2 * b + math.sin(3 * c) + draw.gauss(0, 0.1)
        lines.append(f"{a:.5f},{b:.5f},{c:.5f},{target:.5f}")
    return "\n".join(lines) + "\n"


def make_series(steps: int) -> str:
    """Return a table of two periodic series."""
    draw = random.Random(0)
    rows = ((math.sin(step / 4) + draw.gauss(0, 0.1), math.cos(step / 7) + draw.gauss(0, 0.1)) for step in range(steps))
    return "a,b\n" + "\n".join(f"{a:.4f},{b:.4f}" for a, b in rows) + "\n"


def write_images(folder: Path, per_class: int, *, copies: int = 1, scale: int = 1) -> None:
    """Write images of 16 * scale pixels with noisy horizontal and vertical stripes, a folder for each class."""
    from PIL import Image

    draw = np.random.default_rng(0)
    stripes = np.tile(np.array([60.0, 60.0, 190.0, 190.0]), (16, 4))
    for name, pattern in (("horizontal", stripes.T), ("vertical", stripes)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(per_class):
            shifted = np.roll(pattern, int(draw.integers(4)), axis=0 if name == "horizontal" else 1)
            pixels = (shifted + draw.normal(0, 40, (16, 16))).clip(0, 255).astype(np.uint8)
            for copy in range(copies):
                Image.fromarray(pixels.repeat(scale, 0).repeat(scale, 1)).save(
                    folder / name / f"{number:03}-{copy}.png"
                )
