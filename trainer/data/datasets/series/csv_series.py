"""Time series in delimited text files: one row per step, one column per channel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

from trainer.core.preprocessing import Preprocessing
from trainer.core.types import DataPath, Fraction, PositiveInt, Thousands
from trainer.data.encoding import column_checks, series, series_gaps, timestamps
from trainer.data.encoding.forecast_dataset import ForecastDataset, SeriesFileFormat
from trainer.data.encoding.series_index import SeriesIndex
from trainer.data.encoding.series_schema import SeriesSchema, collect_error
from trainer.data.encoding.time_grid import Rhythm, TimeGrid
from trainer.data.readers import delimited, table_summary
from trainer.data.readers.cell_parsing import CellFormat
from trainer.data.readers.table import Table
from trainer.utils.errors import DataError


class CSVSeries(ForecastDataset):
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

    @classmethod
    def get_feature_names(cls, fitted_values: Mapping[str, Any]) -> Sequence[str]:
        return [str(column) for column in fitted_values.get("columns", ())]

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
        cells = {"missing": missing, "decimal": decimal, "thousands": thousands}
        self.options = {"time": time, "time_format": time_format, "gaps": gaps, **cells}
        self.options |= {"delimiter": delimiter, "header": header, "encoding": encoding}
        table = delimited.read(path, "path", delimiter, header, encoding, (time, *(columns or ())))
        cell_format = CellFormat.from_options(cells)
        if not fitted.is_stored:
            column_checks.warn_about_absent_codes([table], cell_format)
        time_column = None if time is None else table.find_column(time, "time")
        selected = series.choose_columns(table, fitted.values.get("columns", columns), time_column)
        selected = series.get_or_fit_columns(fitted, table, selected, time_column)
        errors: list[str] = []
        values = collect_error(errors, lambda: series.read_numeric_columns(table, selected, cell_format))
        grid = None if time_column is None else collect_error(errors, lambda: self._read_grid(table, time_column))
        if errors or values is None:
            raise DataError(*errors)
        problems = series_gaps.describe_missing_values(table, selected, time_column, values)
        lines = table_summary.summarize_series(table, selected, time_column, values)
        if time_column is not None and grid is not None:
            problems = series_gaps.describe_missing_rows(table, time_column, grid.steps) + problems
            values = series.reindex_to_grid(values, grid.steps)
        if problems and gaps == "error":
            raise DataError(
                *problems,
                "data.gaps=interpolate fills them linearly and excludes them from the targets; data.gaps=drop skips"
                " windows that contain one",
            )
        fill, names = gaps == "interpolate", [table.names[column] for column in selected]
        index = SeriesIndex(grid)
        series.set_splits(self, fitted, values, history, horizon, val, test, period, fill, lines, names, index)
        if not fitted.is_stored:
            fitted.get_or_fit("schema", lambda: {"names": list(table.names), "header": table.has_header})

    def _read_grid(self, table: Table, time: int) -> TimeGrid:
        """Read the time column, and store its rhythm; runs that store none take every day for a step."""
        assert self.fitted is not None
        grid = timestamps.read_time_grid(
            table,
            time,
            self.options["time_format"],
            rhythm=Rhythm.from_state(self.fitted.values.get("rhythm")),
            finds_business_days=not self.fitted.is_stored,
        )
        if not self.fitted.is_stored:
            self.fitted.get_or_fit("rhythm", lambda: None if grid.rhythm is None else grid.rhythm.state_dict())
        return grid

    @property
    def file_format(self) -> SeriesFileFormat:
        options = self.options
        return SeriesFileFormat(
            options["delimiter"], options["header"], options["encoding"], CellFormat.from_options(options)
        )

    @property
    def schema(self) -> SeriesSchema:
        assert self.fitted is not None
        layout = self.fitted.values.get("schema", {"names": (), "header": True})
        return SeriesSchema(
            self.fitted.get("columns"),
            self.fitted.get("scale"),
            self.options["time"],
            self.options["time_format"],
            Rhythm.from_state(self.fitted.values.get("rhythm")),
            layout["names"],
            layout["header"],
        )
