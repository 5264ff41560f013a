"""Files of triples: three names a line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from trainer.core.preprocessing import Preprocessing
from trainer.data.readers import text_file
from trainer.utils.errors import ConfigError

Column = Literal["head", "relation", "tail"]
Triple = tuple[str, ...]
"""Head, relation and tail."""


def read(path: str | Path, columns: Sequence[Column], delimiter: str | None = None) -> list[Triple]:
    """The triples of a file whose columns are in that order.

    delimiter: between columns; None is a tab if the first line holds one, else any white space.

    Raises ConfigError for a file that is not there or not text, an empty one, and the first line of another number of
    columns.
    """
    text = text_file.read(path, "data.path")
    if delimiter is None and "\t" in text.partition("\n")[0]:
        delimiter = "\t"
    places = [columns.index(name) for name in ("head", "relation", "tail")]
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        cells = [cell.strip() for cell in line.split(delimiter)]
        if len(cells) != len(places):
            between = "white space" if delimiter is None else repr(delimiter)
            raise ConfigError(
                f"data.path: {path} line {number} has {len(cells)} columns between {between}: {line.strip()[:60]!r};"
                f" expected 3: {', '.join(columns)} (data.columns says their order, data.delimiter what is between)"
            )
        found.append(tuple(cells[place] for place in places))
    if not found:
        raise ConfigError(f"data.path: {path} holds no triples")
    return found


def encode_triples(parts: Sequence[Sequence[Triple]], fitted: Preprocessing) -> tuple[list[Tensor], int, int]:
    """Triples (n, 3) int64 of each part, and how many entities and relations there are, numbered as sorted."""
    entities = fitted.get_or_fit(
        "entities", lambda: sorted({name for part in parts for head, _, tail in part for name in (head, tail)})
    )
    relations = fitted.get_or_fit("relations", lambda: sorted({relation for part in parts for _, relation, _ in part}))
    entity, kind = ({name: number for number, name in enumerate(names)} for names in (entities, relations))
    tensors = [torch.tensor([(entity[h], kind[r], entity[t]) for h, r, t in part]) for part in parts]
    return tensors, len(entities), len(relations)
