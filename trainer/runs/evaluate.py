"""Evaluation of a saved run on its test rows: ``train evaluate``."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from trainer.config.compose import Config
from trainer.core import rng
from trainer.engine import evaluation, factory
from trainer.engine.model_errors import explain_model_errors
from trainer.runs.load_run import load_run
from trainer.runs.results import Result
from trainer.viz import score_tables
from trainer.viz.console import console, show_warnings

log = logging.getLogger(__name__)

SCORE_TOLERANCE, OTHER_DEVICE_TOLERANCE = 1e-2, 5e-2
"""By how much of itself a score may differ when it is measured again: on its kind of device, and on another."""


def evaluate_run(kept: Config) -> dict[str, float]:
    """Evaluate the best weights of a saved run on its test rows, and print the scores."""
    task, data = load_run(kept, to_score=True)
    test = factory.make_loaders(kept.tree, data, kept.settings, task.progress.device)["test"]
    with explain_model_errors(kept.tree["model"]):
        scores = evaluation.evaluate_split(task, test, kept.settings)
    stored = Result.read(Path(kept.run_dir))
    result = replace(stored, test=scores)
    if not kept.settings.allow_changed_data:
        with show_warnings():
            _warn_about_changed_scores(stored, scores, task.progress.device)
    else:  # the test rows may be others
        with rng.fork_rng(kept.settings.seed, task.progress.device):
            baseline, best = task.reference_scores()
        result.baseline = baseline | dict(data.info.baseline)
        result.best_possible = best | dict(data.info.best_possible)
    console.print(score_tables.build_score_table(result))
    return scores


def _warn_about_changed_scores(stored: Result, scores: Mapping[str, float], where: torch.device) -> None:
    """Warn if the stored test scores are not those of the weights next to them."""
    is_alike = stored.device.split(":")[0] == where.type
    room = SCORE_TOLERANCE if is_alike else OTHER_DEVICE_TOLERANCE
    other = [
        f"test.{key} is {score_tables.format_number(value)}, not {score_tables.format_number(scores[key])}"
        for key, value in stored.test.items()
        if key in scores and not _is_close(value, scores[key], room)
    ]
    if other:
        there = "" if is_alike else f"; it was measured on {stored.device}, and this is {where}"
        what = f"{', '.join(other)}, which is what these weights score: one of the two was changed{there}"
        log.warning("%s: %s", stored.results_path, what)


def _is_close(one: float, other: float, room: float) -> bool:
    return math.isclose(one, other, rel_tol=room, abs_tol=room / 100) or (math.isnan(one) and math.isnan(other))
