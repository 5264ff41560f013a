"""Hub folders, and changes to their files."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from trainer.export.export_run import export_run
from trainer.runs import saved_run

Tensors = dict[str, Tensor]
REMOVED = object()
"""Value of a key that is removed."""


def export_hub(run: Path, target: Path) -> Path:
    """Export a run, and move the hub folder to another place."""
    with tempfile.TemporaryDirectory() as directory:
        export_run(saved_run.load(run), ["hub"], f"{directory}/export")
        return Path(shutil.move(f"{directory}/export/hub", target))


def copy_folder(folder: Path, target: Path) -> Path:
    """Copy a hub folder, replacing an earlier copy."""
    shutil.rmtree(target, ignore_errors=True)
    return Path(shutil.copytree(folder, target))


def edit_config(folder: Path, edits: Mapping[str, Any]) -> None:
    """Set or remove values of ``config.json`` by dotted key, and fit it to the weights."""
    file = folder / "config.json"
    content = json.loads(file.read_text())
    for path, value in edits.items():
        *parents, key = path.split(".")
        node = content
        for parent in parents:
            node = node[parent]
        if value is REMOVED:
            del node[key]
        else:
            node[key] = copy.deepcopy(value)
    weights = folder / "model.safetensors"
    if weights.is_file():
        content["weights_sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    file.write_text(json.dumps(content))


def edit_tensors(folder: Path, change: Callable[[Tensors], object]) -> None:
    """Change the tensors of a folder, whose digest is then that of the new ones."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    edit_config(folder, {})
