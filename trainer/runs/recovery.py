"""Results and configuration of a run that are not in files of their own: in a hub folder, or because they are lost.

Lost ones are recovered from the newest checkpoint.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from trainer.config import migrations
from trainer.runs import hub_folder, run_dir
from trainer.utils.errors import UserError


def read_results(path: Path) -> dict[str, Any]:
    """Read the results of a run, from its newest checkpoint if the file is lost; empty if neither can be read.

    Raises:
        ConfigError: The directory is a hub folder that cannot be read.
    """
    return run_dir.read_results(path) or hub_folder.read_results(path) or _results_from_checkpoint(path)


def read_config(path: Path) -> dict[str, Any]:
    """Read the configuration of a run without ``config.yaml``, with its format version; empty if there is none.

    Raises:
        ConfigError: The directory is a hub folder that cannot be read.
    """
    if hub_folder.is_hub_folder(path):
        return hub_folder.read_config(path)
    config = _load_checkpoint_metadata(path).get("config")
    return {migrations.KEY: migrations.FORMAT_VERSION} | config if isinstance(config, dict) else {}


def find_file(path: Path, name: str) -> Path:
    """Return the file of a run directory, or that of a hub folder which has its contents, for messages.

    Args:
        path: The directory.
        name: Name of the file in a run directory.
    """
    return path / (hub_folder.CONFIG_FILE if hub_folder.is_hub_folder(path) else name)


def _load_checkpoint_metadata(path: Path) -> dict[str, Any]:
    """Load the run metadata and the position of the newest checkpoint; empty if none can be read."""
    # Path.is_file raises if the name is too long.
    if not any(os.path.isfile(path / name) for name in run_dir.CHECKPOINT_FILES):
        return {}
    from trainer.engine import checkpoint

    try:
        state = checkpoint.migrate_state(checkpoint.load_newest(path), path / checkpoint.LAST)
    except UserError:
        return {}
    metadata, position = state.get("run_metadata"), state.get("position")
    return metadata | {"position": position} if isinstance(metadata, dict) and isinstance(position, dict) else {}


def _results_from_checkpoint(path: Path) -> dict[str, Any]:
    metadata = _load_checkpoint_metadata(path)
    position = metadata.get("position", {})
    config, options = metadata.get("config"), metadata.get("options")
    if not isinstance(config, dict) or not isinstance(options, dict):
        return {}
    return {
        "run_dir": str(path),
        migrations.KEY: metadata.get(migrations.KEY, 1),
        "identity": metadata.get("identity"),
        "status": "interrupted",
        "options": options,
        "overrides": metadata.get("overrides", []),
        **{group: options.get(group) for group in ("model", "data", "task")},
        "seed": config.get("seed"),
        "epochs": position.get("epoch"),
        "steps": position.get("step"),
        "threads": metadata.get("threads"),
        "versions": metadata.get("versions", {}),
        "working_dir": metadata.get("working_dir", ""),
        "config_dirs": metadata.get("config_dirs", []),
        "data_digest": metadata.get("data_digest"),
        "exact_data_digest": metadata.get("exact_data_digest"),
        "reason": f"{run_dir.RESULTS_FILE} was lost; recovered from the checkpoint",
    }
