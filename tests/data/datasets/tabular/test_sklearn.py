"""Tables of scikit-learn: preprocessing, splits, and scores compared with its linear models."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.helpers.lab import lab
from trainer.data.datasets.tabular.sklearn import SklearnClassification, SklearnRegression


def rows(split: Any) -> tuple[Any, Any]:
    return split.inputs["x"].numpy(), split.target.numpy()


def test_features_are_standardized_by_the_training_rows_alone() -> None:
    data = SklearnClassification("wine", seed=0)
    x = data.train.inputs["x"]
    torch.testing.assert_close(x.mean(0), torch.zeros(13), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.std(0, correction=0), torch.ones(13), atol=1e-5, rtol=0)
    assert data.test.inputs["x"].mean(0).abs().max() > 0.05
    assert (len(data.info.table.feature_names), data.info.table.feature_names[0]) == (13, "alcohol")


def test_splits_are_stratified() -> None:
    data = SklearnClassification("breast_cancer", seed=4)
    shares = [float(split.target.double().mean()) for split in (data.train, data.val, data.test)]
    assert max(shares) - min(shares) < 0.01
    assert [len(split) for split in (data.train, data.val, data.test)] == [341, 114, 114]


def test_splits_are_disjoint_and_depend_on_seed() -> None:
    def all_rows(seed: int) -> list[list[float]]:
        data = SklearnClassification("wine", seed)
        return [row for split in (data.train, data.val, data.test) for row in split.inputs["x"].tolist()]

    assert len({tuple(row) for row in all_rows(0)}) == 178
    assert all_rows(0) == all_rows(0) != all_rows(1)


def test_regression_scores_are_in_original_units() -> None:
    run = lab("model=mlp", "data=diabetes", "epochs=1")
    data = SklearnRegression("diabetes", seed=0)
    assert 70 < data.info.target.scale < 85
    assert run.data.info.baseline["rmse"] > 60
    assert 30 < run.test()["rmse"] < 200


@pytest.mark.parametrize("data", ["breast_cancer", "wine"])
@pytest.mark.slow
def test_mlp_matches_logistic_regression(data: str) -> None:
    from sklearn.linear_model import LogisticRegression

    run = lab("model=mlp", f"data={data}")
    reference = LogisticRegression(max_iter=5000).fit(*rows(run.data.train)).score(*rows(run.data.test))
    assert run.data.info.baseline["accuracy"] < 0.7
    assert run.test()["accuracy"] >= reference - 0.01


@pytest.mark.slow
def test_mlp_matches_ridge_regression_and_overfitted_mlp_does_not() -> None:
    from sklearn.linear_model import Ridge

    run = lab("model=mlp", "data=diabetes")
    reference = Ridge().fit(*rows(run.data.train)).score(*rows(run.data.test))
    assert run.test()["r2"] >= reference - 0.01

    overfitted_run = lab("model=mlp", "data=diabetes", "optimizer.weight_decay=0", "optimizer.lr=1e-2", "val_every=60")
    assert overfitted_run.test()["r2"] < reference - 0.01
