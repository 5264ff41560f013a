"""Predict each series of a .ts file, a text file or a folder of them: python predict.py INPUT [OUTPUT.csv]."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trainer.data.encoding.ragged_series import standardize_rows
from trainer.data.readers import series_files
from trainer.export.standalone.padding import BATCH_SIZE, pad_rows
from trainer.export.standalone.program import Rows, main


def read_rows(path: str, encoding: Mapping[str, Any]) -> Iterator[Rows]:
    """Yield series of any length in batches.

    Args:
        path: File or folder.
        encoding: ``mean`` and ``std`` of each dimension, and the ``classes`` with which lines may begin.

    Raises:
        DataError: A series has other dimensions or an invalid value.
    """
    scale = {name: np.array(encoding[name]) for name in ("mean", "std")}
    is_folder = Path(path).expanduser().is_dir()
    for file in series_files.list_files(path, "input"):
        cases = series_files.read_cases(file, "input", encoding["classes"], None)
        rows = standardize_rows(cases.series, scale, [f"input: {file}:{line}" for line in cases.lines])
        for start in range(0, len(rows), BATCH_SIZE):
            batch = rows[start : start + BATCH_SIZE]
            numbers = range(start + 1, start + 1 + len(batch))
            names = [f"{file.name}:{number}" for number in numbers] if is_folder else list(numbers)
            yield Rows({"case" if is_folder else "row": names}, pad_rows(batch))


if __name__ == "__main__":
    sys.exit(main(read_rows, Path(__file__).parent))
