"""Recognition of objects of pandas, which is not imported: without it no object can be one of them."""

from __future__ import annotations

import sys
from typing import Any

ARGUMENT = "rows"
"""Name of rows in memory in error messages."""


def is_data_frame(rows: Any) -> bool:
    """Return whether an object is a DataFrame of pandas."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(rows, pandas.DataFrame)


def is_series(rows: Any) -> bool:
    """Return whether an object is a Series of pandas."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(rows, pandas.Series)
