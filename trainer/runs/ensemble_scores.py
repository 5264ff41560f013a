"""Scores of an ensemble: those of its averaged predictions, the gain over its members, and their diversity."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from trainer.config.schema import Settings
from trainer.core import prediction, rng
from trainer.core.batch import IGNORE_INDEX, Batch
from trainer.core.dataset_info import TargetInfo
from trainer.core.output_averaging import CandidateChooser, TokenChooser
from trainer.core.prediction import Prediction
from trainer.core.task import Predictor, Task
from trainer.engine import evaluation, precision
from trainer.engine.dataloader import Loader
from trainer.engine.ensemble import compute_member_outputs, iter_members
from trainer.engine.row_recorder import RowRecorder
from trainer.metrics import diversity, registry
from trainer.runs import test_rows
from trainer.runs.results import Result

ROUNDING = 1e-6
"""Relative difference of scores that differ by rounding alone, as those of an ensemble of one and of its member."""


def score_ensemble(
    task: Task,
    loaders: Mapping[str, Loader],
    settings: Settings,
    target: TargetInfo,
    result: Result,
    members: Sequence[Result],
) -> None:
    """Fit the decisions of the averaged predictions, score them, and add the scores to the result.

    Args:
        task: Task of the ensemble with its weights.
        loaders: Loaders of the splits, by name.
        settings: Global keys of the configuration.
        target: Scale of the targets.
        result: Result of the ensemble.
        members: Results of its members.
    """
    result.decisions = evaluation.fit_decisions(task, loaders["val"], settings)
    result.val = evaluation.evaluate_split(task, loaders["val"], settings)
    recorder = RowRecorder()
    result.test = evaluation.evaluate_split(task, loaders["test"], settings, row_recorder=recorder)
    recorded = recorder.collect(result.test)
    if recorded is not None:
        test_rows.write_rows(Path(result.run_dir), recorded)
    tests = [member.test for member in members]
    result.ensemble = compare_with_members(result.test, tests, result.higher_is_better)
    result.ensemble["diversity"] = measure_diversity(task, loaders["test"], settings, target)


def compare_with_members(
    scores: Mapping[str, float], members: Sequence[Mapping[str, float]], higher_is_better: Mapping[str, bool]
) -> dict[str, dict[str, float]]:
    """Return mean and best scores of the members, and the gain over their mean, positive where that is better.

    A gain within rounding is 0. Scores that are not finite are left out, and so are the best score and the gain of a
    metric without a direction.

    Args:
        scores: Scores of the ensemble, by metric.
        members: Scores of each member.
        higher_is_better: Whether higher is better, for each metric with a known direction.
    """
    compared: dict[str, dict[str, float]] = {"mean": {}, "best": {}, "gain": {}}
    for name, score in scores.items():
        values = [member[name] for member in members if name in member]
        if len(values) < len(members) or not all(map(math.isfinite, [score, *values])):
            continue
        mean = sum(values) / len(values)
        compared["mean"][name] = mean
        metric = registry.find_metric(name, higher_is_better)
        if metric is not None:
            compared["best"][name] = max(values) if metric.higher_is_better else min(values)
            gain = score - mean if metric.higher_is_better else mean - score
            compared["gain"][name] = 0.0 if math.isclose(score, mean, rel_tol=ROUNDING) else gain
    return compared


@torch.no_grad()
def measure_diversity(task: Task, loader: Loader, settings: Settings, target: TargetInfo) -> dict[str, float]:
    """Return how much the predictions of the members differ for the rows of a split, by name of the measure.

    Classes have a ``disagreement``, the share of pairs of members that predict different ones, and rankings a
    ``first_disagreement``, the share of pairs that rank different candidates first; texts have a
    ``token_disagreement``, the share of pairs for which different next tokens are most likely; numbers have a
    ``spread``, the mean standard deviation over the members, in the original units.

    Args:
        task: Task of the ensemble.
        loader: Loader of the split.
        settings: Global keys of the configuration, for seed and precision.
        target: Scale of the targets.
    """
    task.eval()
    totals: dict[str, tuple[float, int]] = {}
    with rng.fork_rng(settings.seed, loader.device), closing(loader.iter_epoch(0)) as batches:
        for batch in batches:
            with precision.autocast_context(loader.device, settings.precision):
                differences = _compare_members(task, batch, target)
            for name, values in differences.items():
                total, count = totals.get(name, (0.0, 0))
                totals[name] = total + float(values.sum()), count + values.numel()
    return {name: total / count for name, (total, count) in totals.items() if count}


def _compare_members(task: Task, batch: Batch, target: TargetInfo) -> dict[str, Tensor]:
    """Return the differences of the predictions of the members for a batch."""
    if isinstance(task, TokenChooser):
        chosen = [cast(TokenChooser, member).choose_tokens(batch) for member in iter_members(task)]
        tokens = diversity.compute_disagreement(chosen)
        return {"token_disagreement": tokens[batch.require_target() != IGNORE_INDEX]}
    members = [replace(batch, output=output) for output in compute_member_outputs(task, batch)]
    if isinstance(task, CandidateChooser):
        choices = [task.choose_candidates(member) for member in members]
        return {"first_disagreement": diversity.compute_disagreement(choices)}
    return _compare_predictions([cast(Predictor, task).predict(member) for member in members], batch, target)


def _compare_predictions(predictions: Sequence[Prediction], batch: Batch, target: TargetInfo) -> dict[str, Tensor]:
    """Return the differences of the predictions of the members for a batch, without ignored positions."""
    if "label" in predictions[0]:
        values = diversity.compute_disagreement([each["label"] for each in predictions])
        return {"disagreement": values if batch.target is None else values[batch.target != IGNORE_INDEX]}
    if "value" in predictions[0]:
        numbers = [torch.from_numpy(prediction.unscale(each["value"].cpu(), target)) for each in predictions]
        return {"spread": diversity.compute_spread(numbers)}
    return {}
