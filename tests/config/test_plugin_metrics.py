"""Plugin metrics in ``task.scores`` are checked against the allow-list and the source before import."""

from __future__ import annotations

import sys

import pytest

from tests.helpers.own_metrics import own_plugins as own_plugins
from tests.helpers.refusals import collect_problems
from trainer.config import compose

pytestmark = pytest.mark.usefixtures("own_plugins")
PLUGIN = ("model=mlp", "data=moons", "plugins=[own_metrics]")


def test_metric_of_a_declared_plugin_is_accepted_without_import() -> None:
    config = compose.compose([*PLUGIN, "task.scores=[own_metrics.balanced_error,accuracy]"])
    assert config.tree["task"]["scores"] == ["own_metrics.balanced_error", "accuracy"]
    compose.compose([*PLUGIN[2:], "model=mlp", "data=diabetes", "task.scores=[own_metrics.Spread,mae]"])
    assert "own_metrics" not in sys.modules


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("own_quantile.pinball", "not on the allow-list; if the module is yours, plugins=[own_quantile]"),
        ("os.system", "metric 'os.system' is not on the allow-list"),
        ("trainer.metrics.bleu.corpus_bleu", "is not on the allow-list"),
        (
            "own_metrics.balanced_eror",
            "defines no class or function balanced_eror; did you mean own_metrics.balan",
        ),
        ("own_metrics.torch", "defines no class or function torch"),
        ("own_metrics.torch.sum", "there is no module own_metrics.torch"),
        ("acuracy", "metrics of a plugin, such as my_metrics.balanced_error; did you mean accuracy?"),
        ("own_metrics.", "metrics of a plugin, such as"),
        ("7", "metrics of a plugin, such as"),
    ],
)
def test_an_invalid_metric_is_refused_before_any_import(path: str, message: str) -> None:
    (problem,) = collect_problems(*PLUGIN, f"task.scores=[nll,{path}]")
    assert problem.startswith("task.scores: ")
    assert message in problem
    assert "own_metrics" not in sys.modules


def test_generative_task_accepts_only_plugin_metrics() -> None:
    words = ("model=vae", "data=ring", "plugins=[own_metrics]")
    assert compose.compose([*words, "task.scores=[own_metrics.Spread]"]).tree["task"]["scores"] == [
        "own_metrics.Spread"
    ]
    (problem,) = collect_problems(*words, "task.scores=[elbo]")
    assert "it must be a list of metrics of a plugin, such as my_metrics.balanced_error" in problem
