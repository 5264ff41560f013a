"""Users and the items they clicked on."""

from __future__ import annotations

import torch
from torch import Tensor

from trainer import metrics, seeding
from trainer.data.base import Data, Facts, TensorSplit
from trainer.data.parts import baselines, optima
from trainer.data.parts.graphs import Beside
from trainer.data.parts.pairs import both_ways
from trainer.data.parts.splits import cut
from trainer.types import NonNegativeInt, PositiveFloat, PositiveInt


class Clicks(Data):
    """pairs (P, 2), edge_index (2, E) -> (P)

    Does a user click on an item? Tastes u and items v are standard normal vectors of ``rank`` numbers, the log-odds of
    a click ``scale u . v / sqrt(rank)``. Users and items are nodes: user k is node k, item k is node ``users + k``.
    Every user is shown every item once; 60 % of these pairs train, 20 % validate, 20 % test. The graph beside them
    joins users and items by the clicks of the training pairs alone, in both directions. The best possible score knows
    the odds; the baseline ranks items by the share of clicks among those who were shown them in training.
    """

    def __init__(
        self, users: PositiveInt, items: PositiveInt, rank: PositiveInt, scale: PositiveFloat, seed: NonNegativeInt
    ):
        random = seeding.generator(seed)
        tastes, kinds = (torch.randn(count, rank, generator=random) for count in (users, items))
        odds = scale / rank**0.5 * tastes @ kinds.t()
        clicked = (torch.rand(odds.shape, generator=random) < odds.sigmoid()).long()
        pairs = torch.cartesian_prod(torch.arange(users), users + torch.arange(items))
        order = torch.randperm(len(pairs), generator=random)
        parts = cut({"pairs": pairs}, clicked.flatten(), order)
        train, tested = ((part.inputs["pairs"], _truth(part)) for part in (parts[0], parts[2]))
        graph = {"edge_index": both_ways(train[0][train[1] == 1])}
        self.train, self.val, self.test = (Beside(part, graph) for part in parts)
        self.facts = Facts(
            sizes={
                "num_users": users,
                "num_items": items,
                "num_nodes": users + items,
                "num_classes": 2,
                "out_features": 1,
            },
            baseline=baselines.majority(parts[0], parts[2], 2) | {"auc": _by_popularity(*train, *tested)},
            best_possible=optima.of_odds(odds[tested[0][:, 0], tested[0][:, 1] - users], tested[1]),
        )


def _truth(part: TensorSplit) -> Tensor:
    assert part.target is not None
    return part.target


def _by_popularity(pairs: Tensor, clicked: Tensor, tested: Tensor, truth: Tensor) -> float:
    """The AUC of ranking every pair by how many of those who were shown its item clicked on it."""
    shown, clicks = (torch.bincount(pairs[:, 1], weights=weight) for weight in (None, clicked.double()))
    return metrics.auc((clicks / shown.clamp(min=1))[tested[:, 1]], truth == 1)
