"""User metrics of generated rows, with their baseline and best possible score."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.helpers.lab import lab
from trainer.metrics.computed import as_computed_metric
from trainer.metrics.distances import energy_distance


def user_energy_distance(generated: Tensor, real: Tensor) -> float:
    assert generated.shape == real.shape
    return energy_distance(generated.flatten(1), real.flatten(1))


def test_a_user_metric_compares_generated_with_real_rows() -> None:
    run = lab("model=real_nvp", "data=ring", "data.rows=120", "task.samples=30", "epochs=1", "threads=1")
    user_energy_distance.higher_is_better = False  # type: ignore[attr-defined]
    run.task.computed_metrics = (as_computed_metric(user_energy_distance),)
    with torch.no_grad():
        scores = run.trainer.evaluate_loader(run.loaders["test"])
        baseline, best = run.task.reference_scores()
    for found in (scores, baseline, best):
        assert found["user_energy_distance"] == pytest.approx(found["energy_distance"], rel=1e-4, abs=1e-6)
