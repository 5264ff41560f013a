"""Evaluation of a saved run on its test rows: ``train evaluate``."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from trainer.config.run_config import Config
from trainer.core import rng
from trainer.engine import evaluation, factory
from trainer.inference.inference_errors import explain_inference_errors
from trainer.inference.load_run import load_run
from trainer.runs.results import Result
from trainer.viz import score_tables
from trainer.viz.console import console, show_warnings

log = logging.getLogger(__name__)

SCORE_TOLERANCE, OTHER_DEVICE_TOLERANCE = 1e-2, 5e-2
"""Relative tolerances when a score is computed again: on the same kind of device, and on another one."""


def evaluate_run(config: Config) -> dict[str, float]:
    """Evaluate the best weights of a saved run on its test rows, and print the scores."""
    task, data = load_run(config, to_score=True)
    test = factory.make_eval_loader(data, data.test, "test", config.settings, task.progress.device)
    with explain_inference_errors(config.tree):
        scores = evaluation.evaluate_split(task, test, config.settings)
    saved_result = Result.read(Path(config.run_dir))
    result = replace(saved_result, test=scores)
    if not config.settings.allow_changed_data:
        if config.checkpoint is None:  # otherwise these are other weights
            with show_warnings():
                _warn_about_changed_scores(saved_result, scores, task.progress.device)
    else:  # the test rows may have changed
        with rng.fork_rng(config.settings.seed, task.progress.device):
            baseline, best = task.reference_scores()
        result.baseline = baseline | dict(data.info.baseline)
        result.best_possible = best | dict(data.info.best_possible)
    console.print(score_tables.build_score_table(result))
    return scores


def _warn_about_changed_scores(saved: Result, scores: Mapping[str, float], device: torch.device) -> None:
    """Warn if the saved test scores are not those of the saved weights."""
    is_same_device = saved.device.split(":")[0] == device.type
    tolerance = SCORE_TOLERANCE if is_same_device else OTHER_DEVICE_TOLERANCE
    differences = [
        f"test.{key} is {score_tables.format_number(value)}, not {score_tables.format_number(scores[key])}"
        for key, value in saved.test.items()
        if key in scores and not _is_close(value, scores[key], tolerance)
    ]
    if differences:
        device_text = "" if is_same_device else f"; it was measured on {saved.device}, now on {device}"
        message = f"{', '.join(differences)}, the score of these weights: one of the two was changed{device_text}"
        log.warning("%s: %s", saved.results_path, message)


def _is_close(a: float, b: float, tolerance: float) -> bool:
    return math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance / 100) or (math.isnan(a) and math.isnan(b))
