"""Points in delimited text files, one per row."""

from __future__ import annotations

import numpy as np
import torch

from trainer.core.split import TensorSplit
from trainer.data.encoding import cell_messages
from trainer.data.readers import delimited
from trainer.data.readers.cell_parsing import FLOAT_MAX, CellFormat
from trainer.data.readers.header_detection import MISSING_TEXTS
from trainer.utils.errors import DataError


def read(path: str, width: int) -> TensorSplit:
    """Read points x (N, width) from a file with or without header.

    Args:
        path: File to read.
        width: Number of coordinates.

    Raises:
        DataError: The file is missing, has another width or a cell that is not a number.
    """
    table = delimited.read(path, "input", None, "auto", "utf-8")
    if len(table.names) != width:
        raise DataError(f"input: {table.path} has rows of {len(table.names)} numbers; this run has rows of {width}")
    cell_format = CellFormat(frozenset(MISSING_TEXTS))
    columns = [cell_format.parse_numbers(cells) for cells in table.columns]
    is_valid_by_column = [np.abs(column) <= FLOAT_MAX for column in columns]
    problems = [
        cell_messages.describe_bad_cell(table, index, is_valid, cell_format)
        for index, is_valid in enumerate(is_valid_by_column)
        if not is_valid.all()
    ]
    if problems:
        raise DataError(*problems[: cell_messages.MAX_PROBLEMS])
    return TensorSplit({"x": torch.from_numpy(np.stack(columns, 1)).float()})
