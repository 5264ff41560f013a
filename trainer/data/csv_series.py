"""Any series in a delimited text file: a row a step, a column a channel."""

from __future__ import annotations

from typing import Literal

from trainer.data.base import Data
from trainer.data.parts import series, stamps, tables
from trainer.data.parts.features import Reading
from trainer.errors import ConfigError
from trainer.preprocessing import Preprocessing
from trainer.types import DataPath, Fraction, PositiveInt


class CSVSeries(Data):
    """x (B, T, F) -> (B, P, F)

    The columns chosen are read and predicted together, each standardised by the training rows, which come first;
    validation rows follow, and test rows. Scores are in the data's own units where there is one column. A time
    column is never an input: it says where rows are missing.

    Raises ConfigError, with file, row, column and time, for whatever keeps the file from being an even series.
    """

    def __init__(
        self,
        path: DataPath,
        time: str | int | None,
        time_format: str | None,
        columns: list[str | int] | None,
        history: PositiveInt,
        horizon: PositiveInt,
        period: PositiveInt | None,
        gaps: Literal["error", "interpolate", "drop"],
        val: Fraction,
        test: Fraction,
        delimiter: str | None,
        header: Literal["auto"] | bool,
        encoding: str,
        decimal: Literal["point", "comma"],
        missing: list[str],
        fitted: Preprocessing | None = None,
    ):
        self.fitted = fitted = fitted or Preprocessing()
        expected = time if time is not None or not columns else columns[0]
        table = tables.read(path, "data.path", delimiter, header, encoding, (expected,))
        reading = Reading(frozenset(text.lower() for text in missing), decimal == "comma")
        at = None if time is None else table.find(time, "data.time")
        chosen = series.choose(table, fitted.values.get("columns", columns), at)
        fitted.learn("columns", lambda: [table.names[place] if table.has_header else place for place in chosen])
        values = series.numbers(table, chosen, reading)
        problems = series.gaps(table, chosen, at, values)
        if at is not None:
            places = stamps.places(table, at, time_format)
            problems = series.absences(table, at, places) + problems
            values = series.on_a_grid(values, places)
        if problems and gaps == "error":
            raise ConfigError(
                *problems,
                "data.gaps=interpolate reads over them by straight lines and predicts none; data.gaps=drop leaves out"
                " windows that hold one",
            )
        series.publish(self, fitted, values, history, horizon, val, test, period, fill=gaps == "interpolate")
