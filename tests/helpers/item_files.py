"""Files of test items of each kind, that are written in any order, for predictions that are scored outside.

A function writes the training files of a kind, with the test rows among them, into a folder. It returns the test items:
what is needed to write them again, in another order and without their targets.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from tests.helpers import palette_masks
from tests.helpers.idx_files import idx
from tests.helpers.real_data import FOLDER

CLASSES = ("blue", "green", "red")
WORDS = {"good": ("fine", "nice", "warm", "sunny"), "bad": ("cold", "wet", "dark", "grim")}
PARTS = {"train": 90, "val": 30, "test": 70}
"""Number of items of each part."""


@dataclass(frozen=True)
class TestItems:
    """Test items that can be written in any order.

    Attributes:
        overrides: Keys of the data set for the training files.
        truth: Target of each item; None for one without target.
        write: Function from a new folder and the order of the items to the path of an input.
        find: Function from the predictions for the test rows of a run to the indices of the test items, for splits that
            the run draws; None if all items with a target are test rows.
        has_row_per_item: Whether each item has one row of predictions, in their order.
    """

    __test__ = False

    overrides: tuple[str, ...]
    truth: Sequence[Any]
    write: Callable[[Path, Sequence[int]], Path]
    find: Callable[[pd.DataFrame], list[int]] | None = None
    has_row_per_item: bool = True


def write_rows(path: Path, titles: Iterable[str], rows: Iterable[Iterable[Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([titles, *rows])
    return path


def write_lines(path: Path, lines: Iterable[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def draw_parts() -> list[str]:
    """Return the part of each item, shuffled."""
    parts = [part for part, count in PARTS.items() for _ in range(count)]
    random.Random(0).shuffle(parts)
    return parts


def make_table(folder: Path, target: str) -> TestItems:
    """Write a table with numbers, a category, a class and a price, whose test rows are a file of their own."""
    draw, parts, titles = random.Random(1), draw_parts(), ("size", "color", "weight", "label", "price", "part")
    rows = []
    for part in parts:
        size, color, weight = draw.uniform(-2, 2), draw.choice(CLASSES), draw.randint(1, 9)
        score = size * (1 if color == "red" else -1) + 0.2 * weight + draw.gauss(0, 0.5)
        label = "high" if score > 1.5 else "mid" if score > 0 else "low"
        rows.append((f"{size:.4f}", color, weight, label, f"{1000 + 50 * score:.2f}", part))
    write_rows(folder / "rows.csv", titles, rows)
    items = [row for row in rows if row[-1] == "test"]
    column = titles.index(target)
    other = {"label": "price", "price": "label"}[target]

    def write(path: Path, order: Sequence[int]) -> Path:
        kept = (2, 0, 1)  # in another order, without targets
        return write_rows(path / "rows.csv", [titles[k] for k in kept], ([items[i][k] for k in kept] for i in order))

    keys = (f"data.path={folder / 'rows.csv'}", f"data.target={target}", f"data.drop_columns=[{other}]")
    truth = [float(item[column]) if target == "price" else item[column] for item in items]
    return TestItems((*keys, "data.split_column=part"), truth, write)


def make_census(folder: Path) -> TestItems:
    """Write some rows of the Adult data set, which have no header, and its test rows as a file of their own."""
    parts = {}
    for part, count in (("train", 4000), ("test", 1000)):
        lines = (FOLDER / "adult" / f"adult-{part}.csv").read_text().splitlines()
        parts[part] = [line.rstrip(".") for line in lines if line][:count]
        write_lines(folder / f"{part}.csv", parts[part])
    items = [line.rpartition(", ") for line in parts["test"]]

    def write(path: Path, order: Sequence[int]) -> Path:
        return write_lines(path / "rows.csv", (f"{items[i][0]}, ?" for i in order))

    keys = (f"data.path={folder / 'train.csv'}", f"data.test_path={folder / 'test.csv'}", "data.target=-1")
    return TestItems(keys, [item[2] for item in items], write)


def save_images(folder: Path, images: Iterable[np.ndarray]) -> Path:
    folder.mkdir(parents=True)
    for number, pixels in enumerate(images):
        Image.fromarray(pixels).save(folder / f"{number:04d}.png")
    return folder


def make_images(folder: Path) -> TestItems:
    """Write color images by class, and those of the test part in a folder of their own."""
    draw, items, truth = np.random.default_rng(2), list[np.ndarray](), list[str]()
    for part, count in PARTS.items():
        for place, name in enumerate(CLASSES):
            shape = (count // 3, 16, 16, 3)
            pixels = draw.integers(0, 200, shape)
            pixels[..., place] += 40 * (draw.random(shape[:3]) < 0.5)
            images = list(pixels.clip(0, 255).astype(np.uint8))
            save_images(folder / "images" / part / name, images)
            if part == "test":
                items += images
                truth += [name] * len(images)

    def write(path: Path, order: Sequence[int]) -> Path:
        return save_images(path / "images", (items[i] for i in order))

    return TestItems((f"data.path={folder / 'images'}", "data.size=16"), truth, write)


def make_idx_files(folder: Path) -> TestItems:
    """Write gray images of ten classes in the format of MNIST."""
    draw, parts = np.random.default_rng(14), {}
    (folder / "idx").mkdir(parents=True)
    for part, count in (("train", 300), ("t10k", 80)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        pixels = draw.integers(0, 200, (count, 12, 12)).astype(np.uint8)
        pixels[np.arange(count), labels] += 55
        (folder / f"idx/{part}-images").write_bytes(idx(pixels.tobytes(), *pixels.shape))
        (folder / f"idx/{part}-labels").write_bytes(idx(labels.tobytes(), count))
        parts[part] = pixels, labels
    pixels, labels = parts["t10k"]

    def write(path: Path, order: Sequence[int]) -> Path:
        path.mkdir(parents=True)
        chosen = pixels[list(order)]
        (path / "rows-images").write_bytes(idx(chosen.tobytes(), *chosen.shape))
        return path / "rows-images"

    return TestItems((f"data.path={folder / 'idx'}",), labels.tolist(), write)


def make_masks(folder: Path) -> TestItems:
    """Write images with masks in a palette."""
    items, truth, number = list[np.ndarray](), list[np.ndarray](), 0
    for part, count in (("train", 20), ("val", 6), ("test", 14)):
        for name in ("images", "masks"):
            (folder / "maps" / part / name).mkdir(parents=True)
        for _ in range(count):
            pixels, classes = palette_masks.make_pair(number)
            mask = np.array(palette_masks.VALUES, np.uint8)[classes]
            picture = Image.fromarray(mask)
            picture.putpalette(palette_masks.make_palette())
            Image.fromarray(pixels).save(folder / f"maps/{part}/images/{number}.png")
            picture.save(folder / f"maps/{part}/masks/{number}.png")
            if part == "test":
                items.append(pixels)
                truth.append(mask)
            number += 1

    def write(path: Path, order: Sequence[int]) -> Path:
        return save_images(path / "images", (items[i] for i in order))

    return TestItems((f"data.path={folder / 'maps'}", "data.classes=[low,mid,high]"), truth, write)


def draw_sentence(draw: random.Random, kind: str) -> str:
    other = {"good": "bad", "bad": "good"}[kind]
    return " ".join(draw.choice(WORDS[kind if draw.random() < 0.8 else other]) for _ in range(draw.randint(3, 14)))


def make_documents(folder: Path, as_lines: bool) -> TestItems:
    """Write texts by class; the input is a file of lines, or a folder of documents."""
    draw, items, truth = random.Random(3), list[str](), list[str]()
    for part, count in PARTS.items():
        for number in range(count):
            kind = ("good", "bad")[number % 2]
            text = f"{draw_sentence(draw, kind)} {part} {number}"
            file = folder / "texts" / part / kind / f"{number}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            if part == "test":
                items.append(text)
                truth.append(kind)

    def write(path: Path, order: Sequence[int]) -> Path:
        if as_lines:
            return write_lines(path / "lines.txt", (items[i] for i in order))
        (path / "texts").mkdir(parents=True)
        for number, i in enumerate(order):
            (path / "texts" / f"{number:04d}.txt").write_text(items[i])
        return path / "texts"

    return TestItems((f"data.path={folder / 'texts'}",), truth, write)


def make_sentence_pairs(folder: Path) -> TestItems:
    """Write sentences and, as their translations, the reversed and replaced words."""
    draw, names = random.Random(4), [word for words in WORDS.values() for word in words]
    sources = sorted({" ".join(draw.choices(names, k=draw.randint(3, 7))) for _ in range(700)})
    draw.shuffle(sources)
    targets = [" ".join(word[::-1] for word in reversed(line.split())) for line in sources]
    write_lines(folder / "source.txt", sources)
    write_lines(folder / "target.txt", targets)

    def write(path: Path, order: Sequence[int]) -> Path:
        return write_lines(path / "lines.txt", (sources[i] for i in order))

    def find(rows: pd.DataFrame) -> list[int]:
        return [targets.index(text) for text in rows["target"]]

    keys = (f"data.source={folder / 'source.txt'}", f"data.target={folder / 'target.txt'}")
    return TestItems(keys, targets, write, find)


def make_prompts(folder: Path, seq_len: int) -> TestItems:
    """Write one line of text; the items are the beginnings of each window of its last tenth, and the next character."""
    draw = random.Random(5)
    text = " ".join(draw_sentence(draw, ("good", "bad")[k % 2]) for k in range(100))[:6000]
    folder.mkdir(parents=True)
    (folder / "text.txt").write_text(text)
    test = text[round(0.9 * len(text)) :]
    starts = range(0, (len(test) - 1) // seq_len * seq_len, seq_len)
    items = [test[start : start + count] for start in starts for count in range(1, seq_len + 1)]
    truth = [test[start + count] for start in starts for count in range(1, seq_len + 1)]

    def write(path: Path, order: Sequence[int]) -> Path:
        return write_lines(path / "lines.txt", (items[i] for i in order))

    return TestItems((f"data.path={folder / 'text.txt'}", f"data.seq_len={seq_len}", "data.test=0.1"), truth, write)
