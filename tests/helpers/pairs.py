"""Every model with every data set at a small size, shared by the tests over ``conf/``."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from tests.helpers import option_files, real_data
from tests.helpers.own_files import OWN_FILES, OWN_MODELS, STAND_INS, digest
from trainer.config import compatibility, compose, introspection, registry
from trainer.core import rng, shapes
from trainer.core.dataset import Dataset
from trainer.core.task import Task
from trainer.core.types import MISSING
from trainer.data.datasets.series import graph_series
from trainer.engine import factory
from trainer.engine.dataloader import Loader

MODELS, DATA, TASKS = (registry.list_options(group) for group in ("model", "data", "task"))
FILES = {"mnist_rows": "mnist", "kinship": "kg_small", "nations": "kg_small"}
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
    "wn18rr",
    "esol",
    "tu_proteins",
)
"""Data sets that take a second to read."""
SMALL = {"rows": 150}
SIZES = {"isbi2012": {"size": 64}}
"""Other keys that make a data set small."""
NAMELESS = {"model": "", "data": "", "task": ""}


SMALL_MODELS: dict[str, dict[str, Any]] = {
    "vit_b16": {"patch": None, "embed_size": 16, "layers": 1, "heads": 2, "hidden": 16},
    "diffusion_unet": {"widths": [4, 4, 4], "heads": 0},
}
"""Keys that make a large model small and fit small images."""


@cache
def _keys(option: registry.ConfigOption) -> dict[str, Any]:
    return option_files.read_keys(option)


def read_node(option: registry.ConfigOption) -> dict[str, Any]:
    """Return a copy of the keys of an option's own group."""
    return deepcopy(_keys(option))


def small_keys(name: str) -> dict[str, Any]:
    """Return the keys that make a data set small, complete and available offline."""
    keys = read_node(DATA[name])
    found = {key: value for key, value in SMALL.items() if key in keys}
    return found | SIZES.get(name, {}) | {key: value() for key, value in OWN_FILES.get(name, {}).items()}


def missing_reason(name: str) -> str | None:
    """Return why a data set cannot be built here, or None."""
    if "data_dir" not in read_node(DATA[name]):
        return None
    if name == "esol" and find_spec("rdkit") is None:
        return "no rdkit here"
    return None if name in STAND_INS else real_data.missing_reason(FILES.get(name, name))


def uses_stand_in(name: str) -> bool:
    return name in STAND_INS and real_data.missing_reason(name) is not None


def data_dir(name: str) -> Path:
    """Return the data folder of a real data set or of its stand-in."""
    return STAND_INS[name]() if uses_stand_in(name) else real_data.FOLDER


def make_dataset(keys: dict[str, Any]) -> Dataset:
    """Build a data set from its keys, with stand-ins for real files."""
    files = {name: graph_series.FILES[name][0] for name in STAND_INS if uses_stand_in(name)}
    known = {name: (file, digest(data_dir(name) / name / file)) for name, file in files.items()}
    with patch.dict(graph_series.FILES, known):
        return factory.instantiate_node(keys, Dataset)  # type: ignore[type-abstract]


def overrides(data: str) -> list[str]:
    real = [f"data_dir={data_dir(data)}"] if "data_dir" in read_node(DATA[data]) else []
    return [f"data={data}", *real, *(f"data.{key}={value}" for key, value in small_keys(data).items())]


def task_of(model: str, data: str) -> str:
    """Return the default task of a pair: the model's choice, else the data set's."""
    return MODELS[model].task_name or DATA[data].task_name or "classification"


read_signature = cache(introspection.read_signature)
"""Reads each class once per process: the source does not change, and every pair reads three."""


def explain(model: str, data: str, names: dict[str, str] | None = None) -> str | None:
    options = {"model": MODELS[model], "data": DATA[data], "task": TASKS[task_of(model, data)]}
    targets = {group: str(option.class_path) for group, option in options.items()}
    with patch.object(introspection, "read_signature", read_signature):
        return compatibility.explain_incompatibility(targets, names or NAMELESS)


PAIRS = [(model, data) for model in MODELS for data in DATA]


def has_keys(model: str, data: str) -> bool:
    """Return whether a data set has the keys that the file of a model sets for it."""
    targets = (str(option.class_path) for option in (MODELS[model], DATA[data]))
    keys = MODELS[model].keys_set_in("data")
    return keys <= set(_keys(DATA[data])) or not compatibility.takes_first_alternative(*targets)


FITTING = [(model, data) for model, data in PAIRS if explain(model, data) is None and has_keys(model, data)]


@cache
def build_dataset(name: str) -> Dataset:
    """Build a data set as the command does, but small. Cached: do not modify it."""
    keys = read_node(DATA[name]) | small_keys(name)
    if "data_dir" in keys:
        keys["data_dir"] = str(data_dir(name))
    if "target_kind" in keys:
        task = TASKS[DATA[name].task_name or "classification"].class_path
        keys["task_target"] = compatibility.infer_target_kind(str(task))
    return make_dataset(keys)


def lacks_classes(model: str, data: str) -> bool:
    """Return True if a model needs class labels that a data set lacks: shapes do not state which have them."""
    parsed = shapes.parse_alternatives(MODELS[model].shapes_line)
    if not any("label" in item.inputs for item in parsed) or read_node(MODELS[model]).get("num_classes") != MISSING:
        return False
    targets = build_dataset(data).train.get_targets()
    is_class = targets is not None and targets.dim() == 1 and not targets.is_floating_point()
    return not (is_class and "num_classes" in build_dataset(data).info.sizes)


def first_dataset(model: str) -> str:
    """Return the first compatible data set that can be built here, quick ones first."""
    good = [data for fit, data in FITTING if fit == model and missing_reason(data) is None]
    keys = MODELS[model].keys_set_in("data")
    good.sort(key=lambda data: (not keys <= set(_keys(DATA[data])), data in LARGE, "rows" not in small_keys(data)))
    found = next((data for data in good if not lacks_classes(model, data)), None)
    assert found is not None, f"no data set fits {model}"
    return found


@cache
def _data(keys: str) -> Dataset:
    """Build a data set from JSON keys. Cached: do not modify it."""
    return make_dataset(json.loads(keys))


@dataclass
class Pair:
    """A task and its data, ready for a step."""

    config: compose.Config
    data: Dataset
    task: Task
    loaders: dict[str, Loader]


def make_pair(model: str, data: str, *more: str, seed: int = 0) -> Pair:
    own = [f"model.{key}={value(data)}" for key, value in OWN_MODELS.get(model, {}).items()]
    own += [f"model.{key}={json.dumps(value)}" for key, value in SMALL_MODELS.get(model, {}).items()]
    cut = (
        ["data.max_length=16", "data.keep=first"]
        if model == "pretrained" and "max_length" in read_node(DATA[data])
        else []
    )
    composed = compose.compose([f"model={model}", *own, *overrides(data), *cut, f"seed={seed}", "batch_size=16", *more])
    keys = dict(composed.tree["data"])
    if "target_kind" in keys:
        keys["task_target"] = compatibility.infer_target_kind(composed.tree["task"]["_target_"])
    made = _data(json.dumps(keys))
    rng.seed_everything(seed)
    task = factory.make_task(composed.tree, made, composed.names)
    return Pair(composed, made, task, factory.make_loaders(composed.tree, made, composed.settings, torch.device("cpu")))
