"""Evaluation of a saved run on a labeled file, with intervals: ``train evaluate RUN input=PATH``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from trainer.config.run_config import Config
from trainer.core.prediction import get_class_names
from trainer.engine import dataset_loading, factory
from trainer.engine.bootstrap import DEFAULT_RESAMPLES, LEVEL, Evaluation, Evaluator
from trainer.engine.config_errors import explain_errors
from trainer.inference import prediction_files
from trainer.inference.inference_errors import explain_inference_errors
from trainer.inference.load_run import load_run
from trainer.metrics.registry import FAMILIES
from trainer.utils import atomic_write
from trainer.utils.errors import ConfigError
from trainer.utils.paths import find_unused_path
from trainer.utils.text import format_count
from trainer.viz import interval_tables
from trainer.viz.console import console, print_line, show_warnings

DEFAULT_NAME, SUFFIX = "evaluation.json", ".json"


def evaluate_file(
    config: Config,
    input_path: str,
    output: str | None = None,
    resamples: int = DEFAULT_RESAMPLES,
    read_options: Mapping[str, Any] | None = None,
) -> Path:
    """Evaluate the best weights of a saved run on a labeled file; print every metric of its task and write them.

    Args:
        config: Configuration of the run.
        input_path: File or folder with the rows and their targets.
        output: JSON file to write; None for ``evaluation.json`` in the run directory.
        resamples: Number of resamples of the bootstrap; 0 for no intervals.
        read_options: Options of ``read_chunks`` of the data set.

    Returns:
        Path of the file.

    Raises:
        ConfigError: The data set cannot read the file or its targets, or the output cannot be written.
    """
    file = Path(output).expanduser() if output else find_unused_path(Path(config.run_dir, DEFAULT_NAME))
    inputs = [*dataset_loading.list_user_paths(config), Path(input_path)]
    prediction_files.check_output(file, Path(config.run_dir), inputs, (SUFFIX,))
    task, data = load_run(config, reads_files=False)
    task.report_all_metrics()
    evaluator, count = Evaluator(task, config.settings, resamples), 0
    with show_warnings():
        with explain_errors(config.tree, "data"):
            for split in data.read_chunks(input_path, with_targets=True, **(read_options or {})):
                task.validate_targets(split.get_targets(), "input")
                device = task.progress.device
                with explain_inference_errors(config.tree):
                    evaluator.add(partial(factory.make_eval_loader, data, split, "input", config.settings, device))
                count += len(split)
        if not count:
            raise ConfigError(f"input: {input_path} has no rows")
        evaluation = evaluator.compute()
    class_names = get_class_names(data.info, data.info.sizes.get("num_classes", 0))
    members = group_class_scores(evaluation, class_names)
    for table in interval_tables.build_interval_tables(evaluation, class_names, members):
        console.print(table)
    results = make_results(evaluation, class_names, members)
    context = {
        "run": str(Path(config.run_dir).absolute()),
        "input": str(Path(input_path).absolute()),
        "resamples": resamples,
        "level": LEVEL,
    }
    atomic_write.write_text(file, json.dumps(context | results, indent=2, allow_nan=False) + "\n")
    print_line(f"{format_count(evaluation.num_rows, 'row')} evaluated, written to {file}")
    return file


def group_class_scores(evaluation: Evaluation, class_names: Sequence[object]) -> dict[str, list[str]]:
    """Return the names of the metrics of each class, by kind of metric, such as ``f1``.

    Args:
        evaluation: Metrics of the rows.
        class_names: Names of the classes.
    """
    groups = {family.prefix.rstrip("_"): family.name_members(class_names) for family in FAMILIES}
    return {kind: names for kind, names in groups.items() if names and evaluation.scores.keys() >= set(names)}


def make_results(
    evaluation: Evaluation, class_names: Sequence[object], members: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """Return metrics and intervals as values of JSON, with null for what is undefined.

    Args:
        evaluation: Metrics of the rows.
        class_names: Names of the classes.
        members: Names of the metrics of each class, by kind of metric.
    """

    def describe(name: str) -> dict[str, float | None]:
        low, high = evaluation.intervals.get(name, (None, None))
        value = evaluation.scores[name]
        return {"value": value if math.isfinite(value) else None, "low": low, "high": high}

    of_classes = {name for names in members.values() for name in names}
    results: dict[str, Any] = {
        "rows": evaluation.num_rows,
        "scores": {name: describe(name) for name in evaluation.scores if name not in of_classes},
    }
    if members:
        results["classes"] = [
            {"name": name, "rows": evaluation.count_class(index)}
            | {kind: describe(names[index]) for kind, names in members.items()}
            for index, name in enumerate(class_names)
        ]
    return results
