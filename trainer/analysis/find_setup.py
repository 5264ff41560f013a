"""Objects of a search for a learning rate or a batch size: those of a run, without its directory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainer.config.run_config import Config
from trainer.core.dataset import Dataset
from trainer.engine.process_group import SingleProcess
from trainer.runs.training_setup import TrainingObjects, build_objects, refuse_nested_run
from trainer.utils import atomic_write
from trainer.utils.errors import ConfigError
from trainer.viz import matplotlib_figures

SETTINGS: Mapping[str, Any] = {"budget": None, "ema": None, "devices": None, "shards": None, "resume": None}
"""Global keys that do not matter for single steps."""


def build_for_search(
    config: Config, changes: Mapping[str, Any], groups: Mapping[str, Any], data: Dataset | None = None
) -> TrainingObjects:
    """Build the objects of a run with changes, from which nothing is saved.

    Args:
        config: Configuration of the command line.
        changes: Changed global keys.
        groups: Changed groups.
        data: Data set that is loaded already; None to load it.

    Raises:
        ConfigError: The task has several losses, such as a GAN.
    """
    task = {key: None if key == "classifier" else value for key, value in config.tree["task"].items()}
    keys = {**SETTINGS, **changes}
    tree = {**config.tree, **keys, "task": task, "callbacks": {}, **groups}
    changed = replace(config, tree=tree, settings=replace(config.settings, **keys))
    training = build_objects(changed, None, SingleProcess(), refuse_nested_run, lambda _: None, data)
    names = list(training.task.param_groups())
    if len(names) > 1:
        raise ConfigError(
            f"find: task {config.names['task']} trains {' and '.join(names)} in turn; the loss of each depends on the"
            " other, so that a lower one is no progress, and the best rate of one changes with that of the other"
        )
    return training


def write_curve(
    folder: Path, name: str, columns: Sequence[str], rows: Sequence[Sequence[float]], chosen: float
) -> None:
    """Write a curve as a table and as a figure with logarithmic x axis.

    Args:
        folder: Directory of the files, which is created.
        name: Name of the files.
        columns: Titles; the first one is that of the x axis.
        rows: Values by column.
        chosen: Value of the first column that is marked.

    Raises:
        SystemFault: The files cannot be written.
    """
    with atomic_write.catch_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    lines = [",".join(columns), *(",".join(f"{value:.6g}" for value in row) for row in rows)]
    atomic_write.write_text(folder / f"{name}.csv", "\n".join(lines) + "\n")
    figure = matplotlib_figures.new_figure(6.0, 4.0)
    axes = figure.add_subplot()
    for column in range(1, len(columns)):
        axes.plot([row[0] for row in rows], [row[column] for row in rows], label=columns[column], marker=".")
    axes.axvline(chosen, linestyle="--", color="black", label=f"{columns[0]} {chosen:g}")
    axes.set_xscale("log")
    axes.legend()
    matplotlib_figures.format_axes(axes, name.replace("_", " "), columns[0], columns[-1])
    with atomic_write.replace_file(folder / f"{name}.png") as temporary:
        matplotlib_figures.save_figure(figure, temporary)
