"""Every model with every data set, small: what the tests over ``conf/`` share."""

from __future__ import annotations

import csv
import json
import os
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import saved_model
import torch
import yaml
from idx_files import idx
from PIL import Image

from trainer import builder, catalog, config, contract, seeding
from trainer.data.base import Data
from trainer.loader import Loader
from trainer.task import Task

MODELS, DATA, TASKS = (catalog.options(group) for group in ("model", "data", "task"))
REAL = Path(__file__).parents[2] / "shared" / "data"
"""Where real data lies beside a checkout, if it does."""
FILES = {"mnist_rows": "mnist"}
"""Data sets that read the files of another."""
LARGE = (
    "cora",
    "citeseer",
    "etth1",
    "isbi2012",
    "mnist",
    "mnist_rows",
    "review_polarity",
    "multi30k",
    "tinyshakespeare",
    "karate",
    "esol",
    "tu_proteins",
)
"""Data sets that take a second to read."""
SMALL = {"rows": 150}
SIZES = {"isbi2012": {"size": 64}}
"""What else makes a data set small."""
NAMELESS = {"model": "", "data": "", "task": ""}


@cache
def table() -> str:
    """A small file of rows for ``data=csv``."""
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
    """A small series with the hours it was measured at, for ``data=csv_series``."""
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
    """Who looked at what, for ``data=click_file``."""
    draw = random.Random(0)
    handle, path = tempfile.mkstemp(suffix=".csv")
    with os.fdopen(handle, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user", "item"])
        writer.writerows({(f"u{draw.randrange(12)}", f"i{draw.randrange(25)}") for _ in range(60)})
    return path


@cache
def texts() -> Path:
    """Small texts: a story, two folders of sentences, and two files line by line."""
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
    """Small pictures: a folder of two classes, one with masks, and one in the format of MNIST."""
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
    """Small tables of five regions over time in a folder of two classes, for ``data=parcel_series``."""
    draw = np.random.default_rng(0)
    folder = Path(tempfile.mkdtemp())
    for kind in ("calm", "wild"):
        (folder / kind).mkdir()
        for number in range(12):
            np.save(folder / kind / f"{number}.npy", draw.normal(size=(draw.integers(6, 10), 5)))
    return str(folder)


@cache
def graph_tables() -> str:
    """Small graphs in tables, which are also one graph that is not connected."""
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
    """A small set of graphs of two classes, for ``data=tu``: rings, and rings with a chord."""
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
    "tu": {"path": collection},
}
"""What data sets of the user's own files are given here."""


@cache
def saved() -> Path:
    return saved_model.save(Path(tempfile.mkdtemp()))


OWN_MODELS: dict[str, dict[str, Callable[[], str]]] = {"pretrained": {"name": lambda: str(saved())}}
"""What models of the user's own files are given here."""
SMALL_MODELS: dict[str, dict[str, Any]] = {
    "vit_b16": {"patch": None, "embed_size": 16, "layers": 1, "heads": 2, "hidden": 16},
}
"""What makes a large model small, and lets it take the small images here."""


def node(option: catalog.Option) -> dict[str, Any]:
    """The keys of an option's own group."""
    tree = yaml.safe_load(option.path.read_text(encoding="utf-8"))
    found = tree[option.group] if option.lines[0].startswith("# @package _global_") else tree
    return {key: value for key, value in found.items() if key != "defaults"}


def shrink(name: str) -> dict[str, Any]:
    """What makes a data set small, complete, and found without a network."""
    keys = node(DATA[name])
    found = {key: value for key, value in SMALL.items() if key in keys}
    return found | SIZES.get(name, {}) | {key: value() for key, value in OWN_FILES.get(name, {}).items()}


def lacking(name: str) -> str | None:
    """Why a data set cannot be built here."""
    if "data_dir" not in node(DATA[name]):
        return None
    if name == "esol" and find_spec("rdkit") is None:
        return "no rdkit here"
    return None if (REAL / FILES.get(name, name)).exists() else f"no files of {name} here"


def overrides(data: str) -> list[str]:
    real = [f"data_dir={REAL}"] if "data_dir" in node(DATA[data]) else []
    return [f"data={data}", *real, *(f"data.{key}={value}" for key, value in shrink(data).items())]


def task_of(model: str, data: str) -> str:
    """The task of a pair when the user names none: the model's choice, else the data set's."""
    return MODELS[model].task or DATA[data].task or "classification"


def explain(model: str, data: str, names: dict[str, str] | None = None) -> str | None:
    options = {"model": MODELS[model], "data": DATA[data], "task": TASKS[task_of(model, data)]}
    targets = {group: str(option.target) for group, option in options.items()}
    return contract.explain(targets, names or NAMELESS)


PAIRS = [(model, data) for model in MODELS for data in DATA]
FITTING = [
    (model, data)
    for model, data in PAIRS
    if explain(model, data) is None and MODELS[model].sets_in("data") <= set(node(DATA[data]))
]


@cache
def built(name: str) -> Data:
    """A data set as its own command builds it, but small. Kept: nothing may change it."""
    keys = node(DATA[name]) | shrink(name)
    if "data_dir" in keys:
        keys["data_dir"] = str(REAL)
    if "target_kind" in keys:
        keys["target_kind"] = TASKS[DATA[name].task or "classification"].target
    return builder.make(keys, Data)  # type: ignore[type-abstract]


def first_data(model: str) -> str:
    """The first data set that fits and can be built here, quick ones first."""
    good = [data for fit, data in FITTING if fit == model and lacking(data) is None]
    assert good, f"no data set fits {model}"
    return min(good, key=lambda data: "rows" not in shrink(data))


@dataclass
class Pair:
    """A task and what it learns from, ready for a step."""

    config: config.Config
    data: Data
    task: Task
    loaders: dict[str, Loader]


def pair(model: str, data: str, *more: str, seed: int = 0) -> Pair:
    own = [f"model.{key}={value()}" for key, value in OWN_MODELS.get(model, {}).items()]
    own += [f"model.{key}={json.dumps(value)}" for key, value in SMALL_MODELS.get(model, {}).items()]
    cut = (
        ["data.max_length=16", "data.keep=first"] if model == "pretrained" and "max_length" in node(DATA[data]) else []
    )
    composed = config.compose([f"model={model}", *own, *overrides(data), *cut, f"seed={seed}", "batch_size=16", *more])
    made = builder.data(composed.tree)
    seeding.seed_everything(seed)
    task = builder.task(composed.tree, made, composed.names)
    return Pair(composed, made, task, builder.loaders(composed.tree, made, composed.settings, torch.device("cpu")))
