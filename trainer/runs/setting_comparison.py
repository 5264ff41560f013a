"""Comparison of settings by the test scores of their finished runs: over seeds, and over test rows."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from trainer.runs import test_rows
from trainer.runs.finished_runs import FinishedRun
from trainer.stats.confidence_interval import compute_mean_interval
from trainer.stats.paired_comparison import Conclusion, SeedComparison, Verdict, compare_seeds, draw_conclusions
from trainer.stats.row_bootstrap import RowTerms, resample_scores

Runs = Sequence[FinishedRun]
"""Runs of one setting, with different seeds or folds."""


@dataclass(frozen=True)
class ComparedPair:
    """Comparison of two settings, as indices.

    Attributes:
        first: Index of a setting.
        second: Index of another one.
        seeds: Difference over seeds; None if a setting has no finite test score.
        conclusion: Verdict on the first one; None if there is no difference over seeds.
    """

    first: int
    second: int
    seeds: SeedComparison | None
    conclusion: Conclusion | None


@dataclass(frozen=True)
class ScoreSummary:
    """Monitored test score of a setting over its seeds.

    Attributes:
        mean: Mean of the finite scores; NaN if there are none.
        std: Their standard deviation; None for a single one.
        interval: Interval of the mean over seeds; None for too few of them.
    """

    mean: float
    std: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class ResampledRows:
    """Scores of settings on resampled test rows.

    Attributes:
        num_rows: Number of test rows.
        scores: Scores (R, K) of K settings; NaN for a setting that was left out.
        left_out: Why there is no interval over rows, by index of the setting.
    """

    num_rows: int
    scores: np.ndarray
    left_out: dict[int, str]


def get_test_scores(runs: Runs) -> dict[str, float]:
    """Return the finite monitored test scores of a setting by seed and fold."""
    scores = {" ".join(run.replicate_key): float(run.results["test"][run.monitor]) for run in runs}
    return {replicate: score for replicate, score in scores.items() if math.isfinite(score)}


def summarize_scores(runs: Runs) -> ScoreSummary:
    """Return mean, standard deviation and interval of the finite monitored test scores of a setting."""
    scores = list(get_test_scores(runs).values())
    mean = statistics.fmean(scores) if scores else math.nan
    return ScoreSummary(mean, statistics.stdev(scores) if len(scores) > 1 else None, compute_mean_interval(scores))


def count_missing_scores(runs: Runs) -> int:
    """Return the number of seeds and folds of a setting that failed, or whose test score is not finite."""
    replicates = {run.replicate_key for run in runs}
    failed = {replicate for run in runs for replicate in run.failed_replicates}
    return len(replicates | failed) - len(get_test_scores(runs))


def compare_pairs(
    settings: Sequence[Runs], pairs: Sequence[tuple[int, int]], *, higher_is_better: bool
) -> list[ComparedPair]:
    """Compare pairs of settings over seeds, with the correction of Holm for all pairs of these settings.

    Which pairs are compared may depend on scores, such as those of the best setting by validation. A single seed cannot
    show a difference, so that settings with one score are not counted. A setting of which seeds have no score is not
    called better: they may be those with the worst ones.

    Args:
        settings: Runs of each setting.
        pairs: Indices of the settings of each pair.
        higher_is_better: Direction of the monitored metric.
    """
    scores = [get_test_scores(runs) for runs in settings]
    compared = {
        pair: compare_seeds(scores[pair[0]], scores[pair[1]], max(_find_overlap(settings[index]) for index in pair))
        for pair in pairs
        if scores[pair[0]] and scores[pair[1]]
    }
    num_pairs = math.comb(sum(len(values) > 1 for values in scores), 2)
    conclusions = draw_conclusions(list(compared.values()), higher_is_better=higher_is_better, num_tests=num_pairs)
    missing = [count_missing_scores(runs) > 0 for runs in settings]
    by_pair = {
        pair: replace(conclusion, verdict=Verdict.MISSING_SCORES)
        if (conclusion.verdict is Verdict.BETTER and missing[pair[0]])
        or (conclusion.verdict is Verdict.WORSE and missing[pair[1]])
        else conclusion
        for pair, conclusion in zip(compared, conclusions, strict=True)
    }
    return [ComparedPair(*pair, compared.get(pair), by_pair.get(pair)) for pair in pairs]


def _find_overlap(runs: Runs) -> float:
    """Return the test rows per training row of K folds, 1 / (K - 1); 0 for runs on the same training rows."""
    folds = {run.replicate_key[1] for run in runs}
    return 1 / (len(folds) - 1) if len(folds) > 1 else 0.0


def resample_rows(settings: Sequence[Runs]) -> ResampledRows | str:
    """Resample the test rows of several settings, the same for all.

    Args:
        settings: Runs of each setting.

    Returns:
        The scores on resampled rows, or the reason why there are none.
    """
    loaded = [[test_rows.read_rows(run.path, run.monitor) for run in runs] for runs in settings]
    first = next((rows for runs in loaded for rows in runs if rows is not None), None)
    if first is None:
        return f"no run has {test_rows.FILE}, with what each test row contributes to its scores"
    terms: dict[int, list[RowTerms]] = {}
    left_out = {}
    for index, (runs, all_rows) in enumerate(zip(settings, loaded, strict=True)):
        known = [rows for rows in all_rows if rows is not None]
        if len(known) < len(runs):
            left_out[index] = f"a run without {test_rows.FILE}"
        elif not all(rows.has_same_rows(first) for rows in known):
            left_out[index] = "other test rows, such as those of another seed or fold"
        elif not all(run.monitor in rows.terms for run, rows in zip(runs, known, strict=True)):
            left_out[index] = f"{runs[0].monitor} needs all rows at once"
        elif not all(_has_reported_score(run, rows) for run, rows in zip(runs, known, strict=True)):
            left_out[index] = f"{test_rows.FILE} belongs to other results"
        else:
            terms[index] = [rows.terms[run.monitor] for run, rows in zip(runs, known, strict=True)]
    if not terms:
        return next(iter(left_out.values()))
    sample = resample_scores(list(terms.values()))
    scores = np.full((len(sample), len(settings)), np.nan)
    scores[:, list(terms)] = sample
    return ResampledRows(len(first.rows), scores, left_out)


def _has_reported_score(run: FinishedRun, rows: test_rows.TestRows) -> bool:
    score = float(run.results["test"][run.monitor])
    return math.isclose(rows.terms[run.monitor].compute_score(), score, rel_tol=1e-4, abs_tol=1e-6)
