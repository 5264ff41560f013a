"""Command line of the programs: reading ``preprocess.json``, running ``model.onnx``, writing predictions."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trainer.core.prediction_columns import Column
from trainer.data.readers.skipped_rows import drop_skip_hint
from trainer.export.standalone.outputs import Predict, predict_rows
from trainer.utils.atomic_write import replace_file
from trainer.utils.csv_lines import make_csv_writer
from trainer.utils.errors import DataError, SystemFault
from trainer.utils.paths import describe_missing_path, is_read
from trainer.utils.text import escape_control_chars, escape_unencodable, format_count

PREPROCESSING, MODEL = "preprocess.json", "model.onnx"
FORMAT_VERSION = 1
"""Version of the layout of ``preprocess.json``."""
BATCH_SIZE = 256
DEFAULT_OUTPUT = "predictions.csv"


class Rows(NamedTuple):
    """Rows of a file as inputs of the model.

    Attributes:
        names: Columns that identify the predictions, by title, such as the numbers (N) of the rows.
        inputs: Arrays (N, ...), by the name of the input.
    """

    names: Mapping[str, Sequence[Any]]
    inputs: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))


ReadRows = Callable[[str, Mapping[str, Any]], Iterator[Rows]]
"""Function from the path of a file, and how the run encodes rows, to its rows."""
Model = Callable[[Mapping[str, np.ndarray]], np.ndarray]


def main(read_rows: ReadRows, folder: Path, predict: Predict = predict_rows) -> int:
    """Predict the rows of a file and write a table; return the exit code.

    Args:
        read_rows: Reader of the kind of files of the run.
        folder: Folder of ``model.onnx`` and ``preprocess.json``.
        predict: Function from the names of rows and their outputs to columns.
    """
    parser = argparse.ArgumentParser(description="Predict each row of a file, as train predict does.")
    parser.add_argument("input", help="file or folder with the rows")
    parser.add_argument("output", nargs="?", default=DEFAULT_OUTPUT, help=f"file to write; {DEFAULT_OUTPUT} by default")
    arguments = parser.parse_args()
    logging.addLevelName(logging.WARNING, "warning")
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    try:
        count = predict_file(read_rows, predict, folder, arguments.input, arguments.output)
    except (DataError, SystemFault) as error:
        print(f"error: {escape_control_chars(drop_skip_hint(str(error)))}", file=sys.stderr)
        return 2 if isinstance(error, DataError) else error.exit_code
    except KeyboardInterrupt:
        return 130
    print(f"{format_count(count, 'row')} predicted, written to {arguments.output}")
    return 0


def predict_file(read_rows: ReadRows, predict: Predict, folder: Path, input_path: str, output: str) -> int:
    """Predict the rows of a file, write them to a CSV file, and return their number.

    Args:
        read_rows: Reader of the kind of files of the run.
        predict: Function from the names of rows and their outputs to columns.
        folder: Folder of ``model.onnx`` and ``preprocess.json``.
        input_path: File or folder with the rows.
        output: File to write; it is complete, or as it was before.

    Raises:
        DataError: A file cannot be read or written; the sentence says why.
        SystemFault: The disk is full, or a file is not accessible.
    """
    path = check_output(output, input_path)
    for name in (PREPROCESSING, MODEL):
        if not (folder / name).is_file():
            raise DataError(
                f"{(folder / name).absolute()} does not exist; predict.py belongs to the folder of its export"
            )
    options = json.loads((folder / PREPROCESSING).read_text(encoding="utf-8"))
    version = options["format_version"]
    if version != FORMAT_VERSION:
        raise DataError(f"{folder / PREPROCESSING}: version {version}; this program reads {FORMAT_VERSION}")
    model = load_model(folder / MODEL)
    count = 0
    batches = (batch for rows in read_rows(input_path, options["encoding"]) for batch in split_rows(rows))
    first = next(batches, None)
    if first is None:
        raise DataError(f"input: {input_path} has no rows")
    with replace_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = make_csv_writer(file)
        for batch in chain((first,), batches):
            columns = predict(batch.names, model(batch.inputs), options["outputs"])
            if not count:
                writer.writerow(escape_unencodable(title, "utf-8") for title in columns)
            writer.writerows(zip(*map(format_cells, columns.values()), strict=True))
            count += len(next(iter(columns.values())))
    return count


def check_output(output: str, input_path: str) -> Path:
    """Return the path of the file to write.

    Args:
        output: Path from the user.
        input_path: File or folder that is read.

    Raises:
        DataError: It is not a CSV file, or its directory does not exist, or it is a file that is read.
    """
    path = Path(output).expanduser()
    if path.suffix.lower() != ".csv":
        raise DataError(f"output: {output!r} given; the suffix must be .csv")
    if not path.absolute().parent.is_dir() or path.is_dir():
        raise DataError(f"output: {describe_missing_path(path if path.is_dir() else path.absolute().parent)}")
    if is_read(path, Path(input_path)):
        raise DataError(f"output: {path.absolute()} is a file that is read; give another name")
    return path


def load_model(path: Path) -> Model:
    """Return the function from inputs to outputs of an ONNX file.

    Raises:
        DataError: The package onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        raise DataError("predict.py needs the package onnxruntime: pip install onnxruntime") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]

    def run(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        (output,) = session.run(None, {name: inputs[name] for name in names})
        return np.asarray(output)

    return run


def split_rows(rows: Rows) -> Iterator[Rows]:
    """Yield rows in batches of at most ``BATCH_SIZE``."""
    if 0 < len(rows) <= BATCH_SIZE:
        yield rows
        return
    for start in range(0, len(rows), BATCH_SIZE):
        part = slice(start, start + BATCH_SIZE)
        names = {title: cells[part] for title, cells in rows.names.items()}
        yield Rows(names, {name: value[part] for name, value in rows.inputs.items()})


def format_cells(column: Column) -> Sequence[Any]:
    """Return the cells of a column for a CSV file: numbers have all their digits, NaN is empty."""
    if isinstance(column, np.ndarray):
        return ["" if text == "nan" else text for text in column.astype(str).tolist()]
    return [escape_unencodable(cell, "utf-8") if isinstance(cell, str) else cell for cell in column]
