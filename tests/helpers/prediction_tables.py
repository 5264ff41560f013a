"""Files that ``train predict`` writes."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from trainer.cli import main


def predict(run: Path, *words: str, folder: Path | None = None) -> pd.DataFrame:
    """Predict with a run; return the file that is written, with the columns of numbers as exactly these numbers."""
    output = (folder or run) / "predicted.csv"
    output.unlink(missing_ok=True)
    assert main.run_command(["predict", str(run), f"output={output}", *words]) == 0
    return pd.read_csv(output, dtype=str, keep_default_na=False).apply(_parse_numbers)


def _parse_numbers(column: pd.Series) -> pd.Series:
    """Return a column as numbers, if all of its cells are; the parser of pandas may round the last digit."""
    try:
        return column.map(int)
    except ValueError:
        pass
    try:
        return column.map(float)
    except ValueError:
        return column
