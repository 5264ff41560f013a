"""Text files of triples, one per line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

from trainer.core.preprocessing import Preprocessing, describe_new_names
from trainer.data.readers import text_file
from trainer.utils.errors import DataError

Column = Literal["head", "relation", "tail"]
Triple = tuple[str, ...]
"""Head, relation and tail."""
COUNTED_VALUES = MappingProxyType(
    {"num_relations": "relations", **dict.fromkeys(("num_entities", "num_classes", "out_features"), "entities")}
)
"""Fitted value that each size of a knowledge graph counts."""


def read(path: str | Path, columns: Sequence[Column], delimiter: str | None = None) -> list[Triple]:
    """Read triples from a text file.

    Args:
        path: File to read.
        columns: Order of the columns.
        delimiter: Column separator; None for a tab if the first line has one, else whitespace.

    Raises:
        DataError: The file is missing, not text or empty, or a line does not have three columns.
    """
    positions = [columns.index(name) for name in ("head", "relation", "tail")]
    triples = []
    for number, cells, separator in iter_lines(path, "path", delimiter):
        if len(cells) != len(positions):
            raise DataError(
                f"path: {path} line {number} has {len(cells)} columns separated by {separator}:"
                f" {' '.join(cells)[:60]!r}; expected 3: {', '.join(columns)} (data.columns sets"
                " the order, data.delimiter the separator)"
            )
        triples.append(tuple(cells[position] for position in positions))
    if not triples:
        raise DataError(f"path: {path} contains no triples")
    return triples


def iter_lines(path: str | Path, option: str, delimiter: str | None) -> Iterator[tuple[int, list[str], str]]:
    """Yield the number, the cells and the description of the separator of each line that is not blank.

    Args:
        path: File to read.
        option: Option named in error messages.
        delimiter: Column separator; None for a tab if the first line has one, else whitespace.

    Raises:
        DataError: The file is missing or not text.
    """
    text = text_file.read(path, option)
    if delimiter is None and "\t" in text.partition("\n")[0]:
        delimiter = "\t"
    separator = "whitespace" if delimiter is None else repr(delimiter)
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield number, [cell.strip() for cell in line.split(delimiter)], separator


def encode_triples(parts: Sequence[Sequence[Triple]], fitted: Preprocessing) -> tuple[list[Tensor], int, int]:
    """Encode triples as (n, 3) int64 of sorted ids; also return the numbers of entities and relations.

    Args:
        parts: Triples of each split.
        fitted: Preprocessing, which stores the ids of a run.
    """
    entity_names = {name for part in parts for head, _, tail in part for name in (head, tail)}
    relation_names = {relation for part in parts for _, relation, _ in part}
    entities, relations = (
        fitted.get_or_fit(key, partial(sorted, names), partial(describe_new_names, names))
        for key, names in (("entities", entity_names), ("relations", relation_names))
    )
    entity_index, relation_index = (
        {name: index for index, name in enumerate(names)} for names in (entities, relations)
    )
    tensors = [
        torch.tensor(
            [(entity_index[head], relation_index[relation], entity_index[tail]) for head, relation, tail in part]
        )
        for part in parts
    ]
    return tensors, len(entities), len(relations)
