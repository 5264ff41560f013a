"""Small user files and models, made once per process, for the tests over ``conf/``."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import random
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from tests.helpers import clock, saved_model
from tests.helpers.idx_files import idx
from trainer.config import registry


@cache
def table() -> str:
    """Write a small file of rows for ``data=csv``."""
    draw = random.Random(0)
    handle, path = tempfile.mkstemp(suffix=".csv")
    with os.fdopen(handle, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["a", "b", "kind", "label"])
        for _ in range(120):
            a, b = draw.random(), draw.random()
            writer.writerow([f"{a:.6f}", f"{b:.6f}", draw.choice("xyz"), "yes" if a + b > 1 else "no"])
    return path


@cache
def hours() -> str:
    """Write a small hourly series for ``data=csv_series``."""
    draw = random.Random(0)
    handle, path = tempfile.mkstemp(suffix=".csv")
    with os.fdopen(handle, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["time", "a", "b"])
        for hour in range(120):
            writer.writerow([f"2020-01-{1 + hour // 24:02d} {hour % 24:02d}:00", draw.random(), hour + draw.random()])
    return path


@cache
def visits() -> str:
    """Write user-item pairs for ``data=click_file``."""
    draw = random.Random(0)
    handle, path = tempfile.mkstemp(suffix=".csv")
    with os.fdopen(handle, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user", "item"])
        writer.writerows({(f"u{draw.randrange(12)}", f"i{draw.randrange(25)}") for _ in range(60)})
    return path


@cache
def texts() -> Path:
    """Write small texts: a story, two folders of sentences, and two parallel files."""
    draw = random.Random(0)
    folder = Path(tempfile.mkdtemp())
    words = {"good": ["fine", "nice", "warm"], "bad": ["cold", "wet", "dark"]}
    lines = [" ".join(draw.choices(words[kind], k=draw.randint(2, 9))) for kind in words for _ in range(30)]
    for number, line in enumerate(lines):
        document = folder / "kinds" / ("good" if number < 30 else "bad") / f"{number}.txt"
        document.parent.mkdir(parents=True, exist_ok=True)
        document.write_text(line)
    (folder / "story.txt").write_text("\n".join(lines * 5))
    (folder / "source.txt").write_text("\n".join(lines))
    (folder / "target.txt").write_text("\n".join(" ".join(reversed(line.split())) for line in lines))
    return folder


@cache
def pictures() -> Path:
    """Write small images: a folder of two classes, one with masks, and one in the format of MNIST."""
    draw = np.random.default_rng(0)
    folder = Path(tempfile.mkdtemp())
    for name in ("kinds/dark", "kinds/light", "marked/images", "marked/masks", "idx"):
        (folder / name).mkdir(parents=True)
    for number in range(20):
        for kind, level in (("dark", 0), ("light", 128)):
            pixels = (level + draw.integers(128, size=(16, 18, 3))).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "kinds" / kind / f"{number}.png")
        pixels = draw.integers(256, size=(16, 16)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "marked" / "images" / f"{number}.png")
        Image.fromarray(pixels // 86).save(folder / "marked" / "masks" / f"{number}.png")
    for part, rows in (("train", 60), ("t10k", 30)):
        labels = (np.arange(rows) % 10).astype(np.uint8)
        pixels = draw.integers(256, size=(rows, 12, 12)).astype(np.uint8)
        (folder / "idx" / f"{part}-images").write_bytes(idx(pixels.tobytes(), *pixels.shape))
        (folder / "idx" / f"{part}-labels").write_bytes(idx(labels.tobytes(), rows))
    return folder


@cache
def tables() -> str:
    """Write small tables of five regions over time in a folder of two classes, for ``data=parcel_series``."""
    draw = np.random.default_rng(0)
    folder = Path(tempfile.mkdtemp())
    for kind in ("calm", "wild"):
        (folder / kind).mkdir()
        for number in range(12):
            np.save(folder / kind / f"{number}.npy", draw.normal(size=(draw.integers(6, 10), 5)))
    return str(folder)


@cache
def graph_tables() -> str:
    """Write small graphs in tables, which are also one disconnected graph."""
    draw = random.Random(0)
    folder = Path(tempfile.mkdtemp())
    nodes, edges = ["id,graph,size,colour,label"], ["source,target,weight,type"]
    for graph in range(30):
        kind = "ring" if graph % 2 else "star"
        members = [f"g{graph}n{node}" for node in range(draw.randint(4, 7))]
        nodes += [f"{name},{graph},{draw.random():.4f},{draw.choice('rgb')},{kind}" for name in members]
        ends = [(members[k - 1] if graph % 2 else members[0], name) for k, name in enumerate(members) if graph % 2 or k]
        edges += [f"{one},{other},{draw.random():.4f},{draw.choice(['near', 'far'])}" for one, other in ends]
    (folder / "nodes.csv").write_text("\n".join(nodes))
    (folder / "edges.csv").write_text("\n".join(edges))
    return str(folder)


@cache
def collection() -> str:
    """Write graphs of two classes for ``data=tu``: rings, and rings with a chord."""
    folder = Path(tempfile.mkdtemp())
    rings = [range(1 + 5 * graph, 6 + 5 * graph) for graph in range(30)]
    edges = [(ring[i], ring[i - 1]) for ring in rings for i in range(5)]
    edges += [(ring[0], ring[2]) for ring in rings[::2]]
    texts = {
        "A": [f"{a}, {b}" for one, other in edges for a, b in ((one, other), (other, one))],
        "graph_indicator": [str(graph) for graph in range(1, 31) for _ in range(5)],
        "graph_labels": [str(graph % 2) for graph in range(30)],
        "node_labels": [str(node % 3) for node in range(150)],
    }
    for part, lines in texts.items():
        (folder / f"RINGS_{part}.txt").write_text("\n".join(lines))
    return str(folder)


@cache
def series_cases() -> str:
    """Write a small collection ``ucr/WAVES``: rising and falling series of unequal length."""
    draw = np.random.default_rng(0)
    folder = Path(tempfile.mkdtemp())
    (folder / "ucr" / "WAVES").mkdir(parents=True)
    for part, rows in (("TRAIN", 40), ("TEST", 24)):
        lines = ["@problemName WAVES", "@classLabel true down up", "@data"]
        for row in range(rows):
            steps = np.arange(draw.integers(6, 12)) * (1 if row % 2 else -1) + draw.normal(size=1)
            lines.append(",".join(f"{step:.4f}" for step in steps) + (":up" if row % 2 else ":down"))
        (folder / "ucr" / "WAVES" / f"WAVES_{part}.ts").write_text("\n".join(lines) + "\n")
    return str(folder)


@cache
def linked_series() -> Path:
    """Write a small file of linked series where ``data=chickenpox`` reads its own."""
    draw = np.random.default_rng(0)
    folder = Path(tempfile.mkdtemp())
    (folder / "chickenpox").mkdir()
    ring = [[place, (place + step) % 5] for place in range(5) for step in (0, 1, 4)]
    weeks = draw.normal(size=(80, 5)).round(4).tolist()
    (folder / "chickenpox" / "chickenpox.json").write_text(json.dumps({"edges": ring, "FX": weeks}))
    return folder


STAND_INS: dict[str, Callable[[], Path]] = {"chickenpox": linked_series}
"""Generated files for data sets of real files, for models without another kind of data."""


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


OWN_FILES: dict[str, dict[str, Callable[[], str]]] = {
    "csv": {"path": table, "target": lambda: "label"},
    "csv_series": {"path": hours, "time": lambda: "time"},
    "text_file": {"path": lambda: str(texts() / "story.txt")},
    "text_folder": {"path": lambda: str(texts() / "kinds")},
    "idx": {"path": lambda: str(pictures() / "idx")},
    "image_folder": {"path": lambda: str(pictures() / "kinds")},
    "image_masks": {"path": lambda: str(pictures() / "marked")},
    "edge_list": {"path": graph_tables, "target": lambda: "label"},
    "edge_list_graphs": {"path": graph_tables, "target": lambda: "label"},
    "pairs": {name: lambda name=name: str(texts() / f"{name}.txt") for name in ("source", "target")},  # type: ignore[misc]
    "parcel_series": {"path": tables},
    "click_file": {"path": visits},
    "triples": {"path": lambda: str(clock.write(Path(tempfile.mkdtemp())))},
    "tu": {"path": collection},
}
"""Keys of data sets that read files of the user."""
OWN_SETS: dict[str, dict[str, Callable[[], str]]] = {"ucr": {"data_dir": series_cases, "name": lambda: "WAVES"}}
"""Keys of data sets that read files of the user in the data folder."""


@cache
def saved() -> Path:
    return saved_model.save(Path(tempfile.mkdtemp()))


@cache
def saved_images() -> Path:
    return saved_model.save_images(Path(tempfile.mkdtemp()), "vit")


def find_saved_model(data: str) -> str:
    """Return the saved model for a data set of texts or of images."""
    option = registry.list_options("data")[data]
    return str(saved_images() if "(B, C, H, W)" in option.shapes_line else saved())


OWN_MODELS: dict[str, dict[str, Callable[[str], str]]] = {"pretrained": {"name": find_saved_model}}
"""Keys of models that read files of the user, by the data set."""
