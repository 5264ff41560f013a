"""Simulated scores of settings, and how often they are called different."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from trainer.runs.finished_runs import FinishedRun
from trainer.runs.setting_comparison import compare_pairs
from trainer.stats.paired_comparison import Conclusion, SeedComparison, Verdict, compare_seeds, draw_conclusions

Draw = Callable[[np.random.Generator, int], np.ndarray]
KINDS: Mapping[str, Draw] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "uniform": lambda rng, n: rng.random(n),
    "log-normal": lambda rng, n: np.exp(rng.normal(size=n)),
    "t, 2 degrees of freedom": lambda rng, n: rng.standard_t(2, n),
    "one in five fails": lambda rng, n: 0.05 * rng.normal(size=n) - (rng.random(n) < 0.2),
    "accuracy on 100 rows": lambda rng, n: rng.binomial(100, 0.97, n) / 100,
    "accuracy on 20 rows": lambda rng, n: rng.binomial(20, 0.99, n) / 20,
}
"""Distributions of scores over seeds."""


def simulate_pair(
    draw: Draw, rng: np.random.Generator, seeds: int, shift: float = 0.0, *, paired: bool = True
) -> SeedComparison:
    """Compare a setting with another one, whose distribution is shifted."""
    second = [float(value) for value in draw(rng, seeds) + shift]
    names = range(seeds) if paired else range(seeds, 2 * seeds)
    return compare_seeds(
        {str(name): float(value) for name, value in enumerate(draw(rng, seeds))},
        {str(name): value for name, value in zip(names, second, strict=True)},
    )


def is_claim(conclusion: Conclusion) -> bool:
    return conclusion.verdict in (Verdict.BETTER, Verdict.WORSE)


def measure_claims(
    draw: Draw, seeds: int, shift: float = 0.0, *, pairs: int = 1000, paired: bool = True, seed: int = 0
) -> float:
    """Return the share of simulated pairs of settings that are called different."""
    rng = np.random.default_rng([seed, seeds])
    claims = 0
    for _ in range(pairs):
        comparison = simulate_pair(draw, rng, seeds, shift, paired=paired)
        (conclusion,) = draw_conclusions([comparison], higher_is_better=True)
        claims += is_claim(conclusion)
    return claims / pairs


def measure_sweep_claims(settings: int, seeds: int, *, sweeps: int, corrected: bool = True) -> float:
    """Return the share of sweeps over equal settings in which any is called different from the first one."""
    rng = np.random.default_rng(0)
    claims = 0
    for _ in range(sweeps):
        scores = [
            {str(seed): float(value) for seed, value in enumerate(rng.normal(size=seeds))} for _ in range(settings)
        ]
        comparisons = [compare_seeds(scores[0], other) for other in scores[1:]]
        if corrected:
            conclusions = draw_conclusions(comparisons, higher_is_better=True)
        else:
            conclusions = [draw_conclusions([one], higher_is_better=True)[0] for one in comparisons]
        claims += any(map(is_claim, conclusions))
    return claims / sweeps


def measure_selection_claims(settings: int, seeds: int, correlation: float, *, sweeps: int) -> float:
    """Return the share of sweeps over equal settings in which the best by validation is called different from any.

    Args:
        settings: Number of settings.
        seeds: Number of seeds.
        correlation: Correlation of the validation and test scores of a seed.
        sweeps: Number of simulated sweeps.
    """
    rng = np.random.default_rng([settings, seeds])
    claims = 0
    for _ in range(sweeps):
        validation, noise = rng.normal(size=(2, settings, seeds))
        test = correlation * validation + np.sqrt(1 - correlation**2) * noise
        runs = [[_make_run(seed, float(score)) for seed, score in enumerate(row)] for row in test]
        best = int(validation.mean(1).argmax())
        pairs = [(best, other) for other in range(settings) if other != best]
        compared = compare_pairs(runs, pairs, higher_is_better=True)
        claims += any(pair.conclusion is not None and is_claim(pair.conclusion) for pair in compared)
    return claims / sweeps


def _make_run(seed: int, score: float) -> FinishedRun:
    """Make a run with a test score, without a directory."""
    config = {"seed": seed, "data.fold": 0}
    results = {"monitor": "accuracy", "test": {"accuracy": score}, "overrides": []}
    return FinishedRun(results, config, 0, Path())
