"""A classical model on the rows of a task: a random forest on tables, a linear model on everything else.

Its outputs take the place of those of the network in the task, so that both have the same metrics on the same rows.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from trainer.core.batch import ScoreAccumulator
from trainer.core.dataset import Dataset
from trainer.core.task import Task
from trainer.engine.dataloader import Loader
from trainer.inference.classical_rows import collect_rows, get_features, is_table, take_rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    OutputFunction = Callable[[Array], Array]

NUM_TREES = 100
SEED = 0
MAX_ITERATIONS = 300
"""Largest number of iterations of logistic regression."""
RIDGE_PENALTIES = (0.1, 1.0, 10.0, 100.0, 1000.0)
"""Penalties of which ridge regression chooses the best by leave-one-out cross-validation."""
SMALLEST_PROBABILITY = 0.5 / NUM_TREES
"""Probability of a class that no tree votes for, half of that of one vote: an NLL would be infinite without it."""


@dataclass(frozen=True)
class ClassicalScores:
    """Test scores of a classical model.

    Args:
        model: Name of the model.
        rows: Number of training rows that it was fitted on.
        scores: Its test scores by metric.
    """

    model: str
    rows: int
    scores: dict[str, float]


def score_classical_model(task: Task, data: Dataset, test: Loader) -> ClassicalScores | None:
    """Fit a classical model on the training rows, and return its test scores.

    Args:
        task: The task of the rows; its decisions, which were fitted to the network, are dropped.
        data: Data set with the training rows.
        test: Loader of the test rows.

    Returns:
        The scores; None if the rows are not numbers of a fixed size with a class or numbers as the target, or if the
        task does not score the outputs of a model alone.
    """
    rows = collect_rows(data.train) if task.scores_outputs else None
    if rows is None:
        return None
    inputs, target = rows
    has_columns = is_table(take_rows(data.train, torch.zeros(1, dtype=torch.long)))
    name, compute_outputs = fit(inputs, target, has_columns, data.info.sizes.get("num_classes", 0))
    task.decisions = {}
    totals = ScoreAccumulator()
    with torch.no_grad(), closing(test.iter_epoch(0)) as batches:
        for batch in batches:
            features, true = get_features(batch), batch.require_target()
            if features is None or features.shape[1] != inputs.shape[1]:
                return None
            values = torch.from_numpy(compute_outputs(features.double().cpu().numpy())).to(true.device)
            output = values.reshape(true.shape) if true.is_floating_point() else values
            totals.update(task.score(replace(batch, output=output.float())))
    return ClassicalScores(name, len(target), task.metrics(totals.compute_totals()))


def fit(inputs: Tensor, target: Tensor, has_columns: bool, num_classes: int) -> tuple[str, OutputFunction]:
    """Fit a model on features.

    Args:
        inputs: Features (N, F).
        target: Classes (N,), or numbers (N, ...).
        has_columns: Whether the features are columns of a table.
        num_classes: Number of classes C, of which the rows may lack some.

    Returns:
        The name of the model, and a function from features (N, F) to logits (N, C) or to numbers (N, K).
    """
    if target.is_floating_point():
        return _fit_numbers(inputs.numpy(), target.reshape(len(target), -1).double().numpy(), has_columns)
    return _fit_classes(inputs.numpy(), target.numpy(), has_columns, num_classes)


def _fit_numbers(features: Array, target: Array, has_columns: bool) -> tuple[str, OutputFunction]:
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if has_columns:
        name, model = "random forest", RandomForestRegressor(NUM_TREES, random_state=SEED)
    else:
        name, model = "ridge regression", make_pipeline(StandardScaler(), RidgeCV(RIDGE_PENALTIES))
    model.fit(features, target[:, 0] if target.shape[1] == 1 else target)
    return name, model.predict


def _fit_classes(features: Array, target: Any, has_columns: bool, num_classes: int) -> tuple[str, OutputFunction]:
    import numpy as np
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if has_columns:
        name, model = "random forest", RandomForestClassifier(NUM_TREES, random_state=SEED)
    else:
        name, model = (
            "logistic regression",
            make_pipeline(StandardScaler(), LogisticRegression(max_iter=MAX_ITERATIONS)),
        )
    model.fit(features, target)

    def compute_logits(rows: Array) -> Array:
        probabilities = np.zeros((len(rows), num_classes))
        probabilities[:, model.classes_] = model.predict_proba(rows)
        return np.log(np.maximum(probabilities, SMALLEST_PROBABILITY))

    return name, compute_logits
