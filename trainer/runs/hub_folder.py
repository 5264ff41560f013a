"""Hub folders: a finished run as ``config.json`` and ``model.safetensors``, written by ``train export format=hub``.

They hold what ``results.json``, ``config.yaml`` and ``best.pt`` hold, so that a hub folder is used like a run
directory: ``recovery`` and ``consistency`` read it here. Tensors whose names begin with a slash belong to the saved
data, all others are the weights.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.config import introspection, migrations, yaml_limits
from trainer.config.run_config import RUNTIME_ONLY_KEYS
from trainer.runs import run_dir
from trainer.utils.errors import ConfigError
from trainer.utils.text import shorten_repr

CONFIG_FILE, WEIGHTS_FILE, CARD_FILE = "config.json", "model.safetensors", "README.md"
LIBRARY = "train-zoo"
"""Value of ``library``, by which a folder is told from those of other programs."""
_LIBRARY_PATTERN = re.compile(rb'"library"\s*:\s*"%s"' % LIBRARY.encode())
FORMAT_VERSION = 1
MAX_CONFIG_BYTES = 1 << 28
"""Maximum size of ``config.json``; vocabularies of a million words are smaller."""
MAX_DEPTH = 50
"""Maximum nesting depth; the state of a run has a depth of 6."""
MAX_PROBLEMS = 5
_KINDS = {"library": str, migrations.KEY: int, "weights_sha256": str, "config": dict, "results": dict, "state": dict}
"""Types of the keys of ``config.json``."""


def is_hub_folder(path: Path) -> bool:
    """Return whether a directory is a hub folder: neither a run directory, nor a folder of another program."""
    file = path / CONFIG_FILE
    if not os.path.isfile(file) or any(os.path.lexists(path / name) for name in run_dir.IDENTIFYING_FILES):
        return False
    try:
        with open(file, "rb") as stream:
            return _LIBRARY_PATTERN.search(stream.read(MAX_CONFIG_BYTES)) is not None
    except OSError:
        return False


def read_results(path: Path) -> dict[str, Any]:
    """Read the results of the run of a hub folder; empty if it is none.

    Raises:
        ConfigError: It is one, but cannot be read.
    """
    content = _read(path)
    return run_dir.parse_results(content["results"]) if content else {}


def read_config(path: Path) -> dict[str, Any]:
    """Read the configuration of the run of a hub folder, with its format version; empty if it is none.

    Raises:
        ConfigError: It is one, but cannot be read.
    """
    config: dict[str, Any] = _read(path).get("config", {})
    return config


def find_path_problems(data: Mapping[str, Any]) -> list[str]:
    """Return the problems of the paths in a configuration, which names files without their directories.

    A folder of others must not choose which files are read, or where data sets are downloaded.

    Args:
        data: Keys of the data set, already checked.
    """
    keys = introspection.find_data_paths(data["_target_"])
    values = {key: data[key] for key in keys if isinstance(data.get(key), str)}
    problems = [
        f"data.{key}: {value!r} given; a hub folder names files without their directories"
        for key, value in values.items()
        if value in (os.curdir, os.pardir) or value.startswith("~") or os.path.basename(value) != value
    ]
    has_directory = data.get("data_dir") is not None
    return [*problems, *["data.data_dir: a hub folder has no directory of data sets"] * has_directory]


def load_state(path: Path) -> dict[str, Any]:
    """Load the state of the best weights, as it is in the checkpoint of a run.

    Args:
        path: A hub folder.

    Raises:
        ConfigError: The weights are damaged or belong to another folder, or a value is invalid.
    """
    from trainer.engine import plain_state, safetensors_file

    content, file = _read(path), path / WEIGHTS_FILE
    if not os.path.isfile(file):
        raise ConfigError(f"{file} is missing, or is not a file")
    if _compute_sha256(file) != content["weights_sha256"]:
        raise ConfigError(
            f"{file} does not belong to {path / CONFIG_FILE}: it is damaged, or one of the two was changed"
        )
    tensors = safetensors_file.read_tensors(file)
    weights = {name: tensors.pop(name) for name in list(tensors) if not name.startswith("/")}
    try:
        state: dict[str, Any] = plain_state.join_tensors(content["state"], tensors)
    except ValueError as error:
        raise ConfigError(f"{path / CONFIG_FILE}: state: {error}") from error
    metadata = state.get("run_metadata")
    if not isinstance(metadata, dict) or "config" in metadata or "task" in state:
        raise ConfigError(f"{path / CONFIG_FILE}: state is not what a run saves there")
    config = {key: value for key, value in content["config"].items() if key != migrations.KEY}
    return {**state, "task": weights, "run_metadata": {**metadata, "config": config}}


def write(path: Path, results: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Write a hub folder, without its model card.

    Args:
        path: Existing directory.
        results: Contents of ``results.json``.
        state: State of the best weights, of the current format.

    Raises:
        ConfigError: The state has values that the files cannot hold.
    """
    from trainer.engine import plain_state, safetensors_file

    metadata = dict(state["run_metadata"])
    config = {migrations.KEY: migrations.FORMAT_VERSION, **metadata.pop("config")}
    others = {key: value for key, value in state.items() if key != "task"} | {"run_metadata": metadata}
    try:
        plain, tensors = plain_state.split_tensors(others)
    except ValueError as error:
        raise ConfigError(f"the state of this run cannot be written to {CONFIG_FILE}: {error}") from error
    if reserved := [name for name in state["task"] if name.startswith("/")]:
        raise ConfigError(f"the parameter {reserved[0]} cannot be written: names with / at first are those of the data")
    safetensors_file.write_tensors(path / WEIGHTS_FILE, {**state["task"], **tensors})
    content = {
        "library": LIBRARY,
        migrations.KEY: FORMAT_VERSION,
        "weights_sha256": _compute_sha256(path / WEIGHTS_FILE),
        "config": config,
        "results": results,
        "state": plain,
    }
    text = json.dumps(content, indent=2, allow_nan=False)
    (path / CONFIG_FILE).write_text(f"{text}\n", encoding="utf-8")


