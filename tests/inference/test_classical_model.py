"""The scores of a classical model are those that scikit-learn gives on the same rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import ensemble, linear_model, metrics
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.helpers.lab import lab
from trainer.core.split import Split
from trainer.inference import classical_model
from trainer.inference.classical_model import ClassicalScores, score_classical_model


def score(*overrides: str) -> tuple[ClassicalScores | None, Any]:
    run = lab(*overrides, "epochs=1")
    return score_classical_model(run.task, run.data, run.loaders["test"]), run


def read_rows(split: Split) -> tuple[Any, Any]:
    batch = split.to_model_inputs(split.batch(torch.arange(len(split)), 0))
    target = batch.require_target()
    if batch.output_index is not None:
        return batch.inputs["x"][batch.output_index].double().numpy(), target.numpy()
    return batch.inputs["x"].reshape(len(split), -1).double().numpy(), target.numpy()


def make_linear(model: Any) -> Any:
    return make_pipeline(StandardScaler(), model)


@pytest.mark.parametrize(
    ("overrides", "name", "make"),
    [
        (
            ("model=mlp", "data=digits"),
            "logistic regression",
            lambda: make_linear(linear_model.LogisticRegression(max_iter=300)),
        ),
        (("model=gcn", "data=sbm"), "logistic regression", lambda: make_linear(linear_model.LogisticRegression())),
        (
            ("model=mlp", "data=moons", "data.rows=300"),
            "random forest",
            lambda: ensemble.RandomForestClassifier(100, random_state=0),
        ),
    ],
)
def test_scores_of_classes(overrides: tuple[str, ...], name: str, make: Callable[[], Any]) -> None:
    scores, run = score(*overrides)
    assert scores is not None
    inputs, labels = read_rows(run.data.train)
    test_inputs, test_labels = read_rows(run.data.test)
    model = make().fit(inputs, labels)
    predicted = model.predict_proba(test_inputs)
    assert (scores.model, scores.rows) == (name, len(labels))
    assert scores.scores["accuracy"] == pytest.approx(metrics.accuracy_score(test_labels, predicted.argmax(1)))
    clipped = np.maximum(predicted, 0.005)
    clipped /= clipped.sum(1, keepdims=True)
    assert scores.scores["nll"] == pytest.approx(
        metrics.log_loss(test_labels, clipped, labels=model.classes_), rel=1e-4
    )


def test_scores_of_numbers_are_in_their_units() -> None:
    scores, run = score("model=mlp", "data=diabetes")
    assert scores is not None
    inputs, target = read_rows(run.data.train)
    test_inputs, true = read_rows(run.data.test)
    forest = ensemble.RandomForestRegressor(100, random_state=0).fit(inputs, target.ravel())
    predicted = forest.predict(test_inputs)
    scale = run.data.info.target.scale
    assert scores.model == "random forest"
    assert scale > 10  # another scale would be noticed
    assert scores.scores["mse"] == pytest.approx(metrics.mean_squared_error(true, predicted) * scale**2, rel=1e-5)
    assert scores.scores["r2"] == pytest.approx(metrics.r2_score(true, predicted), rel=1e-5)


def test_a_forecast_is_ridge_regression_on_the_history() -> None:
    scores, run = score("model=dlinear", "data=sine_trend")
    assert scores is not None
    inputs, target = read_rows(run.data.train)
    test_inputs, true = read_rows(run.data.test)
    model = make_linear(linear_model.RidgeCV([0.1, 1, 10, 100, 1000])).fit(inputs, target.reshape(len(target), -1))
    expected = metrics.mean_squared_error(true.reshape(len(true), -1), model.predict(test_inputs))
    assert scores.model == "ridge regression"
    assert scores.scores["mse"] == pytest.approx(expected * run.data.info.target.scale**2, rel=1e-4)


def test_a_class_without_training_rows_has_a_logit() -> None:
    inputs, target = torch.randn(20, 3).double(), torch.tensor([0, 2] * 10)
    _, compute_logits = classical_model.fit(inputs, target, True, 4)
    logits = compute_logits(inputs.numpy())
    assert logits.shape == (20, 4)
    assert np.all(logits[:, [1, 3]] == np.log(classical_model.SMALLEST_PROBABILITY))


@pytest.mark.parametrize(
    "overrides",
    [
        ("model=transformer_seq2seq", "data=reverse"),
        ("model=gan", "data=ring"),
        ("model=unet", "data=digit_canvas"),
    ],
)
def test_other_data_has_no_classical_model(overrides: tuple[str, ...]) -> None:
    assert score(*overrides)[0] is None


def test_decisions_of_the_network_are_not_used() -> None:
    run = lab("model=mlp", "data=moons", "data.rows=300", "epochs=1")
    plain = score_classical_model(run.task, run.data, run.loaders["test"])
    run.task.decisions = {"threshold": torch.tensor(0.999)}
    assert score_classical_model(run.task, run.data, run.loaders["test"]) == plain
