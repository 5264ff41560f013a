"""Tables of a few rows in files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trainer.data.datasets.tabular.csv_table import CSV
from trainer.utils.errors import DataError

GAPS = ["", "?", "na", "nan"]


def load(path: Path, target: str | int = "y", **changes: Any) -> CSV:
    options: dict[str, Any] = {
        "target_kind": None,
        "task_target": "class",
        "test_path": None,
        "delimiter": None,
        "header": "auto",
        "encoding": "utf-8",
        "decimal": "point",
        "thousands": None,
        "missing": GAPS,
        "nan": "error",
        "categorical": [],
        "drop_columns": [],
        "split_column": None,
        "val": 0.2,
        "test": 0.2,
        "max_categories": 50,
        "min_count": 2,
        "seed": 0,
    }
    return CSV(path=str(path), target=target, **options | changes)


def write(path: Path, lines: list[str], name: str = "t.csv") -> Path:
    file = path / name
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def people(count: int = 40) -> list[str]:
    """Return the lines of a table with a number, a category and a class."""
    kinds = ["red", "green", "blue"]
    return ["size,colour,y", *(f"{i * 0.5}, {kinds[i % 3]},{'yes' if i % 2 else 'no'}" for i in range(count))]


def with_gaps(count: int = 99) -> list[str]:
    """Return the lines of a table whose number and category are sometimes missing."""
    rows = (f"{i * 0.5 if i % 5 else '?'},{'ab'[i % 2] if i % 7 else ''},{i % 2}" for i in range(count))
    return ["size,colour,y", *rows]


def problem(path: Path, target: str | int = "y", **changes: Any) -> str:
    with pytest.raises(DataError) as caught:
        load(path, target, **changes)
    return str(caught.value)
