"""Simulated BOLD signals of two parcel networks that activate in sequence."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.core import rng
from trainer.core.dataset import Dataset
from trainer.core.dataset_info import DatasetInfo
from trainer.core.types import NonNegativeInt, PositiveFloat, PositiveInt
from trainer.data.encoding import correlation
from trainer.data.reference import baselines
from trainer.data.splits.graph_batches import SplitWithSharedInputs
from trainer.data.splits.ragged import Ragged, RaggedSplit
from trainer.data.splits.splitting import split_by_order
from trainer.utils.errors import DataError

HEMODYNAMIC_RESPONSE = torch.tensor([0.3, 0.8, 1.0, 0.7, 0.2])
"""Response of a parcel to the activation of its network, per step."""
MIN_ONSET_GAP = 3
"""Minimum number of steps between the two onsets."""
COUPLING = torch.tensor([1.5, 0.7])
"""Weight of the shared resting-state signal in each network, relative to noise of standard deviation 1."""


class SimulatedBold(Dataset):
    """Classification of the network that activates first, from simulated parcel time series.

    Two networks have ``members`` parcels each; other parcels belong to none. In a run each network activates once,
    ``x_t = RESPONSE_(t - onset) + noise`` in its parcels; summed over time both are equal. At rest the parcels of a
    network share a signal, one network more strongly than the other. The graph is the thresholded correlation of one
    resting-state run, which also gives the second and third node feature, degree and mean |correlation|; only these
    distinguish the networks. The best possible score knows the networks.

    Args:
        rows: Number of runs: 60 % training, 20 % validation, 20 % test.
        parcels: Number of parcels N, the nodes of the graph.
        members: Parcels in each network, at most ``parcels / 2``.
        shortest: Minimum length of a run in steps, at least 8.
        longest: Maximum length of a run in steps.
        rest_steps: Length of the resting-state run in steps.
        top_k: Number of strongest links per parcel, in both directions.
        noise: Standard deviation of the noise of each parcel; the response peaks at 1.
        seed: Random seed of the data.

    Raises:
        DataError: More members than parcels, or runs too short for two activations.
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
            raise DataError(f"members: two networks of {members} exceed {parcels} parcels")
        if not len(HEMODYNAMIC_RESPONSE) + MIN_ONSET_GAP <= shortest <= longest:
            raise DataError(
                f"data.shortest must be at least {len(HEMODYNAMIC_RESPONSE) + MIN_ONSET_GAP}, for both "
                "networks to activate, and at most"
                f" data.longest; given {shortest} and {longest}"
            )
        random = rng.make_generator(seed)
        membership = torch.zeros(2, parcels)
        order = torch.randperm(parcels, generator=random)
        membership[0, order[:members]] = membership[1, order[members : 2 * members]] = 1
        strength = correlation.absolute_correlation(_resting_state_run(membership, rest_steps, random))
        edge_index, edge_weight = correlation.top_k_edges(strength, top_k)

        lengths = torch.randint(shortest, longest + 1, (rows,), generator=random)
        first_network = torch.randint(2, (rows,), generator=random)
        x = _network_signals(draw_onsets(lengths, first_network, random), longest) @ membership
        x += noise * torch.randn(x.shape, generator=random)

        roles = correlation.node_roles(strength, edge_index)
        runs = [correlation.node_features(run[:length], roles) for run, length in zip(x, lengths.tolist(), strict=True)]
        graph = {"edge_index": edge_index, "edge_weight": edge_weight}
        parts = (part.inputs["row"] for part in split_by_order({"row": torch.arange(rows)}, None))
        self.train, self.val, self.test = (
            SplitWithSharedInputs(
                RaggedSplit({"x": Ragged.from_rows(runs[row] for row in part)}, first_network[part]), graph
            )
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
            best_possible={
                "accuracy": float((_predict_first_network(x, lengths, membership) == first_network).double().mean())
            },
        )


def _resting_state_run(membership: Tensor, steps: int, random: torch.Generator) -> Tensor:
    """Simulate a resting-state run (T, N) in which the parcels of each network (2, N) share a signal."""
    signals = torch.randn(steps, 2, generator=random) * COUPLING
    return signals @ membership + torch.randn(steps, membership.shape[1], generator=random)


def draw_onsets(lengths: Tensor, first: Tensor, random: torch.Generator) -> Tensor:
    """Draw the onset of each network, (B, 2), in steps; both responses end within the run.

    Args:
        lengths: Lengths (B,) of the runs in steps.
        first: Network (B,), 0 or 1, that activates first.
        random: Generator of the onsets.
    """
    latest = lengths - len(HEMODYNAMIC_RESPONSE)
    gap = MIN_ONSET_GAP + (torch.rand(len(lengths), generator=random) * (latest - MIN_ONSET_GAP + 1)).long()
    start = (torch.rand(len(lengths), generator=random) * (latest - gap + 1)).long()
    return start[:, None] + gap[:, None] * (torch.arange(2) != first[:, None])


def _network_signals(onsets: Tensor, steps: int) -> Tensor:
    """Return the signal of each network, (B, T, 2)."""
    elapsed = torch.arange(steps)[:, None] - onsets[:, None]
    active = (elapsed >= 0) & (elapsed < len(HEMODYNAMIC_RESPONSE))
    return HEMODYNAMIC_RESPONSE[elapsed.clamp(0, len(HEMODYNAMIC_RESPONSE) - 1)] * active


def _predict_first_network(x: Tensor, lengths: Tensor, membership: Tensor) -> Tensor:
    """Predict the first network, (B,), by matched filtering of the network means of x (B, T, N)."""
    means = (x @ membership.t()).transpose(1, 2)  # (B, 2, T)
    fit = F.conv1d(means.flatten(0, 1)[:, None], HEMODYNAMIC_RESPONSE[None, None]).view(len(x), 2, -1)
    out_of_range = torch.arange(fit.shape[2]) > (lengths - len(HEMODYNAMIC_RESPONSE))[:, None, None]
    onsets = fit.masked_fill(out_of_range, -torch.inf).argmax(2)
    return (onsets[:, 1] < onsets[:, 0]).long()
