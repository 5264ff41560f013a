"""A plugin with a task that is monitored by its own metric, and one with metrics for any task."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.commands import write
from trainer.config import plugins

QUANTILE = {
    "own_quantile.py": '''
        import torch
        from torch import Tensor, nn
        from trainer import Metric
        from trainer.core.batch import Batch, Score
        from trainer.core.task import Task
        from trainer.core.types import Fraction

        class Quantile(Task):
            """The pinball loss (Koenker and Bassett 1978)."""

            shapes = "(B, ...) -> (B, ...)"
            monitor = Metric("pinball", higher_is_better=False)
            reported_metrics = (Metric("coverage", higher_is_better=True),)

            def __init__(self, model: nn.Module, level: Fraction):
                super().__init__(model)
                self.level = level

            def pinball(self, batch: Batch) -> Tensor:
                error = batch.target - self.forward_batch(batch)
                return torch.maximum(self.level * error, (self.level - 1) * error)

            def loss(self, batch: Batch, group: str) -> Tensor:
                return self.pinball(batch).mean()

            def score(self, batch: Batch) -> Score:
                each = self.pinball(batch)
                covered = batch.target <= self.forward_batch(batch)
                return {"sum": each.sum(), "covered": covered.sum(), "count": torch.tensor(each.numel())}

            def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
                count = float(totals["count"])
                means = {"pinball": float(totals["sum"]) / count, "coverage": float(totals["covered"]) / count}
                return means | {"width": 1.0}
    '''.replace("\n        ", "\n"),
    "own_conf/task/own_quantile.yaml": "# A quantile of the target.\n_target_: own_quantile.Quantile\n"
    "level: 0.9 # share of targets below the prediction\n",
}
METRICS = {
    "own_metrics.py": '''
        """Metrics of a user's own."""
        import torch

        def balanced_error(predictions, targets):
            wrong = predictions.argmax(1) != targets
            return torch.stack([wrong[targets == label].double().mean() for label in targets.unique()]).mean()

        balanced_error.higher_is_better = False

        class Spread:
            name = "spread"
            higher_is_better = True

            def compute(self, predictions, targets):
                return predictions.double().std() / targets.double().std()

        def undirected(predictions, targets):
            return 0.0

        def several(predictions, targets):
            return predictions
        several.higher_is_better = True

        def failing(predictions, targets):
            return predictions[len(targets)]
        failing.higher_is_better = True

        class accuracy(Spread):
            name = "accuracy"

        class Twin(Spread):
            pass

        class Threshold(Spread):
            def __init__(self, threshold):
                self.threshold = threshold
    '''.replace("\n        ", "\n"),
}


@pytest.fixture
def own_plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a working folder with both plugins, which are unloaded afterwards."""
    monkeypatch.chdir(write(tmp_path, QUANTILE | METRICS))
    yield tmp_path
    plugins.declare_plugins([])
    for name in ("own_quantile", "own_metrics"):
        sys.modules.pop(name, None)
