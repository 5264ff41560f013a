"""Export of a run to a folder that this package uses like the run: ``hub/``, with a model card.

The folder holds what the run learned, and nothing of the machine on which it was trained.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainer.config import init_keys, introspection, secret_masking
from trainer.config.run_config import RUNTIME_ONLY_KEYS, Config
from trainer.core.task import Task
from trainer.engine import dataset_state
from trainer.export import model_card
from trainer.export.exportable import Exportable, run_seeded
from trainer.export.resizing import Inputs
from trainer.inference import trained_model
from trainer.inference.trained_model import TrainedModel
from trainer.runs import consistency, hub_folder
from trainer.runs.results import Result
from trainer.runs.run_command import format_command
from trainer.utils import digests
from trainer.utils.errors import ConfigError, ExportError
from trainer.utils.text import join_names

FILE = "hub"
NEEDS_TRACING = False


def write(exportable: Exportable, directory: Path) -> None:
    """Write the folder.

    Args:
        exportable: The module of a task that a run has saved.
        directory: Existing directory.

    Raises:
        ConfigError: The run has parts that the folder cannot hold.
    """
    assert exportable.config is not None, "only a saved run has the results and the data that the folder holds"
    config, folder = exportable.config, directory / FILE
    state = make_portable_state(config, exportable.task, exportable.max_rows)
    result = Result.read(Path(config.run_dir))
    result = replace(
        result, run_dir="", working_dir="", config_dirs=[], overrides=[], git=None, reason=None, artifacts=None
    )
    folder.mkdir(exist_ok=True)
    hub_folder.write(folder, result.to_plain_values(), state)
    card = model_card.make_card(_load_model(config, folder), result, state["data"])
    (folder / hub_folder.CARD_FILE).write_text(card, encoding="utf-8")


def load(exportable: Exportable, directory: Path) -> Callable[[Inputs], Tensor]:
    """Load the folder that ``write`` has written; return the function of the model in it.

    Args:
        exportable: The module.
        directory: Directory of the folder.

    Raises:
        ConfigError: The task computes values from more rows than the folder may contain.
        ExportError: A tensor in the folder is not that of the run.
    """
    assert exportable.config is not None
    task = _load_model(exportable.config, directory / FILE).task
    expected, found = (
        each.state_dict() | dict(each.named_buffers()) | each.decisions for each in (exportable.task, task)
    )
    wrong = {name for name in expected.keys() | found.keys() if not _is_same(expected.get(name), found.get(name))}
    names = join_names(sorted(wrong), 5)
    if wrong and exportable.max_rows is not None and wrong.isdisjoint(task.state_dict()):
        raise ConfigError(f"export rows: {exportable.max_rows} given; {names} of this task is computed from more rows")
    if wrong:
        raise ExportError(f"format={FILE}: read back, the folder has other values of {names}")
    module = task.make_inference_module().module
    return lambda inputs: run_seeded(module, inputs)


def _load_model(config: Config, folder: Path) -> TrainedModel:
    return trained_model.load(folder, "cpu", config.settings.plugins)


def _is_same(one: Tensor | None, other: Tensor | None) -> bool:
    return one is not None and other is not None and one.dtype == other.dtype and torch.equal(one.cpu(), other)


def make_portable_state(config: Config, task: Task, max_rows: int | None = None) -> dict[str, Any]:
    """Return the state of the best weights of a run without what belongs to its machine.

    Args:
        config: Configuration of the run.
        task: Its task with the best weights and decisions.
        max_rows: Maximum number of rows of each split; None for all that are stored.

    Raises:
        ConfigError: Decisions have not been fitted, the data has no state, or a value depends on the environment.
    """
    path = Path(config.run_dir)
    best = consistency.load_best(path)
    missing = task.example_decisions().keys() - best["decisions"].keys()
    if missing:
        command = format_command("resume", path, config.settings.plugins)
        raise ConfigError(f"format={FILE}: no {join_names(sorted(missing))} is fitted yet: {command}")
    if best["data"] is None:
        raise ConfigError(f"format={FILE}: the version that saved this run stored no preprocessing; train a new run")
    data = best["data"] if max_rows is None else dataset_state.limit_rows(best["data"], max_rows)
    own = {"config": make_portable_config(config), "overrides": [], "working_dir": "", "config_dirs": []}
    metadata = best["run_metadata"] | own | {"data": digests.digest_parts(data)}
    return best | {"task": task.state_dict(), "data": data, "run_metadata": metadata}


def make_portable_config(config: Config) -> dict[str, Any]:
    """Return the configuration of a run without runtime keys and secrets, and with the names of files only.

    Args:
        config: Configuration of the run.

    Raises:
        ConfigError: A value depends on the environment.
    """
    portable = secret_masking.mask_tree(config.raw)
    portable = _drop_directories({key: value for key, value in portable.items() if key not in RUNTIME_ONLY_KEYS})
    node, keys = portable["data"], introspection.find_data_paths(config.tree["data"]["_target_"])
    node |= {key: _get_name(config.tree["data"][key]) for key in keys if node.get(key)}
    node |= dict.fromkeys({"data_dir"} & node.keys())
    if source := portable.get(init_keys.SOURCE_KEY):
        portable[init_keys.SOURCE_KEY] = _get_name(source)
    if references := sorted(_find_references(portable)):
        raise ConfigError(
            f"format={FILE}: {join_names(references)}: a value of the environment, which other machines do not have"
        )
    return portable


def _drop_directories(value: Any) -> Any:
    """Replace absolute paths of files and directories by their names."""
    if isinstance(value, Mapping):
        return {key: _drop_directories(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_drop_directories(item) for item in value]
    path = os.path.expanduser(value) if isinstance(value, str) else ""
    return _get_name(path) or value if os.path.isabs(path) and os.path.exists(path) else value


def _get_name(path: str) -> str:
    return os.path.basename(os.path.abspath(path))


def _find_references(value: Any, key: str = "") -> list[str]:
    """Return the dotted keys of values with references to the environment."""
    if isinstance(value, Mapping):
        parts = value.items()
    elif isinstance(value, list):
        parts = dict(enumerate(value)).items()
    else:
        return [key] if isinstance(value, str) and "${" in value else []
    return [found for name, item in parts for found in _find_references(item, f"{key}.{name}".lstrip("."))]
