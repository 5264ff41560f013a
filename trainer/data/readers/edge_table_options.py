"""Options of data sets that read graphs from tables."""

from __future__ import annotations

from typing import ClassVar, Literal, TypedDict

from trainer.core.types import DataPath, Fraction, NonNegativeInt, PositiveInt, Thousands


class TableSource(TypedDict):
    """Paths of the tables of a graph and its target column."""

    path: DataPath
    target: str | int


class ReadingOptions(TypedDict, total=False):
    """Options for reading and splitting the tables of a graph."""

    directed: bool
    delimiter: str | None
    encoding: str
    decimal: Literal["point", "comma"]
    thousands: Thousands | None
    missing: list[str | float]
    nan: Literal["error", "fill"]
    categorical: list[str | int]
    drop_columns: list[str | int]
    val: Fraction
    test: Fraction
    max_categories: PositiveInt
    min_count: PositiveInt
    seed: NonNegativeInt


class TableOptions(TableSource, ReadingOptions):
    """Options of data sets from tables of a graph: ``**options: Unpack[TableOptions]``."""


class TableDefaults:
    """Defaults of ``ReadingOptions``."""

    option_defaults: ClassVar[ReadingOptions] = {
        "directed": False,
        "delimiter": None,
        "encoding": "utf-8",
        "decimal": "point",
        "thousands": None,
        "missing": ["", "?", "na", "n/a", "nan", "null", "none", "-"],
        "nan": "error",
        "categorical": [],
        "drop_columns": [],
        "val": 0.2,
        "test": 0.2,
        "max_categories": 50,
        "min_count": 2,
        "seed": 0,
    }
