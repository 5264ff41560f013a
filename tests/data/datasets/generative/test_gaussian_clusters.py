"""Gaussian clusters: best possible and baseline reconstruction error."""

from __future__ import annotations

import math

import pytest
import torch

from trainer.data.datasets.generative.gaussian_clusters import GaussianClusters


def test_best_possible_error_is_noise_and_baseline_is_variance() -> None:
    data = GaussianClusters(rows=8000, modes=16, in_features=8, spread=1.0, sigma=0.2, seed=0)
    x, label = data.test.inputs["x"], data.test.target
    centers = data.info.density.modes
    assert centers is not None
    assert label is not None
    distances = torch.cdist(x, centers)
    assert torch.equal(distances.argmin(1), label)
    assert float((x - centers[label]).square().mean()) == pytest.approx(data.info.best_possible["mse"], rel=0.05)
    share = label.bincount().double() / len(label)
    assert float(-(share * share.log()).sum()) == pytest.approx(math.log(16), abs=0.03)
    mean = data.train.inputs["x"].mean(0)
    assert data.info.baseline["mse"] == pytest.approx(float(((x - mean) ** 2).mean()))
    assert data.info.baseline["mse"] > 10 * data.info.best_possible["mse"]
