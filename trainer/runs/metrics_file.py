"""Reading of ``metrics.csv``, the validations of a run."""

from __future__ import annotations

import csv
import os
from pathlib import Path


def read_history(file: Path) -> list[dict[str, float]]:
    """Read the rows of a metrics file; empty if there is none, and without rows that are not numbers.

    Args:
        file: The file.
    """
    if not os.path.isfile(file):
        return []
    rows = []
    try:
        with open(file, encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines):
                rows.append({key: float(value) for key, value in row.items() if key and value})
    except (OSError, ValueError, TypeError, csv.Error):
        return rows
    return rows
