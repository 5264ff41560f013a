"""Time series in delimited text files: one row per step, one column per channel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Literal

import numpy as np

from trainer.core.dataset import Dataset
from trainer.core.preprocessing import Preprocessing
from trainer.core.types import DataPath, Fraction, PositiveInt, Thousands
from trainer.data.encoding import column_checks, series, timestamps
from trainer.data.readers import delimited, table_summary
from trainer.data.readers.cell_parsing import CellFormat
from trainer.utils.errors import DataError


class CSVSeries(Dataset):
    """Univariate or multivariate time series, read from a delimited text file.

    The selected columns are both inputs and targets, standardized by the training rows. Splits are chronological:
    training, validation, test. Scores are in the original units where there is one column. A time column is never an
    input; it locates missing rows.

    Args:
        path: Delimited text file in chronological order.
        time: Time column, by name or index; None for rows at regular intervals.
        time_format: Format of the time column for ``strptime``; None detects ISO 8601 dates and numbers.
        columns: Columns that are inputs and targets, by name or index; None for all except ``time``.
        history: Input length T in steps.
        horizon: Forecast horizon P in steps.
        period: Seasonal period of the baseline in steps; None estimates it.
        gaps: Missing values: raise an error, interpolate the inputs linearly, or drop windows that contain one.
        val: Fraction of the rows for validation, after the training rows.
        test: Fraction of the rows for test, the last ones.
        delimiter: Column delimiter: comma, semicolon, tab, bar, space or a character; None detects it.
        header: Whether the first row holds the column names; ``auto`` detects it.
        encoding: Character encoding of the file.
        decimal: Decimal separator.
        thousands: Thousands separator; None for none.
        missing: Strings that count as missing values, case-insensitive.
        fitted: Preprocessing of a saved run; None fits it to the training rows.

    Raises:
        DataError: The file is not a regularly sampled series; the message has file, row, column and time.
    """

    shapes = "x (B, T, F) -> (B, P, F)"

    reusable_values = MappingProxyType(dict.fromkeys(("columns", "scale"), ()))

    def __init__(
        self,
        path: DataPath,
        time: str | int | None = None,
        time_format: str | None = None,
        columns: list[str | int] | None = None,
        history: PositiveInt = 24,
        horizon: PositiveInt = 12,
        period: PositiveInt | None = None,
        gaps: Literal["error", "interpolate", "drop"] = "error",
        val: Fraction = 0.2,
        test: Fraction = 0.2,
        delimiter: str | None = None,
        header: Literal["auto"] | bool = "auto",
        encoding: str = "utf-8",
        decimal: Literal["point", "comma"] = "point",
        thousands: Thousands | None = None,
        missing: Sequence[str | float] = ("", "?", "na", "n/a", "nan", "null", "none", "-"),
        fitted: Preprocessing | None = None,
    ):
        self.fitted = fitted = fitted or Preprocessing()
        table = delimited.read(path, "path", delimiter, header, encoding, (time, *(columns or ())))
        cell_format = CellFormat.from_options({"missing": missing, "decimal": decimal, "thousands": thousands})
        if not fitted.is_stored:
            column_checks.warn_about_absent_codes([table], cell_format)
        time_column = None if time is None else table.find_column(time, "time")
        selected = series.choose_columns(table, fitted.values.get("columns", columns), time_column)
        selected = series.get_or_fit_columns(fitted, table, selected, time_column)
        errors: list[str] = []
        values = _collect_error(errors, lambda: series.read_numeric_columns(table, selected, cell_format))
        steps = None
        if time_column is not None:
            steps = _collect_error(errors, lambda: timestamps.grid_steps(table, time_column, time_format))
        if errors or values is None:
            raise DataError(*errors)
        problems = series.describe_missing_values(table, selected, time_column, values)
        lines = table_summary.summarize_series(table, selected, time_column, values)
        if time_column is not None and steps is not None:
            problems = series.describe_missing_rows(table, time_column, steps) + problems
            values = series.reindex_to_grid(values, steps)
        if problems and gaps == "error":
            raise DataError(
                *problems,
                "data.gaps=interpolate fills them linearly and excludes them from the targets; data.gaps=drop skips"
                " windows that contain one",
            )
        fill, names = gaps == "interpolate", [table.names[column] for column in selected]
        series.set_splits(self, fitted, values, history, horizon, val, test, period, fill, lines, names)


def _collect_error(problems: list[str], make: Callable[[], np.ndarray]) -> np.ndarray | None:
    """Return the result of ``make``, or None after adding the messages of its DataError to ``problems``."""
    try:
        return make()
    except DataError as error:
        problems += error.problems
        return None
