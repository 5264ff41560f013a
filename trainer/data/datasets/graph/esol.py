"""ESOL: aqueous solubility of small molecules."""

from __future__ import annotations

from pathlib import Path

import torch

from trainer.core import rng
from trainer.core.dataset import Dataset
from trainer.core.dataset_info import DatasetInfo, TargetInfo
from trainer.core.types import NonNegativeInt
from trainer.data.readers import delimited, smiles
from trainer.data.readers.download import Source, fetch_files
from trainer.data.reference import baselines
from trainer.data.splits.graph_batches import GraphsSplit
from trainer.data.splits.ragged import Ragged
from trainer.data.splits.whole_graphs import graph_sizes, make_graph_splits

URL = (
    "https://raw.githubusercontent.com/csjtx1021/DGBO/8b0f28bd3ffd0ee9eadf2361d53f0740010c83de/datasets/"
    "delaney-processed.csv"
)
SOURCES = (
    # The same table with a trailing newline, as other libraries store it, and as published.
    Source("esol/raw/delaney-processed.csv", "111f0548e337a8003d914f42d3dd5a7d86de096fa93dbf5451eb2a3f8e3b0eeb", None),
    Source("delaney-processed.csv", "a51dcc10593a9f5b11fbf94bfc7504f7ef13eb133066fa5baf02e509efaae0b4", URL),
)
TARGET = "measured log solubility in mols per litre"


class ESOL(Dataset):
    """Regression of the measured log solubility (mol/l) of 1128 molecules.

    Nine integer features per atom and eleven per bond (``smiles.parse_smiles``). Errors are in log mol/l. Random splits
    of 80, 10 and 10 %.

    Args:
        seed: Random seed of the split.
        data_dir: Parent directory of ``esol/``; None for the default data directory.

    Raises:
        DataError: RDKit is not installed.

    References:
        Delaney 2004, ESOL: Estimating Aqueous Solubility Directly from Molecular Structure, J. Chem. Inf. Comput. Sci.
            44(3).
    """

    shapes = "x (N, F), edge_index (2, E), sizes (G), edge_attr (E, D) -> (G, K)"

    def __init__(self, seed: NonNegativeInt = 0, data_dir: str | None = None):
        smiles.import_rdkit()  # before anything is downloaded
        table = delimited.read(str(find_table(data_dir)), "data_dir", ",", True, "utf-8")
        column = {name: table.columns[table.find_column(name, "data")] for name in ("smiles", TARGET)}
        atoms, bonds, bond_features = zip(*map(smiles.parse_smiles, column["smiles"]), strict=True)
        target = torch.tensor([float(cell) for cell in column[TARGET]])[:, None]
        rows = len(target)
        order = rng.make_permutation(rows, seed, 0).tensor_split([rows * 8 // 10, rows * 9 // 10])
        std, mean = torch.std_mean(target[order[0]])
        graphs = GraphsSplit(
            {"x": Ragged.from_rows(atoms)},
            Ragged.from_rows(bonds),
            {"edge_attr": Ragged.from_rows(bond_features)},
            (target - mean) / std,
        )
        self.train, self.val, self.test = make_graph_splits(graphs, order)
        scale = float(std)
        self.info = DatasetInfo(
            sizes={**graph_sizes(graphs, smiles.CARDINALITIES), "out_features": 1},
            baseline=baselines.mean_prediction(self.train, self.test, scale),
            target=TargetInfo(scale=scale, mean=float(mean)),
        )


def find_table(data_dir: str | None) -> Path:
    """Return the path of the verified table, downloading it if neither file exists."""
    folder = fetch_files("esol", [], data_dir)
    source = next((source for source in SOURCES if (folder / source.path).exists()), SOURCES[-1])
    return fetch_files("esol", [source], data_dir) / source.path