def _compute_sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path) -> dict[str, Any]:
    """Read ``config.json``; empty if the directory is no hub folder.

    Raises:
        ConfigError: It is not JSON or too large, or is invalid.
    """
    if not is_hub_folder(path):
        return {}
    file = path / CONFIG_FILE
    if (size := os.path.getsize(file)) > MAX_CONFIG_BYTES:
        raise ConfigError(f"{file}: {size:,} bytes; that of a run has at most {MAX_CONFIG_BYTES:,}")
    constants: list[str] = []
    try:
        content = json.loads(file.read_text(encoding="utf-8"), parse_constant=constants.append)
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{file}: not JSON: {str(error)[:200]}") from error
    if not isinstance(content, dict) or content.get("library") != LIBRARY:
        return {}
    if constants:
        raise ConfigError(f"{file}: {constants[0]} is not a value of JSON")
    _check(content, file)
    return content


def _check(content: Mapping[str, Any], file: Path) -> None:
    migrations.check_version(content.get(migrations.KEY), file, FORMAT_VERSION)
    problems = [f"{shorten_repr(key)} is unknown" for key in content if key not in _KINDS]
    problems += [
        f"{key} is missing, or not what a run saves there"
        for key, kind in _KINDS.items()
        if not isinstance(content.get(key), kind)
    ]
    if not problems:
        keys = sorted(content["config"].keys() & RUNTIME_ONLY_KEYS)
        problems += [f"config has {key}, which belongs to a machine" for key in keys]
    if problems:
        raise ConfigError(*(f"{file}: {problem}" for problem in problems[:MAX_PROBLEMS]))
    _check_depth(content, file)
    config = json.dumps(content["config"])
    if len(config) > yaml_limits.MAX_CHARS:
        raise ConfigError(
            f"{file}: config has {len(config):,} characters; at most {yaml_limits.MAX_CHARS:,} are allowed"
        )
    if "${" in config:
        raise ConfigError(f"{file}: config has interpolations ${{...}}, which are resolved in a hub folder")


def _check_depth(content: Mapping[str, Any], file: Path) -> None:
    """Check that nothing is nested too deeply to be traversed."""
    nodes: list[Any] = [content]
    for _ in range(MAX_DEPTH):
        parts = (part for node in nodes for part in (node.values() if isinstance(node, dict) else node))
        nodes = [part for part in parts if isinstance(part, dict | list)]
    if nodes:
        raise ConfigError(f"{file}: values are nested more than {MAX_DEPTH} deep")
