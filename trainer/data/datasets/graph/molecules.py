"""Graphs that look like molecules, made on the spot: what they are made of says most, who is bound to whom the rest."""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.core import rng
from trainer.core.dataset import Dataset, DatasetInfo
from trainer.core.types import NonNegativeFloat, NonNegativeInt, PositiveInt
from trainer.data.reference import baselines
from trainer.data.splits.graph_batches import GraphsSplit
from trainer.data.splits.ragged import Ragged
from trainer.data.splits.whole_graphs import graph_sizes, make_graph_splits

ELEMENT_PROBABILITIES = torch.tensor([0.4, 0.2, 0.2, 0.1, 0.1])
"""How often each element comes."""
ELEMENT_VALUES = torch.tensor([-1.0, 1.0, 0.0, -2.0, 2.0])
"""What an atom adds by itself."""
ELEMENT_CHARGES = torch.tensor([1.0, -1.0, -1.0, 1.0, -1.0])
"""A bond adds the product of those of its ends, which even out over all atoms: who is bound to whom is not in them."""
MAX_BONDS = 4
CARDINALITIES = (len(ELEMENT_PROBABILITIES), 3, MAX_BONDS + 1, 3, MAX_BONDS + 1, 2, 3, 2, 2)
"""Element, chirality, degree, charge, hydrogens, radical electrons, hybridisation, aromatic, in a ring."""
ATOMS = 0.78
"""The spread of what the atoms add up to; that of bonds is the user's."""


class MoleculeLike(Dataset):
    """Trees of 5 to 25 atoms, some grown on a ring of 5 or 6, none with more than four bonds. Nine whole-number
    features, of which element, degree, hydrogens, aromatic and ring are of the molecule and the others mean nothing.
    The target is what the atoms add up to, what the bonds add up to, and noise, which alone is left at best.
    """

    shapes = "x (N, F), edge_index (2, E), sizes (G) -> (G, K)"

    def __init__(
        self,
        rows: PositiveInt = 1128,
        bonds: NonNegativeFloat = 0.22,
        noise: NonNegativeFloat = 0.1,
        seed: NonNegativeInt = 0,
    ):
        random = rng.make_generator(seed)
        drawn = [_make_molecule(random) for _ in range(rows)]
        exact = ATOMS * _standardize([m[2] for m in drawn]) + bonds * _standardize([m[3] for m in drawn])
        error = noise * torch.randn(rows, generator=random)
        whole = GraphsSplit(
            {"x": Ragged.from_rows([m[0] for m in drawn])},
            Ragged.from_rows([m[1] for m in drawn]),
            {},
            (exact + error)[:, None],
        )
        cuts = rows * 8 // 10, rows * 9 // 10
        self.train, self.val, self.test = make_graph_splits(whole, torch.arange(rows).tensor_split(cuts))
        self.info = DatasetInfo(
            sizes={**graph_sizes(whole, CARDINALITIES), "out_features": 1},
            baseline=baselines.mean_prediction(self.train, self.test),
            best_possible=baselines.regression_scores(exact[cuts[1] :, None], whole.target[cuts[1] :]),
        )


def _standardize(values: list[float]) -> Tensor:
    found = torch.tensor(values)
    return (found - found.mean()) / found.std(correction=0)


def _make_molecule(random: torch.Generator) -> tuple[Tensor, Tensor, float, float]:
    """Features (N, 9), edges (2 x bonds, 2), and what atoms and bonds add up to."""

    def draw(end: int) -> int:
        return int(torch.randint(end, (), generator=random))

    nodes, ring = 5 + draw(21), (0, 5, 6)[draw(3)]
    nodes = max(nodes, ring)
    bonds = [(i, (i + 1) % ring) for i in range(ring)]
    degree = [2] * ring + [0] * (nodes - ring)
    for new in range(max(ring, 1), nodes):
        free = [i for i in range(new) if degree[i] < MAX_BONDS]
        old = free[draw(len(free))]
        bonds.append((old, new))
        degree[old], degree[new] = degree[old] + 1, 1
    element = ELEMENT_PROBABILITIES.multinomial(nodes, replacement=True, generator=random)
    bound, in_ring = torch.tensor(degree), (torch.arange(nodes) < ring).long()
    told = {0: element, 2: bound, 4: MAX_BONDS - bound, 7: in_ring * draw(2), 8: in_ring}
    columns = [
        told.get(place, torch.randint(codes, (nodes,), generator=random)) for place, codes in enumerate(CARDINALITIES)
    ]
    ends = torch.tensor(bonds)
    of_bonds = ELEMENT_CHARGES[element[ends]].prod(1).sum()
    edges = torch.cat((ends, ends.flip(1)))
    return torch.stack(columns, 1), edges, float(ELEMENT_VALUES[element].sum()), float(of_bonds)
