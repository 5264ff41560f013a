"""Predict each line of a text file, or each text file of a folder: python predict.py INPUT [OUTPUT.csv]."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trainer.data.encoding import text_rows, tokenizers
from trainer.data.encoding.text_rows import EncodedRow, TextRow
from trainer.export.standalone.padding import BATCH_SIZE, pad_rows
from trainer.export.standalone.program import Rows, main


def read_rows(path: str, encoding: Mapping[str, Any]) -> Iterator[Rows]:
    """Yield the texts of a file or folder as tokens, in batches.

    Args:
        path: File with one text per line, or folder of text files.
        encoding: State of the ``tokenizer``, ``token_slice`` of the tokens that are used, ``suffix`` of the files of a
            folder, and ``text_encoding`` of files.

    Raises:
        DataError: The path is missing, or a text is empty or cannot be read.
    """
    tokenizer = tokenizers.tokenizer_from_state(encoding["tokenizer"])
    token_slice = slice(*encoding["token_slice"])

    def encode(row: TextRow) -> EncodedRow:
        text_rows.check_length(row.text.strip(), row.location)
        return EncodedRow(row.name, tokenizer.encode(row.text)[token_slice])

    title = "file" if Path(path).expanduser().is_dir() else "line"
    if title == "file":
        rows = text_rows.read_folder(path, encoding["suffix"], encoding["text_encoding"], with_targets=False)
    else:
        rows = text_rows.split_columns(text_rows.read_lines(path, encoding["text_encoding"]), with_targets=False)
    for chunk in text_rows.encode_chunks(rows, encode, tokenizer, "input"):
        for start in range(0, len(chunk), BATCH_SIZE):
            batch = chunk[start : start + BATCH_SIZE]
            yield Rows({title: [row.name for row in batch]}, pad_rows([np.array(row.tokens) for row in batch]))


if __name__ == "__main__":
    sys.exit(main(read_rows, Path(__file__).parent))
