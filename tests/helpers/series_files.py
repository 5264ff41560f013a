"""Time series in CSV files, written and read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers.lab import configure
from trainer.data.datasets.series.csv_series import CSVSeries
from trainer.data.splits.windows import WindowSplit
from trainer.utils.errors import DataError

START = datetime(2020, 1, 1)
HOUR = timedelta(hours=1)


def load_series(path: Path, **changes: Any) -> CSVSeries:
    """Load a series with ten steps of history and a horizon of five, other keys as in the YAML file."""
    keys = configure("model=dlinear", "data=csv_series", f"data.path={path}")["data"]
    return CSVSeries(**{k: v for k, v in keys.items() if k != "_target_"} | {"history": 10, "horizon": 5} | changes)


def load_error(path: Path, **changes: Any) -> str:
    with pytest.raises(DataError) as caught:
        load_series(path, **changes)
    return str(caught.value)


def hourly_lines(count: int = 100) -> list[str]:
    """Return a header and hourly rows: column ``a`` counts them and ``b`` has a daily period."""
    return [
        "when,a,b",
        *(f"{START + i * HOUR:%Y-%m-%d %H:%M},{i},{math.sin(i * math.pi / 12):.4f}" for i in range(count)),
    ]


def write_lines(folder: Path, lines: Sequence[str]) -> Path:
    path = folder / "s.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def get_split(data: CSVSeries, which: str = "train") -> WindowSplit:
    found = getattr(data, which)
    assert isinstance(found, WindowSplit)
    return found


def get_targets(windows_of: WindowSplit) -> Tensor:
    found = windows_of.get_targets()
    assert found is not None
    return found


def split_sizes(data: CSVSeries) -> list[int]:
    return [len(split) for split in (data.train, data.val, data.test)]


def read_counts(data: CSVSeries, which: str) -> list[list[float]]:
    """Return column ``a``, which counts the rows, in the windows of a split, in the numbers of the file."""
    first = get_split(data).series[:, 0].double()
    rows = first[~first.isnan()]
    part = get_split(data, which)
    batch = part.batch(torch.arange(len(part)), 0)
    assert batch.target is not None
    steps = torch.cat((batch.inputs["x"], batch.target), 1)[..., 0].double()
    return ((steps - rows[0]) / (rows[1] - rows[0])).round(decimals=2).tolist()
