"""Continue the series of a delimited text file from its end: python predict.py INPUT [OUTPUT.csv]."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trainer.core.prediction_columns import Column, make_series_columns
from trainer.data.encoding.series_schema import Gaps, SeriesSchema, check_continuation, check_values, encode_series
from trainer.data.encoding.time_grid import Rhythm
from trainer.data.readers import delimited
from trainer.data.readers.cell_parsing import CellFormat
from trainer.export.standalone.outputs import unscale_numbers
from trainer.export.standalone.program import Rows, main


def read_rows(path: str, encoding: Mapping[str, Any]) -> Iterator[Rows]:
    """Yield the last steps of a series, with the names of those that follow.

    Args:
        path: Delimited text file.
        encoding: ``schema`` of the training series, the format of files and cells, the number of steps of the
            ``history`` and the ``horizon``, and whether ``gaps`` are interpolated.

    Raises:
        DataError: The file is shorter than the history, is no regular series with the columns of training, or has
            missing values.
    """
    schema = SeriesSchema(**{**encoding["schema"], "rhythm": Rhythm.from_state(encoding["schema"]["rhythm"])})
    dialect = (encoding["delimiter"], encoding["header"], encoding["text_encoding"])
    table = delimited.read(path, "input", *dialect, (*schema.names, *schema.columns, schema.time))
    cell_format, history, horizon = CellFormat.from_options(encoding["cells"]), encoding["history"], encoding["horizon"]
    fills = encoding["gaps"] == "interpolate"
    gaps: Gaps = "interpolate" if fills else "error"
    values, index = encode_series(schema, table, cell_format, gaps, history, 0, uses_all=False)
    check_continuation(table, index, len(values), horizon)
    check_values(table, schema, values)
    x = interpolate_gaps(values) if fills else values
    (origin,) = index.get_names(history - 1, history).tolist()
    names = {"origin": [origin] * horizon, "step": [*range(1, horizon + 1)]}
    yield Rows({**names, index.title: index.get_names(history, history + horizon).tolist()}, {"x": x[None]})


def interpolate_gaps(history: np.ndarray) -> np.ndarray:
    """Interpolate missing values (NaN) of a history (T, F) linearly; those at its ends are the nearest value."""
    steps, columns = np.arange(len(history)), []
    for column in history.T:
        known = ~np.isnan(column)
        columns.append(np.interp(steps, steps[known], column[known]))
    return np.stack(columns, axis=1).astype(np.float32)


def predict_steps(names: Mapping[str, Column], outputs: np.ndarray, options: Mapping[str, Any]) -> dict[str, Column]:
    """Return the columns of a forecast with one row per step; the forecast of a series has its name.

    Args:
        names: Columns that identify the P steps, by title.
        outputs: Scaled forecast (1, P, F).
        options: Units of the series, and the names ``channels`` (F).
    """
    columns = dict(names)
    for field, numbers in unscale_numbers(outputs[0].reshape(outputs.shape[1], -1), options).items():
        columns |= make_series_columns(field, numbers, options["channels"], columns)
    return columns


if __name__ == "__main__":
    sys.exit(main(read_rows, Path(__file__).parent, predict_steps))
