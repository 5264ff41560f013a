"""Importance of each key: how much worse a random forest predicts scores when the values of the key are permuted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from trainer.config.search_space import Space
from trainer.search.trial import Trial

MIN_TRIALS = 16
"""Number of scores below which a forest is not fitted."""
MIN_EXPLAINED = 0.1
"""Share of the variance of scores that a forest must explain for rows it was not fitted on."""
NUM_TREES, NUM_REPEATS = 200, 20


@dataclass(frozen=True)
class Importance:
    """Importance of the keys of a space.

    Attributes:
        shares: Importance of each key, in [0, 1], largest first; they sum to 1.
        explained: Share of the variance of scores that the forest explains out of bag; None without a forest.
        num_scores: Number of trials.
        step: Where the scores were taken: the number of steps of the rung; None for different ones.
        reason: Why there is none.
    """

    shares: dict[str, float] = field(default_factory=dict)
    explained: float | None = None
    num_scores: int = 0
    step: int | None = None
    reason: str = ""


def estimate_importance(space: Space, trials: Sequence[Trial], seed: int) -> Importance:
    """Estimate how much each key matters for the scores at the first rung, which all trials have.

    Args:
        space: The space.
        trials: Trials with scores.
        seed: Seed of the forest.

    References:
        Breiman, "Random forests", Machine Learning 2001.
    """
    scored = [trial for trial in trials if trial.scores and trial.scores[0] is not None]
    if len(space.dimensions) < 2:
        return Importance(num_scores=len(scored), reason="there is one key only")
    if len(scored) < MIN_TRIALS:
        return Importance(num_scores=len(scored), reason=f"{len(scored)} scores; at least {MIN_TRIALS} are needed")
    import numpy as np
    from scipy.stats import rankdata
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    rows = np.array([_encode(space, trial) for trial in scored])
    # Ranks: one diverged run must not outweigh all others.
    scores = np.array([trial.scores[0] for trial in scored], dtype=float)
    ranks = rankdata(scores)  # equal scores have their mean rank
    if np.ptp(scores) == 0:
        return Importance(num_scores=len(scored), reason="all scores are equal")
    forest = RandomForestRegressor(NUM_TREES, oob_score=True, random_state=seed, min_samples_leaf=2)
    forest.fit(rows, ranks)
    ends = {trial.get_end(0) for trial in scored}
    step, explained = ends.pop() if len(ends) == 1 else None, float(forest.oob_score_)
    if not explained >= MIN_EXPLAINED:
        reason = "the keys do not explain the scores: a forest predicts them no better than their mean"
        return Importance(explained=explained, num_scores=len(scored), step=step, reason=reason)
    result = permutation_importance(forest, rows, ranks, n_repeats=NUM_REPEATS, random_state=seed)
    means = np.maximum(result.importances_mean, 0.0)
    total = float(means.sum()) or 1.0
    keys = [dimension.key for dimension in space.dimensions]
    shares = {keys[index]: float(means[index]) / total for index in np.argsort(-means, kind="stable")}
    return Importance(shares, explained, len(scored), step)


def _encode(space: Space, trial: Trial) -> list[float]:
    """Return a number for the value of each key; NaN for a key that the options of the trial do not have."""
    return [item.encode(trial.values[item.key]) if item.key in trial.values else math.nan for item in space.dimensions]
