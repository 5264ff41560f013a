"""Choice of the monitored metric, and messages for tasks that cannot have it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from torch import Tensor, nn

from trainer.core.batch import Batch, Score
from trainer.core.metric import Metric
from trainer.core.task import Task
from trainer.engine.monitor import select_monitor
from trainer.tasks.base.scored_task import ScoredTask
from trainer.utils.errors import ConfigError

PINBALL = Metric("pinball", higher_is_better=False)


class Plain(Task):
    def loss(self, batch: Batch, group: str) -> Tensor:
        raise NotImplementedError

    def score(self, batch: Batch) -> Score:
        raise NotImplementedError

    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        raise NotImplementedError


class Monitored(Plain):
    monitor = PINBALL


class Misspelled(Plain):
    monitor = "acuracy"


class Undirected(Plain):
    monitor = "width"


class Scored(ScoredTask, Plain):
    optional_scores = ("accuracy", "nll")


def make_scored(*scores: str) -> Task:
    return Scored(nn.Identity(), list(scores))


@pytest.mark.parametrize(
    ("task", "requested", "expected"),
    [
        (Monitored(nn.Identity()), None, PINBALL),
        (Monitored(nn.Identity()), "nll", Metric("nll", higher_is_better=False)),
        (make_scored("accuracy", "nll"), None, Metric("accuracy", higher_is_better=True)),
    ],
)
def test_requested_metric_or_that_of_the_task_is_monitored(task: Task, requested: str | None, expected: Metric) -> None:
    metric = select_monitor(task, requested, ["pinball", "accuracy", "nll"])
    assert (metric.name, metric.higher_is_better) == (expected.name, expected.higher_is_better)


@pytest.mark.parametrize(
    ("task", "requested", "reported", "message"),
    [
        (
            Plain(nn.Identity()),
            None,
            ["mse"],
            'task: Plain has no monitor; add one, as in monitor = Metric("mse", False)',
        ),
        (Plain(nn.Identity()), "mse", ["mse"], "task: Plain has no monitor"),
        (
            make_scored("accuracy"),
            "nll",
            ["accuracy"],
            "monitor: 'nll' is measured where task.scores names it: task.scores=[accuracy,nll]",
        ),
        (
            make_scored("f1_per_class", "accuracy"),
            None,
            ["f1_a", "accuracy"],
            "task.scores: 'f1_per_class' is the first entry and therefore the monitor, but it is not a single number;"
            " put one of f1_a, accuracy before it, or set monitor",
        ),
        (
            Misspelled(nn.Identity()),
            None,
            ["accuracy"],
            "task: Misspelled.monitor is 'acuracy', which its metrics() does not return; did you mean accuracy?"
            " it returns accuracy",
        ),
        (Monitored(nn.Identity()), "mse", ["pinball"], "monitor: 'mse' is not a metric of this task; one of pinball"),
        (
            Undirected(nn.Identity()),
            None,
            ["width"],
            "monitor: Undirected reports 'width' without declaring whether higher is better; declare it in the task:"
            ' monitor = Metric("width", higher_is_better=False), or True',
        ),
    ],
)
def test_metric_that_cannot_be_monitored_raises(
    task: Task, requested: str | None, reported: Sequence[str], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        select_monitor(task, requested, reported)
    assert str(caught.value).startswith(message)
