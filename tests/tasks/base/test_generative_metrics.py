"""Metrics of a user's own on generated rows, with those of a Gaussian and of real rows beside them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.helpers.lab import lab
from trainer.metrics.computed import as_computed_metric
from trainer.metrics.distances import energy_distance


def energy_again(made: Tensor, real: Tensor) -> float:
    assert made.shape == real.shape
    return energy_distance(made.flatten(1), real.flatten(1))


def test_a_user_metric_compares_generated_with_real_rows() -> None:
    made = lab("model=real_nvp", "data=ring", "data.rows=120", "task.samples=30", "epochs=1", "threads=1")
    energy_again.higher_is_better = False  # type: ignore[attr-defined]
    made.task.computed_metrics = (as_computed_metric(energy_again),)
    with torch.no_grad():
        scores = made.trainer.evaluate_loader(made.loaders["test"])
        baseline, best = made.task.reference_scores()
    for found in (scores, baseline, best):
        assert found["energy_again"] == pytest.approx(found["energy_distance"], rel=1e-4, abs=1e-6)
