"""The values of YAML files stand in the signatures, so that a class is built from Python as a command builds it."""

from __future__ import annotations

import ast
import builtins
import importlib
import re
from typing import Any

import pytest
from torch import nn

from tests.helpers import option_files
from tests.helpers.signatures import get_required_parameters
from trainer.config import introspection, registry, validation

BUILT = [option for group in registry.OBJECT_GROUPS for option in registry.list_options(group).values()]
CLASSES = sorted({path for option in BUILT if (path := str(option.class_path)).startswith("trainer.")})
ELSEWHERE = {"${data_dir}": None, "${seed}": 0, "${teacher_forcing}": None}
"""What interpolations come to where nobody sets the flat key."""
NAMED_OTHERWISE = {"ViT": "vit_tiny", "TextRNN": "text_lstm"}
"""Classes none of whose files has their name, and the one whose values they take."""


def plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def values(class_path: str) -> dict[str, Any]:
    """The values of the file named as a class, or else those that all of its files have in common."""
    name = class_path.rpartition(".")[2]
    own = [option for option in BUILT if option.class_path == class_path]
    main = [option for option in own if plain(option.name) in (plain(name), plain(NAMED_OTHERWISE.get(name, name)))]
    trees = [option_files.read_keys(option) for option in main or own]
    # As OmegaConf reads them, to whom 1e-3 is a number.
    read = [{key: float(v) if re.fullmatch(r"\d+e-?\d+", str(v)) else v for key, v in tree.items()} for tree in trees]
    first = read[0]
    return {
        key: ELSEWHERE.get(str(value), value)
        for key, value in first.items()
        if all(tree.get(key, "???") == value for tree in read)
    }


def is_open(value: object) -> bool:
    """Whether a value comes from the data, the user or another key."""
    return isinstance(value, str) and (value == "???" or "${" in value)


def find_owner(class_path: str, name: str) -> Any:
    """The class or the module that a default is a constant of."""
    module, _, cls = class_path.rpartition(".")
    owners = (getattr(importlib.import_module(module), cls), importlib.import_module(module), builtins)
    return next(owner for owner in owners if hasattr(owner, name))


@pytest.mark.parametrize("class_path", CLASSES)
def test_a_signature_has_the_values_of_its_file(class_path: str) -> None:
    found = introspection.read_signature(class_path)
    assert found
    parameters = found.parameters_by_method["__init__"]
    wanted = {key: value for key, value in values(class_path).items() if key in parameters and not is_open(value)}
    lacking = {key for key in wanted if parameters[key].default is None}
    assert not lacking, "keys of the file without a default in the signature"
    for key, value in wanted.items():
        text = str(parameters[key].default)
        default = getattr(find_owner(class_path, text), text) if text.isidentifier() else ast.literal_eval(text)
        assert (list(default) if isinstance(default, tuple) else default) == value, key


SIZES: dict[str, Any] = {
    "in_channels": 3,
    "height": 32,
    "width": 32,
    "side": 32,
    "seq_len": 64,
    "vocab_size": 11,
    "source_vocab_size": 12,
    "flat_features": 8,
    "in_features": 4,
    "horizon": 5,
    "nodes": 6,
    "num_users": 7,
    "num_items": 8,
    "cardinalities": None,
    "input_shapes": {"x": [4]},
}
MODELS = sorted({str(option.class_path) for option in registry.list_options("model").values()})


@pytest.mark.parametrize("class_path", MODELS)
def test_a_model_is_built_of_its_sizes_alone(class_path: str) -> None:
    tree = values(class_path)
    found = introspection.read_signature(class_path)
    assert found
    kinds = found.init_types
    needed = {key for key, value in tree.items() if value == "???"}
    assert get_required_parameters(found) <= needed
    if any(validation.is_valid_value("text", kinds[key]) for key in needed):
        pytest.skip("needs a folder of the user's")
    sizes = {key: SIZES.get(key, 3) for key in needed}
    module, _, name = class_path.rpartition(".")
    assert isinstance(getattr(importlib.import_module(module), name)(**sizes), nn.Module)
