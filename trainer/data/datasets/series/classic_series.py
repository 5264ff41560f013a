"""Three benchmark time series from the forecasting literature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from trainer.core.preprocessing import Preprocessing
from trainer.core.types import Fraction, PositiveInt
from trainer.data.encoding import series, timestamps
from trainer.data.encoding.forecast_dataset import ForecastDataset, SeriesFileFormat
from trainer.data.encoding.series_index import SeriesIndex
from trainer.data.encoding.series_schema import SeriesSchema
from trainer.data.encoding.time_grid import Rhythm
from trainer.data.readers import delimited, download
from trainer.data.readers.cell_parsing import CellFormat

URL = "https://raw.githubusercontent.com/jbrownlee/Datasets/d20fcb6402ae34e653d4513b00f39257bb37ed7f/"
FILE_FORMAT = SeriesFileFormat("comma", True, "utf-8", CellFormat(frozenset({"na"}), has_decimal_comma=False))


@dataclass(frozen=True)
class SeriesSpec:
    """Source file and default options of a series.

    Attributes:
        file: File name.
        sha256: Digest of the file.
        column: Name of the target column.
        history: Input length in steps.
        horizon: Forecast horizon in steps.
        period: Seasonal period in steps.
        time: Name of the time column; None for columns of year, month, day and hour.
        names: Names of all columns.
    """

    file: str
    sha256: str
    column: str
    history: int
    horizon: int
    period: int
    time: str | None
    names: Sequence[str]


SERIES_SPECS = {
    "airline": SeriesSpec(
        "airline-passengers.csv",
        "8cb51be753a718d9be5d76d7e238cc224792754676adc21faa59e954b0201621",
        "Passengers",
        history=24,
        horizon=12,
        period=12,
        time="Month",
        names=("Month", "Passengers"),
    ),
    "sunspots": SeriesSpec(
        "monthly-sunspots.csv",
        "c4ec8cc57d9f6fb6ecdb3e1f37f25b6f4badd5124c55931052b0cd2fc3bc71f3",
        "Sunspots",
        history=264,
        horizon=12,
        period=132,
        time="Month",
        names=("Month", "Sunspots"),
    ),
    "pollution": SeriesSpec(
        "pollution.csv",
        "892e9559205d16d32623135c127a3951c12e46ea1e0b3093e107ce89a9fd60e2",
        "pm2.5",
        history=72,
        horizon=24,
        period=24,
        time=None,
        names=("No", "year", "month", "day", "hour", "pm2.5", "DEWP", "TEMP", "PRES", "cbwd", "Iws", "Is", "Ir"),
    ),
}


class ClassicSeries(ForecastDataset):
    """Airline passengers, sunspots and PM2.5 air pollution.

    ``airline``: passengers in thousands, 144 months. ``sunspots``: 2820 months, with a cycle of about 11 years.
    ``pollution``: PM2.5 in Beijing in ug/m3 with weather covariates, 43824 hours of which 2067 are missing. Scores are
    in these units where one column is predicted.

    Args:
        name: Name of the series.
        columns: Columns that are inputs and targets; None for passengers, sunspots or PM2.5.
        history: Input length T in steps; None for 24 months, 264 months or 72 hours.
        horizon: Forecast horizon P in steps; None for 12 months, 12 months or 24 hours.
        gaps: Missing values of ``pollution``: drop windows that contain one, or interpolate the inputs linearly.
        val: Fraction of the rows for validation, after the training rows.
        test: Fraction of the rows for test, the last ones.
        data_dir: Parent directory of ``classic_series/``; None for the default data directory.
        fitted: Preprocessing of a saved run; None fits it to the training rows.

    References:
        Box and Jenkins 1976, Time Series Analysis: Forecasting and Control (airline).
        Andrews and Herzberg 1985, Data: A Collection of Problems from Many Fields (sunspots).
        Liang et al. 2015, Assessing Beijing's PM2.5 Pollution, Proc. Royal Society A 471 (pollution).
    """

    shapes = "x (B, T, F) -> (B, P, F)"

    reusable_values = MappingProxyType({"scale": ("name", "columns")})

    def __init__(
        self,
        name: Literal["airline", "sunspots", "pollution"] = "airline",
        columns: list[str] | None = None,
        history: PositiveInt | None = None,
        horizon: PositiveInt | None = None,
        gaps: Literal["interpolate", "drop"] = "drop",
        val: Fraction = 0.2,
        test: Fraction = 0.2,
        data_dir: str | None = None,
        fitted: Preprocessing | None = None,
    ):
        self.fitted = fitted or Preprocessing()
        self.options = {"name": name, "gaps": gaps, "columns": columns}
        spec = SERIES_SPECS[name]
        folder = download.fetch_files(
            "classic_series", [download.Source(spec.file, spec.sha256, URL + spec.file)], data_dir
        )
        table = delimited.read(
            str(folder / spec.file), "name", FILE_FORMAT.delimiter, FILE_FORMAT.header, FILE_FORMAT.encoding
        )
        column_indices = series.choose_columns(table, columns or [spec.column], time=None)
        values = series.read_numeric_columns(table, column_indices, FILE_FORMAT.cell_format)
        time = None if spec.time is None else table.find_column(spec.time, "name")
        index = SeriesIndex(None if time is None else timestamps.read_time_grid(table, time, None))
        lengths = history or spec.history, horizon or spec.horizon
        fill, names = gaps == "interpolate", [table.names[column] for column in column_indices]
        series.set_splits(self, self.fitted, values, *lengths, val, test, spec.period, fill, names=names, index=index)

    @property
    def file_format(self) -> SeriesFileFormat:
        return FILE_FORMAT

    @property
    def schema(self) -> SeriesSchema:
        assert self.fitted is not None
        spec = SERIES_SPECS[self.options["name"]]
        rhythm = None if spec.time is None else Rhythm("month", 1)
        columns = self.options["columns"] or [spec.column]
        return SeriesSchema(columns, self.fitted.get("scale"), spec.time, rhythm=rhythm, names=spec.names)
