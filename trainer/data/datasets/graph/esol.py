"""ESOL: aqueous solubility of small molecules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from trainer.core import rng
from trainer.core.dataset_info import DatasetInfo, TargetInfo
from trainer.core.split import Split
from trainer.core.types import NonNegativeInt
from trainer.data.encoding import text_rows
from trainer.data.encoding.graph_dataset import GraphDataset
from trainer.data.readers import delimited, smiles
from trainer.data.readers.download import Source, fetch_files
from trainer.data.readers.skipped_rows import SKIP_HINT, SkippedRows
from trainer.data.reference import baselines
from trainer.data.splits.graph_batches import GraphsSplit
from trainer.data.splits.ragged import Ragged
from trainer.data.splits.whole_graphs import graph_sizes, make_graph_splits
from trainer.utils.errors import DataError

URL = (
    "https://raw.githubusercontent.com/csjtx1021/DGBO/8b0f28bd3ffd0ee9eadf2361d53f0740010c83de/datasets/"
    "delaney-processed.csv"
)
SOURCES = (
    # The same table with a trailing newline, as other libraries store it, and as published.
    Source("esol/raw/delaney-processed.csv", "111f0548e337a8003d914f42d3dd5a7d86de096fa93dbf5451eb2a3f8e3b0eeb", None),
    Source("delaney-processed.csv", "a51dcc10593a9f5b11fbf94bfc7504f7ef13eb133066fa5baf02e509efaae0b4", URL),
)
CHUNK_ROWS = 5000
"""Molecules per chunk."""
TARGET = "measured log solubility in mols per litre"


class ESOL(GraphDataset):
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
            ("smiles", column["smiles"]),
        )
        self.train, self.val, self.test = make_graph_splits(graphs, order)
        scale = float(std)
        self.info = DatasetInfo(
            sizes={**graph_sizes(graphs, smiles.CARDINALITIES), "out_features": 1},
            baseline=baselines.mean_prediction(self.train, self.test, scale),
            target=TargetInfo(scale=scale, mean=float(mean)),
        )

    def read_chunks(
        self, path: str, with_targets: bool = False, on_error: Literal["error", "skip"] = "error"
    ) -> Iterator[Split]:
        """Read molecules: a table with a column ``smiles``, or a text file with one SMILES string per line.

        Args:
            path: Table (.csv, .tsv), or text file.
            with_targets: Read the column of the measured solubility too, named as in the published table.
            on_error: Refuse a string that is not a molecule, or skip it.

        Raises:
            DataError: The file cannot be read, or a string is not a molecule.
        """
        smiles.import_rdkit()
        rows = _read_table(path, with_targets) if Path(path).suffix.lower() in (".csv", ".tsv") else _read_lines(path)
        if with_targets and Path(path).suffix.lower() not in (".csv", ".tsv"):
            raise DataError(f"input: {path} has no column {TARGET!r}; give a table (.csv)")
        skipped, num_rows = SkippedRows(), 0
        while chunk := list(islice(rows, CHUNK_ROWS)):
            molecules = list(_parse_molecules(chunk, skipped if on_error == "skip" else None))
            num_rows += len(molecules)
            if molecules:
                yield self._make_split(molecules)
        skipped.report(num_rows)

    def encode_rows(self, rows: Any) -> Split:
        """Encode molecules.

        Args:
            rows: List of SMILES strings, or of graphs with ``x``, ``edge_index`` and ``edge_attr``.
        """
        if not isinstance(rows, str) and isinstance(rows, Sequence) and all(isinstance(row, str) for row in rows):
            texts = [(f"row {number}", text, None) for number, text in enumerate(rows, 1)]
            return self._make_split(list(_parse_molecules(texts, None, "rows")))
        return super().encode_rows(rows)

    def _make_split(self, molecules: Sequence[tuple[str, tuple[Tensor, ...], float | None]]) -> GraphsSplit:
        atoms, bonds, bond_features = zip(*(graph for _, graph, _ in molecules), strict=True)
        values = [value for _, _, value in molecules if value is not None]
        info = self.info.target
        target = (torch.tensor(values)[:, None] - (info.mean or 0.0)) / info.scale if values else None
        return GraphsSplit(
            {"x": Ragged.from_rows(atoms)},
            Ragged.from_rows(bonds),
            {"edge_attr": Ragged.from_rows(bond_features)},
            target,
            ("smiles", [text for text, _, _ in molecules]),
        )


def _read_lines(path: str) -> Iterator[tuple[str, str, None]]:
    """Yield location and SMILES string, the first word, of each line."""
    for row in text_rows.read_lines(path, "utf-8"):
        words = row.text.split()
        yield row.location, words[0] if words else "", None


def _read_table(path: str, with_targets: bool) -> Iterator[tuple[str, str, float | None]]:
    """Yield location, SMILES string and solubility of each row."""
    table = delimited.read(path, "input", None, True, "utf-8")
    column = table.find_column("smiles", "input")
    target = table.find_column(TARGET, "input") if with_targets else None
    for row, text in enumerate(table.columns[column]):
        value = None
        if target is not None:
            try:
                value = float(table.columns[target][row])
            except ValueError:
                raise DataError(f"input: {table.describe_cell(row, target)}: this is not a number") from None
        yield table.describe_cell(row, column), text, value


def _parse_molecules(
    rows: Iterable[tuple[str, str, float | None]], skipped: SkippedRows | None, source: str = "input"
) -> Iterator[tuple[str, tuple[Tensor, ...], float | None]]:
    """Yield SMILES string, graph and solubility of each row. Raises DataError unless invalid ones are skipped."""
    for location, text, value in rows:
        try:
            yield text, smiles.parse_smiles(text), value
        except ValueError as error:
            if skipped is None:
                raise DataError(f"{source}: {location}: {error}", *([SKIP_HINT] if source == "input" else [])) from None
            skipped.add(skipped.count, f"{location}: {error}")


def find_table(data_dir: str | None) -> Path:
    """Return the path of the verified table, downloading it if neither file exists."""
    folder = fetch_files("esol", [], data_dir)
    source = next((source for source in SOURCES if (folder / source.path).exists()), SOURCES[-1])
    return fetch_files("esol", [source], data_dir) / source.path
