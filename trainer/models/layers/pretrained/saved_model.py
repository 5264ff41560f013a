"""Layers of a saved model: with its weights from a directory, or without them from its stored description."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import nn

from trainer.utils import hf_hub

CONFIG_FILE, PREPROCESSOR_FILE = "config.json", "preprocessor_config.json"
INPUT_NAMES = {"input_ids": "text", "pixel_values": "images"}
"""Noun for each main input of a model, for messages."""
UNUSED_PREFIX = "pooler."
"""Prefix of the parameters of a layer behind the last hidden states, which is not used."""


@dataclass(frozen=True)
class SavedModel:
    """Layers of a saved model and their description.

    Attributes:
        body: The layers, without a head.
        preprocessor: Options of its image processor; empty for a model of text.
        architecture: Contents of the files that describe both, by file name.
    """

    body: nn.Module
    preprocessor: Mapping[str, Any]
    architecture: Mapping[str, str]


def load_saved_model(name: str, stored_architecture: Mapping[str, str] | None, *, takes_images: bool) -> SavedModel:
    """Load the layers of a saved model with its weights, or build them as stored by a run.

    Args:
        name: Directory or name of the model; unused with a stored description.
        stored_architecture: Contents of the files that describe it, by file name; the weights are then random.
        takes_images: Whether its inputs are images instead of token ids.

    Raises:
        ConfigError: The model cannot be found or read.
        ValueError: It has other inputs, lacks weights, or lacks its image processor.
    """
    if stored_architecture is not None:
        return _rebuild(stored_architecture, takes_images=takes_images)
    folder = hf_hub.find_model_dir(name)
    config = hf_hub.load_pretrained("AutoConfig", folder)
    options = _find_options(config, str(folder), takes_images=takes_images)
    preprocessor = _read_preprocessor(folder) if takes_images else {}
    architecture = {CONFIG_FILE: config.to_json_string(), PREPROCESSOR_FILE: json.dumps(preprocessor)}
    return SavedModel(_load_weights(folder, options).float(), preprocessor, architecture)


def find_repeated_layers(body: nn.Module) -> list[nn.Module]:
    """Return the members of the outermost lists of layers of one class, such as the layers of a Transformer.

    Args:
        body: Layers of a saved model.
    """
    layers: list[nn.Module] = []
    for child in body.children():
        members = list(child.children()) if isinstance(child, nn.ModuleList) else []
        is_repeated = len({type(member) for member in members}) == 1 and any(members[0].children())
        layers += members if is_repeated else find_repeated_layers(child)
    return layers


def _rebuild(architecture: Mapping[str, str], *, takes_images: bool) -> SavedModel:
    """Build the layers of a saved model from its stored description, with random weights."""
    with TemporaryDirectory() as folder:
        Path(folder, CONFIG_FILE).write_text(architecture.get(CONFIG_FILE, ""), encoding="utf-8")
        config = hf_hub.load_pretrained("AutoConfig", Path(folder))
    options = _find_options(config, "the saved model of this run", takes_images=takes_images)
    body = hf_hub.import_transformers().AutoModel.from_config(config, trust_remote_code=False, **options)
    preprocessor = json.loads(architecture.get(PREPROCESSOR_FILE, "{}"))
    return SavedModel(body.float(), preprocessor, architecture)


def _find_options(config: Any, source: str, *, takes_images: bool) -> dict[str, Any]:
    """Return the keyword arguments of the class of a model, after checking that it takes such inputs.

    Args:
        config: Its configuration.
        source: Its directory, for messages.
        takes_images: Whether the inputs are images instead of token ids.

    Raises:
        ValueError: It takes other inputs.
    """
    mapping = hf_hub.import_transformers().MODEL_MAPPING
    if type(config) not in mapping:
        raise ValueError(f"name: {source} is of type {config.model_type}, which has no layers without a head")
    classes = mapping[type(config)]
    cls = classes[0] if isinstance(classes, tuple | list) else classes
    needed = "pixel_values" if takes_images else "input_ids"
    if cls.main_input_name != needed:
        taken, given = INPUT_NAMES.get(cls.main_input_name, cls.main_input_name), INPUT_NAMES[needed]
        raise ValueError(
            f"name: {source} is a {cls.__name__}, which takes {taken}, and the data is {given}; use a model of {given},"
            f" or a data set of {taken}"
        )
    # The checkpoints of text models contain their pooler, although it is not used.
    has_pooler = takes_images and "add_pooling_layer" in inspect.signature(cls.__init__).parameters
    return {"add_pooling_layer": False} if has_pooler else {}


def _read_preprocessor(folder: Path) -> dict[str, Any]:
    """Return the options of the image processor of a saved model, with the defaults of its class."""
    if not (folder / PREPROCESSOR_FILE).is_file():
        raise ValueError(
            f"name: {folder} contains no {PREPROCESSOR_FILE}, by which images are resized and normalized as the model"
            " was trained; save the image processor of the model into the directory"
        )
    return hf_hub.load_pretrained("AutoImageProcessor", folder).to_dict()


def _load_weights(folder: Path, options: Mapping[str, Any]) -> nn.Module:
    body, info = hf_hub.load_pretrained("AutoModel", folder, use_safetensors=True, output_loading_info=True, **options)
    missing = sorted(name for name in info["missing_keys"] if not name.startswith(UNUSED_PREFIX))
    if missing:
        listing = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise ValueError(f"name: {folder} lacks {len(missing)} weights of a {type(body).__name__}: {listing}")
    return body
