"""Split conformal prediction: sets of classes and intervals with a stated coverage.

The guarantee is that of exchangeable rows. It is approximate here because the validation rows have also selected the
best weights.

References:
    Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005.
    Angelopoulos and Bates, A Gentle Introduction to Conformal Prediction, 2021, sections 1 and 2.
"""

from __future__ import annotations

import math

from torch import Tensor

from trainer.utils.errors import ConfigError


def _get_rank(rows: int, coverage: float) -> int:
    """Return ``ceil((rows + 1) coverage)``, without the rounding error of the product."""
    return math.ceil(round((rows + 1) * coverage, 9))


def conformal_quantile(scores: Tensor, coverage: float) -> Tensor:
    """Return the value (...) that a new score does not exceed with probability at least ``coverage``.

    It is the ``ceil((N + 1) coverage)``-th smallest of N scores, separately for each remaining dimension.

    Args:
        scores: Scores of the validation rows (N, ...), such as ``1 - p_y`` or absolute residuals.
        coverage: Coverage in (0, 1).

    Raises:
        ConfigError: There are too few rows.
    """
    check_rows(len(scores), coverage)
    return scores.kthvalue(_get_rank(len(scores), coverage), dim=0).values


def check_rows(rows: int, coverage: float) -> None:
    """Check that there are enough validation rows for a coverage.

    Args:
        rows: Number of rows.
        coverage: Coverage in (0, 1).

    Raises:
        ConfigError: There are too few.
    """
    needed = math.ceil(round(coverage / (1 - coverage), 9))
    if rows < needed:
        raise ConfigError(f"task.coverage: {coverage:g} given; it needs {needed} validation rows, and there are {rows}")
