"""Synthetic molecule-like graphs whose target depends on atoms and on bonds."""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.core import rng
from trainer.core.dataset_info import DatasetInfo
from trainer.core.types import NonNegativeFloat, NonNegativeInt, PositiveInt
from trainer.data.encoding.graph_dataset import GraphDataset
from trainer.data.reference import baselines
from trainer.data.splits.graph_batches import GraphsSplit
from trainer.data.splits.ragged import Ragged
from trainer.data.splits.whole_graphs import graph_sizes, make_graph_splits

ELEMENT_PROBABILITIES = torch.tensor([0.4, 0.2, 0.2, 0.1, 0.1])
"""Probability of each element."""
ELEMENT_VALUES = torch.tensor([-1.0, 1.0, 0.0, -2.0, 2.0])
"""Contribution of an atom by element."""
ELEMENT_CHARGES = torch.tensor([1.0, -1.0, -1.0, 1.0, -1.0])
"""A bond contributes the product of the charges of its ends; their mean over atoms is 0, so composition alone does not
determine the contribution of bonds."""
MAX_BONDS = 4
CARDINALITIES = (len(ELEMENT_PROBABILITIES), 3, MAX_BONDS + 1, 3, MAX_BONDS + 1, 2, 3, 2, 2)
"""Element, chirality, degree, charge, hydrogens, radical electrons, hybridization, aromatic, in a ring."""
ATOMS = 0.78
"""Standard deviation of the contribution of atoms; that of bonds is the option ``bonds``."""


class MoleculeLike(GraphDataset):
    """Graph regression on random trees and rings that resemble molecules.

    Trees of 5 to 25 atoms, some grown on a ring of 5 or 6, with at most four bonds per atom. Nine integer features per
    atom: element, degree, hydrogens, aromatic and ring describe the molecule, the others are random. The target is the
    sum of atom contributions, bond contributions and noise; the best possible error is the noise.

    Args:
        rows: Number of graphs: 80 % training, 10 % validation, 10 % test.
        bonds: Standard deviation of the contribution of bonds; that of atoms is 0.78.
        noise: Standard deviation of the noise.
        seed: Random seed of the data.
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
        molecules = [_make_molecule(random) for _ in range(rows)]
        clean = ATOMS * _standardize([m[2] for m in molecules]) + bonds * _standardize([m[3] for m in molecules])
        error = noise * torch.randn(rows, generator=random)
        graphs = GraphsSplit(
            {"x": Ragged.from_rows([m[0] for m in molecules])},
            Ragged.from_rows([m[1] for m in molecules]),
            {},
            (clean + error)[:, None],
        )
        cuts = rows * 8 // 10, rows * 9 // 10
        self.train, self.val, self.test = make_graph_splits(graphs, torch.arange(rows).tensor_split(cuts))
        self.info = DatasetInfo(
            sizes={**graph_sizes(graphs, CARDINALITIES), "out_features": 1},
            baseline=baselines.mean_prediction(self.train, self.test),
            best_possible=baselines.regression_scores(clean[cuts[1] :, None], graphs.require_target()[cuts[1] :]),
        )


def _standardize(values: list[float]) -> Tensor:
    x = torch.tensor(values)
    return (x - x.mean()) / x.std(correction=0)


def _make_molecule(random: torch.Generator) -> tuple[Tensor, Tensor, float, float]:
    """Return features (N, 9), edges (2 x bonds, 2) and the contributions of atoms and bonds."""

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
    degrees, in_ring = torch.tensor(degree), (torch.arange(nodes) < ring).long()
    features = {0: element, 2: degrees, 4: MAX_BONDS - degrees, 7: in_ring * draw(2), 8: in_ring}
    columns = [
        features.get(column, torch.randint(codes, (nodes,), generator=random))
        for column, codes in enumerate(CARDINALITIES)
    ]
    ends = torch.tensor(bonds)
    bond_sum = ELEMENT_CHARGES[element[ends]].prod(1).sum()
    edges = torch.cat((ends, ends.flip(1)))
    return torch.stack(columns, 1), edges, float(ELEMENT_VALUES[element].sum()), float(bond_sum)
