"""Conformal quantiles by their definition, and the coverage of exchangeable rows."""

from __future__ import annotations

import math

import pytest
import torch

from trainer.tasks.evaluation.conformal import conformal_quantile
from trainer.utils.errors import ConfigError


@pytest.mark.parametrize("rows", [9, 10, 99, 100, 1000])
@pytest.mark.parametrize("coverage", [0.1, 0.5, 0.7, 0.9])
def test_quantile_is_the_rank_of_the_definition(rows: int, coverage: float) -> None:
    scores = torch.randn(rows, 3, generator=torch.Generator().manual_seed(rows)).double()
    rank = math.ceil((rows + 1) * round(coverage * 10) / 10)
    assert torch.equal(conformal_quantile(scores, coverage), scores.sort(0).values[rank - 1])


@pytest.mark.parametrize(("coverage", "needed"), [(0.9, 9), (0.95, 19), (0.99, 99), (0.5, 1)])
def test_too_few_rows_are_refused(coverage: float, needed: int) -> None:
    scores = torch.arange(1.0, needed + 1)
    assert conformal_quantile(scores, coverage) == needed
    with pytest.raises(ConfigError, match=rf"^task.coverage: {coverage} given; it needs {needed} validation rows, and"):
        conformal_quantile(scores[1:], coverage)


@pytest.mark.parametrize("rows", [19, 50])
def test_new_rows_are_covered_as_stated(rows: int) -> None:
    """On average over calibration rows, the coverage is between 1 - a and 1 - a + 1 / (n + 1)."""
    scores = torch.rand(rows, 20_000, generator=torch.Generator().manual_seed(0)).double()
    mean = float(conformal_quantile(scores, 0.9).mean())  # the probability that a uniform score is below it
    assert 0.9 - 0.003 < mean < 0.9 + 1 / (rows + 1) + 0.003
    too_small = scores.kthvalue(math.floor(0.9 * rows), dim=0).values  # without the correction for finite samples
    assert float(too_small.mean()) < 0.9 - 0.003
