"""Knowledge graphs in text files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from trainer.core import rng
from trainer.core.preprocessing import Preprocessing
from trainer.core.types import DataPath, Fraction, NonNegativeInt
from trainer.data.encoding.knowledge_graph import KnowledgeGraph
from trainer.data.readers import triples_file
from trainer.data.readers.triples_file import Column, Triple
from trainer.data.splits import triple_queries
from trainer.data.splits.splitting import split_by_order
from trainer.utils.errors import DataError
from trainer.utils.text import join_names

MIN_TRIPLES = 20
"""Minimum number of triples for detecting a header line by its unique names."""
SPLIT_FILE_STEMS = {"train": ("train",), "val": ("valid", "val", "dev", "validation"), "test": ("test",)}


class Triples(KnowledgeGraph):
    """Knowledge graph completion on triples from text files.

    ``path`` is a folder with train.txt, valid.txt and test.txt, or one file that is split at random. Every triple is a
    head and a tail query.

    Args:
        path: Directory of three files, or one file; one triple per line.
        columns: Order of the columns in a line.
        delimiter: Column delimiter; None for tabs if there are any, else whitespace.
        val: Fraction for validation, of a single file.
        test: Fraction for test, of a single file.
        seed: Random seed of the split of a single file.
        fitted: Preprocessing of a saved run; None fits it to the training rows.

    Raises:
        DataError: Files are missing or contain no triples, columns are in another order, or a triple is in two
        splits.
    """

    shapes = "head (B), relation (B), known (B, K), edge_index (2, E), edge_type (E) -> (B)"

    file_suffixes = (".txt",)
    can_encode_changed_files = False
    reusable_values = MappingProxyType(dict.fromkeys(("entities", "relations"), ()))
    counted_values = triples_file.COUNTED_VALUES

    def __init__(
        self,
        path: DataPath,
        columns: Sequence[Literal["head", "relation", "tail"]] = ("head", "relation", "tail"),
        delimiter: str | None = None,
        val: Fraction = 0.1,
        test: Fraction = 0.1,
        seed: NonNegativeInt = 0,
        fitted: Preprocessing | None = None,
    ):
        self.fitted = fitted or Preprocessing()
        self.options = {"columns": columns, "delimiter": delimiter}
        if sorted(columns) != ["head", "relation", "tail"]:
            raise DataError(f"columns: {columns} given; it must contain head, relation and tail once each")
        folder = Path(path).expanduser()
        if folder.is_dir():
            parts = [triples_file.read(file, columns, delimiter) for file in _find_split_files(folder)]
            _refuse_header(parts)
            _refuse_shared(parts)
        else:
            triples = list(dict.fromkeys(triples_file.read(path, columns, delimiter)))
            _refuse_header([triples])
            parts = _random_split(triples, val, test, seed)
        _refuse_column_order([triple for part in parts for triple in part], columns)
        triple_queries.set_splits(self, *triples_file.encode_triples(parts, self.fitted))


def _find_split_files(folder: Path) -> list[Path]:
    paths = []
    for split, names in SPLIT_FILE_STEMS.items():
        candidates = [folder / f"{name}.txt" for name in names if (folder / f"{name}.txt").exists()]
        if not candidates:
            raise DataError(
                f"path: {folder.absolute()} has no {names[0]}.txt for the {split} split"
                f" (found: {join_names(sorted(os.listdir(folder)))}); alternatively give one file, which is "
                "split at random"
            )
        paths.append(candidates[0])
    return paths


def _random_split(rows: list[Triple], val: float, test: float, seed: int) -> list[list[Triple]]:
    parts = split_by_order({"row": rng.make_permutation(len(rows), seed, 0)}, None, val=val, test=test)
    if not all(map(len, parts)):
        raise DataError(f"{len(rows)} triples are too few for three splits with val {val:g} and test {test:g}")
    return [[rows[row] for row in part.inputs["row"].tolist()] for part in parts]


def _refuse_header(parts: Sequence[Sequence[Triple]]) -> None:
    """Raise DataError for a header: a first line that shares no name with any of many triples."""
    first_triples = {part[0] for part in parts}
    triples = [triple for part in parts for triple in part if triple not in first_triples]
    entities = {name for head, _, tail in triples for name in (head, tail)}
    relations = {relation for _, relation, _ in triples}
    for head, relation, tail in first_triples:
        if len(triples) >= MIN_TRIPLES and relation not in relations and entities.isdisjoint((head, tail)):
            raise DataError(
                f"path: the names {head!r}, {relation!r} and {tail!r} occur in the first line only: if it is a"
                " header, remove it; if it is a triple, move it to another line"
            )


def _refuse_shared(parts: Sequence[Sequence[Triple]]) -> None:
    """Raise DataError for a triple in two splits, which would leak into the test scores."""
    split_by_triple: dict[Triple, str] = {}
    for split, part in zip(SPLIT_FILE_STEMS, parts, strict=True):
        for triple in part:
            if split_by_triple.setdefault(triple, split) != split:
                raise DataError(f"path: {' '.join(triple)} is in both {split_by_triple[triple]} and {split}")


def _refuse_column_order(rows: Sequence[Triple], columns: Sequence[Column]) -> None:
    """Raise DataError where heads and tails share no name but one of them does with relations: a wrong order."""
    head, relation, tail = (set(names) for names in zip(*rows, strict=True))
    if head & tail:
        return
    for name, names, third in (("head", head, "tail"), ("tail", tail, "head")):
        if names & relation:
            swap = {third: "relation", "relation": third}
            corrected = ",".join(swap.get(column, column) for column in columns)
            raise DataError(
                f"columns: no name is both a head and a tail, but {min(names & relation)!r} is both a {name} and a"
                f" relation; did you mean data.columns=[{corrected}]?"
            )
