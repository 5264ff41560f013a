"""ETTh1: two years of hourly electricity transformer measurements."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trainer.core.dataset_info import DatasetInfo
from trainer.core.types import PositiveInt
from trainer.data.encoding import seasonality, timestamps
from trainer.data.encoding.forecast_dataset import ForecastDataset, SeriesFileFormat
from trainer.data.encoding.series_index import SeriesIndex
from trainer.data.encoding.series_schema import SeriesSchema
from trainer.data.encoding.time_grid import Rhythm
from trainer.data.readers import download
from trainer.data.readers.cell_parsing import CellFormat
from trainer.data.readers.table import Table
from trainer.data.splits import windows

SOURCE = download.Source(
    "ETT-small/ETTh1.csv",
    "f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066",
    "https://raw.githubusercontent.com/zhouhaoyi/ETDataset/1d16c8f4f943005d613b5bc962e9eeb06058cf07/ETT-small/ETTh1.csv",
)
CHANNELS = ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")
TIME = "date"
FILE_FORMAT = SeriesFileFormat("comma", True, "utf-8", CellFormat(frozenset({"", "nan"})))
STEPS_PER_DAY = 24
STEPS_PER_MONTH = 30 * STEPS_PER_DAY
SPLIT_ENDS = (12 * STEPS_PER_MONTH, 16 * STEPS_PER_MONTH, 20 * STEPS_PER_MONTH)


class ETTh1(ForecastDataset):
    """Electricity transformer temperature, hourly (ETTh1).

    Six loads and the oil temperature, with the standard split of 12, 4 and 4 months of 30 days. Every channel is
    standardized by the mean and standard deviation of the training rows; all scores are in these units. The baseline is
    the better of repeating the last value and repeating the last day.

    Args:
        history: Input length T in hours.
        horizon: Forecast horizon P in hours.
        data_dir: Parent directory of ``etth1/``; None for the default data directory.

    References:
        Zhou et al. 2021, Informer: Beyond Efficient Transformer for Long Sequence Time-Series Forecasting, AAAI.
    """

    shapes = "x (B, T, F) -> (B, P, F)"

    def __init__(self, history: PositiveInt = 336, horizon: PositiveInt = 96, data_dir: str | None = None):
        folder = download.fetch_files("etth1", [SOURCE], data_dir)
        raw = np.loadtxt(
            folder / SOURCE.path,
            delimiter=",",
            skiprows=1,
            usecols=range(1, len(CHANNELS) + 1),
            max_rows=SPLIT_ENDS[-1],
        )
        scale = windows.column_moments(raw[: SPLIT_ENDS[0]])
        series, _ = windows.standardize_series(raw, scale)
        index = _read_index(folder / SOURCE.path)
        first, second, third = windows.chronological_splits(series, SPLIT_ENDS, history, horizon, index=index)
        self.train, self.val, self.test = first, second, third
        baseline, period = windows.best_naive_scores(third, (1, STEPS_PER_DAY))
        self.info = DatasetInfo(
            sizes=windows.forecast_sizes(first),
            baseline=baseline,
            baseline_rule=seasonality.describe_seasonal_rule(period),
            target=windows.channel_info(CHANNELS, scale),
        )

    @property
    def file_format(self) -> SeriesFileFormat:
        return FILE_FORMAT

    @property
    def schema(self) -> SeriesSchema:
        assert self.info.target.channel_moments is not None
        means, stds = self.info.target.channel_moments
        return SeriesSchema(
            CHANNELS, {"mean": means, "std": stds}, TIME, rhythm=Rhythm("second", 3600), names=(TIME, *CHANNELS)
        )


def _read_index(path: Path) -> SeriesIndex:
    """Return the timestamps of the file."""
    lines = path.read_text(encoding="utf-8").splitlines()[1 : SPLIT_ENDS[-1] + 1]
    cells = tuple(line.partition(",")[0] for line in lines)
    table = Table([TIME], [cells], range(2, len(cells) + 2), True, ((path, len(cells)),))
    return SeriesIndex(timestamps.read_time_grid(table, 0, None))
