"""Graphs that look like molecules, made on the spot: what they are made of says most, who is bound to whom the rest."""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.core import rng
from trainer.core.dataset import Data, Facts
from trainer.core.types import NonNegativeFloat, NonNegativeInt, PositiveInt
from trainer.data.reference import baselines
from trainer.data.splits.graph_batches import GraphsSplit
from trainer.data.splits.ragged import Ragged
from trainer.data.splits.whole_graphs import of_graphs, sizes

ELEMENTS = torch.tensor([0.4, 0.2, 0.2, 0.1, 0.1])
"""How often each element comes."""
VALUE = torch.tensor([-1.0, 1.0, 0.0, -2.0, 2.0])
"""What an atom adds by itself."""
CHARGE = torch.tensor([1.0, -1.0, -1.0, 1.0, -1.0])
"""A bond adds the product of those of its ends, which even out over all atoms: who is bound to whom is not in them."""
VALENCE = 4
CARDINALITIES = (len(ELEMENTS), 3, VALENCE + 1, 3, VALENCE + 1, 2, 3, 2, 2)
"""Element, chirality, degree, charge, hydrogens, radical electrons, hybridisation, aromatic, in a ring."""
ATOMS = 0.78
"""The spread of what the atoms add up to; that of bonds is the user's."""


class MoleculeLike(Data):
    """Trees of 5 to 25 atoms, some grown on a ring of 5 or 6, none with more than four bonds. Nine whole-number
    features, of which element, degree, hydrogens, aromatic and ring are of the molecule and the others mean nothing.
    The target is what the atoms add up to, what the bonds add up to, and noise, which alone is left at best.
    """

    shapes = "x (N, F), edge_index (2, E), sizes (G) -> (G, K)"

    def __init__(self, rows: PositiveInt, bonds: NonNegativeFloat, noise: NonNegativeFloat, seed: NonNegativeInt):
        random = rng.generator(seed)
        drawn = [_molecule(random) for _ in range(rows)]
        exact = ATOMS * _standardised([m[2] for m in drawn]) + bonds * _standardised([m[3] for m in drawn])
        error = noise * torch.randn(rows, generator=random)
        whole = GraphsSplit(
            {"x": Ragged.of([m[0] for m in drawn])}, Ragged.of([m[1] for m in drawn]), {}, (exact + error)[:, None]
        )
        cuts = rows * 8 // 10, rows * 9 // 10
        self.train, self.val, self.test = of_graphs(whole, torch.arange(rows).tensor_split(cuts))
        self.facts = Facts(
            sizes={**sizes(whole, CARDINALITIES), "out_features": 1},
            baseline=baselines.mean(self.train, self.test),
            best_possible=baselines.errors(exact[cuts[1] :, None], whole.target[cuts[1] :]),
        )


def _standardised(values: list[float]) -> Tensor:
    found = torch.tensor(values)
    return (found - found.mean()) / found.std(correction=0)


def _molecule(random: torch.Generator) -> tuple[Tensor, Tensor, float, float]:
    """Features (N, 9), edges (2 x bonds, 2), and what atoms and bonds add up to."""

    def draw(end: int) -> int:
        return int(torch.randint(end, (), generator=random))

    nodes, ring = 5 + draw(21), (0, 5, 6)[draw(3)]
    nodes = max(nodes, ring)
    bonds = [(i, (i + 1) % ring) for i in range(ring)]
    degree = [2] * ring + [0] * (nodes - ring)
    for new in range(max(ring, 1), nodes):
        free = [i for i in range(new) if degree[i] < VALENCE]
        old = free[draw(len(free))]
        bonds.append((old, new))
        degree[old], degree[new] = degree[old] + 1, 1
    element = ELEMENTS.multinomial(nodes, replacement=True, generator=random)
    bound, in_ring = torch.tensor(degree), (torch.arange(nodes) < ring).long()
    told = {0: element, 2: bound, 4: VALENCE - bound, 7: in_ring * draw(2), 8: in_ring}
    columns = [
        told.get(place, torch.randint(codes, (nodes,), generator=random)) for place, codes in enumerate(CARDINALITIES)
    ]
    ends = torch.tensor(bonds)
    of_bonds = CHARGE[element[ends]].prod(1).sum()
    edges = torch.cat((ends, ends.flip(1)))
    return torch.stack(columns, 1), edges, float(VALUE[element].sum()), float(of_bonds)
