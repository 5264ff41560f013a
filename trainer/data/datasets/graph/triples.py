"""Any knowledge graph in text files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from trainer.core import rng
from trainer.core.dataset import Dataset
from trainer.core.preprocessing import Preprocessing
from trainer.core.types import DataPath, Fraction, NonNegativeInt
from trainer.data.readers import text_file, triples_file
from trainer.data.readers.triples_file import Column, Triple
from trainer.data.splits import triple_queries
from trainer.data.splits.splitting import split_by_order
from trainer.utils.errors import ConfigError

MIN_TRIPLES = 20
"""So many facts tell that a first line that shares nothing with them is none."""
SPLIT_FILE_STEMS = {"train": ("train",), "val": ("valid", "val", "dev", "validation"), "test": ("test",)}


class Triples(Dataset):
    """``path`` is a folder that holds train.txt, valid.txt and test.txt, or one file, which is cut at random. Every
    triple is asked from both ends.

    Raises ConfigError for files that are not there or hold no triples, for columns in another order, and for a triple
    that is in two splits.
    """

    shapes = "head (B), relation (B), known (B, K), edge_index (2, E), edge_type (E) -> (B)"

    file_suffixes = (".txt",)
    can_encode_changed_files = False

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
        if sorted(columns) != ["head", "relation", "tail"]:
            raise ConfigError(f"data.columns: head, relation and tail, each once, in some order; found {columns}")
        folder = Path(path).expanduser()
        if folder.is_dir():
            parts = [triples_file.read(file, columns, delimiter) for file in _find_split_files(folder)]
            _refuse_header(parts)
            _refuse_shared(parts)
        else:
            whole = list(dict.fromkeys(triples_file.read(path, columns, delimiter)))
            _refuse_header([whole])
            parts = _random_split(whole, val, test, seed)
        _refuse_column_order([triple for part in parts for triple in part], columns)
        triple_queries.set_splits(self, *triples_file.encode_triples(parts, self.fitted))


def _find_split_files(folder: Path) -> list[Path]:
    found = []
    for split, names in SPLIT_FILE_STEMS.items():
        here = [folder / f"{name}.txt" for name in names if (folder / f"{name}.txt").exists()]
        if not here:
            raise ConfigError(
                f"data.path: {folder.absolute()} holds no {names[0]}.txt, which is to be the {split} split"
                f" (it holds {text_file.join_names(sorted(os.listdir(folder)))}); or give one file, which is "
                "cut at random"
            )
        found.append(here[0])
    return found


def _random_split(rows: list[Triple], val: float, test: float, seed: int) -> list[list[Triple]]:
    parts = split_by_order({"row": rng.make_permutation(len(rows), seed, 0)}, None, val=val, test=test)
    if not all(map(len, parts)):
        raise ConfigError(f"data: {len(rows)} triples cannot be cut into three splits by val {val:g} and test {test:g}")
    return [[rows[row] for row in part.inputs["row"].tolist()] for part in parts]


def _refuse_header(parts: Sequence[Sequence[Triple]]) -> None:
    """Raises ConfigError for a first line that names the columns: one without a word that any of many facts has."""
    first = {part[0] for part in parts}
    facts = [triple for part in parts for triple in part if triple not in first]
    entities, relations = {name for head, _, tail in facts for name in (head, tail)}, {fact[1] for fact in facts}
    for head, relation, tail in first:
        if len(facts) >= MIN_TRIPLES and relation not in relations and entities.isdisjoint((head, tail)):
            raise ConfigError(
                f"data.path: the first line holds {head!r}, {relation!r} and {tail!r}, which are in no other: if they"
                " name the columns, remove it; if it is a fact, move it to another line"
            )


def _refuse_shared(parts: Sequence[Sequence[Triple]]) -> None:
    """A test of what was trained on says nothing."""
    seen: dict[Triple, str] = {}
    for split, part in zip(SPLIT_FILE_STEMS, parts, strict=True):
        for triple in part:
            if seen.setdefault(triple, split) != split:
                raise ConfigError(f"data.path: {' '.join(triple)} is in {seen[triple]} and in {split} too")


def _refuse_column_order(rows: Sequence[Triple], columns: Sequence[Column]) -> None:
    """Where relations share names with heads or tails, and these two none, the third column is the relation."""
    head, relation, tail = (set(names) for names in zip(*rows, strict=True))
    if head & tail:
        return
    for name, names, third in (("head", head, "tail"), ("tail", tail, "head")):
        if names & relation:
            swap = {third: "relation", "relation": third}
            right = ",".join(swap.get(column, column) for column in columns)
            raise ConfigError(
                f"data.columns: no name is both a head and a tail, but {min(names & relation)!r} is a {name} and a"
                f" relation; perhaps data.columns=[{right}]"
            )
