"""Defaults of signatures equal the values of YAML files, so that Python and commands build the same."""

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
INTERPOLATIONS = {"${data_dir}": None, "${seed}": 0, "${teacher_forcing}": None}
"""Values of interpolations whose global key is not set."""
MAIN_OPTIONS = {"ViT": "vit_tiny", "TextRNN": "text_lstm"}
"""Classes without an option of their name, and the option whose values they have."""


def normalize_name(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def read_option_values(class_path: str) -> dict[str, Any]:
    """Return the values of the option named like the class, or else those that all its options share."""
    name = class_path.rpartition(".")[2]
    options = [option for option in BUILT if option.class_path == class_path]
    namesakes = [
        option
        for option in options
        if normalize_name(option.name) in (normalize_name(name), normalize_name(MAIN_OPTIONS.get(name, name)))
    ]
    trees = [option_files.read_keys(option) for option in namesakes or options]
    # OmegaConf reads 1e-3 as a number.
    parsed = [{key: float(v) if re.fullmatch(r"\d+e-?\d+", str(v)) else v for key, v in tree.items()} for tree in trees]
    first = parsed[0]
    return {
        key: INTERPOLATIONS.get(str(value), value)
        for key, value in first.items()
        if all(tree.get(key, "???") == value for tree in parsed)
    }


def is_open(value: object) -> bool:
    """Return whether a value comes from the data, the user or another key."""
    return isinstance(value, str) and (value == "???" or "${" in value)


def find_owner(class_path: str, name: str) -> Any:
    """Return the class or module that defines a constant."""
    module, _, cls = class_path.rpartition(".")
    owners = (getattr(importlib.import_module(module), cls), importlib.import_module(module), builtins)
    return next(owner for owner in owners if hasattr(owner, name))


@pytest.mark.parametrize("class_path", CLASSES)
def test_signature_defaults_match_the_yaml_file(class_path: str) -> None:
    signature = introspection.read_signature(class_path)
    assert signature
    parameters = signature.parameters_by_method["__init__"]
    expected = {
        key: value for key, value in read_option_values(class_path).items() if key in parameters and not is_open(value)
    }
    without_default = {key for key in expected if parameters[key].default is None}
    assert not without_default, "keys of the file without a default in the signature"
    for key, value in expected.items():
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
def test_model_is_built_from_its_sizes_alone(class_path: str) -> None:
    tree = read_option_values(class_path)
    signature = introspection.read_signature(class_path)
    assert signature
    kinds = signature.init_types
    size_keys = {key for key, value in tree.items() if value == "???"}
    assert get_required_parameters(signature) <= size_keys
    if any(validation.is_valid_value("text", kinds[key]) for key in size_keys):
        pytest.skip("needs a folder of the user's")
    sizes = {key: SIZES.get(key, 3) for key in size_keys}
    module, _, name = class_path.rpartition(".")
    assert isinstance(getattr(importlib.import_module(module), name)(**sizes), nn.Module)
