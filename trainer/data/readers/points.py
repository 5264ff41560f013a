"""Points of the user's: numbers in a delimited text file, a point a row."""

from __future__ import annotations

import numpy as np
import torch

from trainer.core.dataset import TensorSplit
from trainer.data.encoding import table_encoder
from trainer.data.readers import delimited
from trainer.data.readers.cell_parsing import CellFormat
from trainer.utils.errors import ConfigError

GAPS = frozenset(("", "?", "na", "n/a", "nan", "null", "none", "-"))


def read(path: str, width: int) -> TensorSplit:
    """Points x (N, width), with a header over them or without.

    Raises ConfigError for a file that is not there, of another width, or with a cell that is no number.
    """
    table = delimited.read(path, "input", None, "auto", "utf-8")
    if len(table.names) != width:
        raise ConfigError(f"input: {table.path} has rows of {len(table.names)} numbers; this run has rows of {width}")
    reading = CellFormat(GAPS, has_decimal_comma=False)
    columns = [reading.parse_numbers(cells) for cells in table.columns]
    good = [np.abs(column) <= np.finfo(np.float32).max for column in columns]
    bad = [
        table_encoder.describe_bad_cell(table, place, known, reading)
        for place, known in enumerate(good)
        if not known.all()
    ]
    if bad:
        raise ConfigError(*bad[: table_encoder.MAX_PROBLEMS])
    return TensorSplit({"x": torch.from_numpy(np.stack(columns, 1)).float()})
