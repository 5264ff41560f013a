"""Any series in a delimited text file: a row a step, a column a channel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from trainer.core.dataset import Dataset
from trainer.core.preprocessing import Preprocessing
from trainer.core.types import DataPath, Fraction, PositiveInt, Thousands
from trainer.data.encoding import column_checks, series, timestamps
from trainer.data.readers import delimited, table_summary
from trainer.data.readers.cell_parsing import CellFormat
from trainer.utils.errors import ConfigError


class CSVSeries(Dataset):
    """The columns chosen are read and predicted together, each standardised by the training rows, which come first;
    validation rows follow, and test rows. Scores are in the data's own units where there is one column. A time
    column is never an input: it says where rows are missing.

    Raises ConfigError, with file, row, column and time, for whatever keeps the file from being an even series.
    """

    shapes = "x (B, T, F) -> (B, P, F)"

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
        table = delimited.read(path, "data.path", delimiter, header, encoding, (time, *(columns or ())))
        reading = CellFormat.from_options({"missing": missing, "decimal": decimal, "thousands": thousands})
        if not fitted.is_stored:
            column_checks.warn_about_absent_codes([table], reading)
        at = None if time is None else table.find_column(time, "data.time")
        chosen = series.choose_columns(table, fitted.values.get("columns", columns), at)
        fitted.get_or_fit("columns", lambda: [table.names[place] if table.has_header else place for place in chosen])
        unread: list[str] = []
        values = _collect_error(unread, lambda: series.read_numeric_columns(table, chosen, reading))
        places = None if at is None else _collect_error(unread, lambda: timestamps.grid_steps(table, at, time_format))
        if unread or values is None:
            raise ConfigError(*unread)
        problems = series.describe_missing_values(table, chosen, at, values)
        lines = table_summary.summarize_series(table, chosen, at, values)
        if at is not None and places is not None:
            problems = series.describe_missing_rows(table, at, places) + problems
            values = series.reindex_to_grid(values, places)
        if problems and gaps == "error":
            raise ConfigError(
                *problems,
                "data.gaps=interpolate reads over them by straight lines and predicts none; data.gaps=drop leaves out"
                " windows that hold one",
            )
        fill, names = gaps == "interpolate", [table.names[place] for place in chosen]
        series.set_splits(self, fitted, values, history, horizon, val, test, period, fill, lines, names)


def _collect_error(problems: list[str], make: Callable[[], np.ndarray]) -> np.ndarray | None:
    """What is made; None where it is refused, for ``problems``."""
    try:
        return make()
    except ConfigError as error:
        problems += error.problems
        return None
