"""Predict each row of a delimited text file: python predict.py INPUT [OUTPUT.csv]."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trainer.data.encoding.feature_encoder import FeatureEncoder
from trainer.data.readers import delimited
from trainer.data.readers.cell_parsing import CellFormat
from trainer.export.standalone.program import Rows, main


def read_rows(path: str, encoding: Mapping[str, Any]) -> Iterator[Rows]:
    """Yield the rows of a table in chunks that fit in memory.

    Args:
        path: Delimited text file.
        encoding: ``schema`` of the training table, its ``header_names``, and the format of files and cells.

    Raises:
        DataError: The file is not such a table, columns are missing, or cells cannot be read.
    """
    encoder = FeatureEncoder(encoding["schema"], CellFormat.from_options(encoding["cells"]))
    dialect = (encoding["delimiter"], encoding["header"], encoding["text_encoding"])
    for table in delimited.read_chunks(path, "input", *dialect, expected=encoding["header_names"]):
        encoded = encoder.encode(table)
        if encoded is not None:
            numbers = [table.get_row_number(row) for row in encoded.rows.tolist()]
            yield Rows({"row": numbers}, {"x": encoded.x})
    encoder.finish()


if __name__ == "__main__":
    sys.exit(main(read_rows, Path(__file__).parent))
