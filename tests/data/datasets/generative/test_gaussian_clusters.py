"""Clusters whose best reconstruction is known."""

from __future__ import annotations

import math

import pytest
import torch

from trainer.data.datasets.generative.gaussian_clusters import GaussianClusters


def test_one_code_a_cluster_leaves_the_noise_and_one_code_for_all_the_spread() -> None:
    data = GaussianClusters(rows=8000, modes=16, in_features=8, spread=1.0, sigma=0.2, seed=0)
    x, label = data.test.inputs["x"], data.test.target
    centres = data.info.density.modes
    assert centres is not None
    assert label is not None
    away = torch.cdist(x, centres)
    assert torch.equal(away.argmin(1), label)
    assert float((x - centres[label]).square().mean()) == pytest.approx(data.info.best_possible["mse"], rel=0.05)
    share = label.bincount().double() / len(label)
    assert float(-(share * share.log()).sum()) == pytest.approx(math.log(16), abs=0.03)
    mean = data.train.inputs["x"].mean(0)
    assert data.info.baseline["mse"] == pytest.approx(float(((x - mean) ** 2).mean()))
    assert data.info.baseline["mse"] > 10 * data.info.best_possible["mse"]
