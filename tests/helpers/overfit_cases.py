"""One batch of each model of the zoo, to overfit."""

from __future__ import annotations

from dataclasses import replace

from tests.helpers.pairs import MODELS, first_dataset, make_pair, read_node
from trainer.engine import factory, overfit
from trainer.engine.overfit import OverfitResult
from trainer.engine.trainer import Trainer

WIDE_GRAPH = ("model.hidden=[64]", "optimizer.lr=2e-2")
OPTIONS: dict[str, tuple[str, ...]] = {
    "alexnet": ("optimizer.lr=3e-4",),
    "neural_ode": ("optimizer.lr=1e-2",),
    **dict.fromkeys(("edge_gnn", "gcn", "gnn", "mean_gnn"), WIDE_GRAPH),
    **dict.fromkeys(("gat", "gin"), ("model.hidden=[64]", "optimizer.lr=5e-3")),
}
"""Further options, by model."""
COMMON = (
    "augment=none",
    "scheduler=none",
    "optimizer.lr=3e-3",
    "max_steps=1500",
    "batch_size=8",
    "optimizer.weight_decay=0",
)


def learn_batch(model: str, max_steps: int = 1500) -> list[OverfitResult]:
    """Train each parameter group of a model on one batch, with the others as they were."""
    dropout = [f"model.{key}=0" for key, value in read_node(MODELS[model]).items() if "dropout" in key and value]
    pair = make_pair(model, first_dataset(model), *COMMON, *dropout, *OPTIONS.get(model, ()))
    overfit.disable_dropout(pair.task)
    settings = replace(pair.config.settings, ema=None)
    train = pair.loaders["train"]
    groups = factory.make_param_groups(pair.config.tree, settings, pair.task, train)
    trainer = Trainer(pair.task, groups, train, pair.loaders["val"], settings)
    return overfit.overfit_groups(trainer, max_steps)
