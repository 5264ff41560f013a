"""A brain made on the spot, in which two networks of parcels fire one after the other."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.core import rng
from trainer.core.dataset import Dataset, DatasetInfo
from trainer.core.types import NonNegativeInt, PositiveFloat, PositiveInt
from trainer.data.encoding import correlation
from trainer.data.reference import baselines
from trainer.data.splits.graph_batches import SplitWithSharedInputs
from trainer.data.splits.ragged import Ragged, RaggedSplit
from trainer.data.splits.splitting import split_by_order
from trainer.utils.errors import ConfigError

HEMODYNAMIC_RESPONSE = torch.tensor([0.3, 0.8, 1.0, 0.7, 0.2])
"""What firing adds to the signal of a parcel, step by step."""
MIN_ONSET_GAP = 3
"""The fewest steps between the two onsets."""
COUPLING = torch.tensor([1.5, 0.7])
"""How much of one signal the parcels of each network share at rest, where the rest is noise of deviation 1."""


class SimulatedBold(Dataset):
    """Two networks of ``members`` parcels among others that belong to none. In a run each fires once,
    ``x_t = RESPONSE_(t - onset) + noise`` in its parcels, and the class is the one that fires first: over time both
    add up to the same. At rest the parcels of a network share a signal, one network more than the other. The graph
    is made of the correlations of one run at rest, and so are a node's second and third feature, its degree and its
    mean |correlation|, in which alone the networks differ. The best possible score knows the networks.

    Raises ConfigError for more members than parcels, and for runs too short to fire twice.
    """

    shapes = "x (B, T, N, F), edge_index (2, E), edge_weight (E), lengths (B) -> (B)"

    def __init__(
        self,
        rows: PositiveInt = 400,
        parcels: PositiveInt = 90,
        members: PositiveInt = 20,
        shortest: PositiveInt = 15,
        longest: PositiveInt = 20,
        rest_steps: PositiveInt = 200,
        top_k: PositiveInt = 8,
        noise: PositiveFloat = 1.0,
        seed: NonNegativeInt = 0,
    ):
        if 2 * members > parcels:
            raise ConfigError(f"data.members: two networks of {members} do not fit into {parcels} parcels")
        if not len(HEMODYNAMIC_RESPONSE) + MIN_ONSET_GAP <= shortest <= longest:
            raise ConfigError(
                f"data: data.shortest must be at least {len(HEMODYNAMIC_RESPONSE) + MIN_ONSET_GAP}, for both "
                "networks to fire, and at most"
                f" data.longest; given {shortest} and {longest}"
            )
        random = rng.make_generator(seed)
        belongs = torch.zeros(2, parcels)
        places = torch.randperm(parcels, generator=random)
        belongs[0, places[:members]] = belongs[1, places[members : 2 * members]] = 1
        strength = correlation.absolute_correlation(_resting_state_run(belongs, rest_steps, random))
        edge_index, edge_weight = correlation.top_k_edges(strength, top_k)

        lengths = torch.randint(shortest, longest + 1, (rows,), generator=random)
        first = torch.randint(2, (rows,), generator=random)
        x = _network_signals(draw_onsets(lengths, first, random), longest) @ belongs
        x += noise * torch.randn(x.shape, generator=random)

        roles = correlation.node_roles(strength, edge_index)
        runs = [correlation.node_features(run[:length], roles) for run, length in zip(x, lengths.tolist(), strict=True)]
        graph = {"edge_index": edge_index, "edge_weight": edge_weight}
        parts = (part.inputs["row"] for part in split_by_order({"row": torch.arange(rows)}, None))
        self.train, self.val, self.test = (
            SplitWithSharedInputs(RaggedSplit({"x": Ragged.from_rows(runs[row] for row in part)}, first[part]), graph)
            for part in parts
        )
        self.info = DatasetInfo(
            sizes={
                "in_features": 1 + roles.shape[1],
                "num_nodes": parcels,
                "seq_len": longest,
                "num_classes": 2,
                "out_features": 1,
            },
            baseline=baselines.majority_class(self.train, self.test, 2),
            best_possible={"accuracy": float((_predict_first_network(x, lengths, belongs) == first).double().mean())},
        )


def _resting_state_run(belongs: Tensor, steps: int, random: torch.Generator) -> Tensor:
    """A run (T, N) in which the parcels of each network (2, N) share a signal."""
    shared = torch.randn(steps, 2, generator=random) * COUPLING
    return shared @ belongs + torch.randn(steps, belongs.shape[1], generator=random)


def draw_onsets(lengths: Tensor, first: Tensor, random: torch.Generator) -> Tensor:
    """When each network begins to fire, (B, 2): ``first`` (B,) before the other, both to the end within ``lengths``."""
    latest = lengths - len(HEMODYNAMIC_RESPONSE)
    gap = MIN_ONSET_GAP + (torch.rand(len(lengths), generator=random) * (latest - MIN_ONSET_GAP + 1)).long()
    start = (torch.rand(len(lengths), generator=random) * (latest - gap + 1)).long()
    return start[:, None] + gap[:, None] * (torch.arange(2) != first[:, None])


def _network_signals(onsets: Tensor, steps: int) -> Tensor:
    """The signal of each network, (B, T, 2)."""
    since = torch.arange(steps)[:, None] - onsets[:, None]
    fires = (since >= 0) & (since < len(HEMODYNAMIC_RESPONSE))
    return HEMODYNAMIC_RESPONSE[since.clamp(0, len(HEMODYNAMIC_RESPONSE) - 1)] * fires


def _predict_first_network(x: Tensor, lengths: Tensor, belongs: Tensor) -> Tensor:
    """Which network fires first, (B,), by the place where the mean of each one's parcels in x (B, T, N) fits best."""
    means = (x @ belongs.t()).transpose(1, 2)  # (B, 2, T)
    fit = F.conv1d(means.flatten(0, 1)[:, None], HEMODYNAMIC_RESPONSE[None, None]).view(len(x), 2, -1)
    late = torch.arange(fit.shape[2]) > (lengths - len(HEMODYNAMIC_RESPONSE))[:, None, None]
    when = fit.masked_fill(late, -torch.inf).argmax(2)
    return (when[:, 1] < when[:, 0]).long()
