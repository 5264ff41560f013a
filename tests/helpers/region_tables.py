"""Tables of brain regions over time in files, one a recording."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.data.datasets.graph.parcel_series import ParcelSeries
from trainer.utils.errors import DataError, SystemFault

OPTIONS: dict[str, Any] = {
    **{"graph": None, "top_k": 2, "standardize": "table", "columns": None, "val": 0.2, "test": 0.2},
    **{
        "delimiter": None,
        "header": "auto",
        "encoding": "utf-8",
        "decimal": "point",
        "thousands": None,
        "missing": ["", "nan"],
        "seed": 0,
    },
}
NAMES = ("left", "right", "front", "back", "side")


def write_table(path: Path, values: np.ndarray, names: tuple[str, ...] | None = NAMES) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, values)
        return
    mark = "\t" if path.suffix == ".tsv" else ","
    np.savetxt(path, values, delimiter=mark, header="" if names is None else mark.join(names), comments="")


def write_tables(
    folder: Path, ending: str = ".csv", kinds: tuple[str, ...] = ("calm", "wild"), count: int = 10
) -> Path:
    """Write recordings of 5 to 9 steps; the last region is constant, the second the negated first plus noise."""
    draw = np.random.default_rng(0)
    for kind in kinds:
        for number in range(count):
            values = draw.normal(size=(draw.integers(5, 10), 5)) * 3 + 7
            values[:, 1] = -values[:, 0] + draw.normal(size=len(values)) / 10
            values[:, 4] = 0.1
            write_table(folder / kind / f"{number}{ending}", values)
    return folder


def read_tables(folder: Path, **changes: object) -> ParcelSeries:
    return ParcelSeries(path=str(folder), **OPTIONS | changes)


def read_error(folder: Path, **changes: object) -> str:
    with pytest.raises((DataError, SystemFault)) as caught:
        read_tables(folder, **changes)
    return str(caught.value)
