"""Base class of data sets whose models continue a series."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from trainer.core.dataset import Dataset
from trainer.core.dataset_info import DatasetInfo
from trainer.core.prediction import DecodedPrediction, Prediction
from trainer.core.split import Split
from trainer.core.types import PositiveInt
from trainer.data.encoding import forecast_table, series_rows
from trainer.data.encoding.series_rows import ToTime
from trainer.data.encoding.series_schema import Gaps, SeriesSchema, check_continuation, check_values, encode_series
from trainer.data.readers import delimited
from trainer.data.readers.cell_parsing import CellFormat
from trainer.data.readers.table import Table
from trainer.data.splits import windows
from trainer.data.splits.windows import WindowSplit
from trainer.utils.errors import DataError
from trainer.utils.text import format_count

log = logging.getLogger(__name__)
CHUNK_VALUES = 1 << 20
"""Maximum number of predicted values per chunk."""


@dataclass(frozen=True)
class SeriesFileFormat:
    """Format of the files of a series.

    Attributes:
        delimiter: Delimiter or its name; None to detect it.
        header: Whether the first row is a header.
        encoding: Text encoding.
        cell_format: Format of the cells.
    """

    delimiter: str | None
    header: Literal["auto"] | bool
    encoding: str
    cell_format: CellFormat


class HorizonDataset(Dataset):
    """Base class of data sets with targets (B, P, F), whose predictions are tables with one row per step."""

    def decode_prediction(self, prediction: Prediction, split: Split, first: int) -> DecodedPrediction:
        return DecodedPrediction(forecast_table.make_table(prediction, split, self.info, first))


class ForecastDataset(HorizonDataset):
    """Base class of data sets whose models predict the next steps of a series from the last ones.

    A prediction has one row per predicted step: ``origin``, the time of the last step of the history, ``step`` from 1
    to the horizon, ``time`` (or ``row``, for a series without timestamps), and one column per series in the units of
    the file.
    """

    has_independent_rows: ClassVar[bool] = False  # those of a request are one history

    @property
    @abstractmethod
    def file_format(self) -> SeriesFileFormat:
        """Format of other files."""

    @property
    @abstractmethod
    def schema(self) -> SeriesSchema:
        """Columns, scales and rhythm of the training series."""

    @property
    def gaps(self) -> Gaps:
        """How missing values are treated."""
        gaps: Gaps = self.options.get("gaps", "error")
        return gaps

    def complete_info(self, info: DatasetInfo) -> DatasetInfo:
        if info.target.channel_names or self.fitted is None:
            return info
        # A checkpoint before format 4, which has no names and moments.
        schema = self.schema
        names = [str(key) if isinstance(key, str) else f"column {key}" for key in schema.columns]
        target = windows.channel_info(names, schema.moments)
        if len(names) == 1:
            target = replace(target, scale=schema.moments["std"][0], mean=schema.moments["mean"][0])
        return replace(info, target=target)

    def read(self, path: str) -> WindowSplit:
        return next(self.read_chunks(path))

    def read_chunks(
        self,
        path: str,
        with_targets: bool = False,
        rolling: bool = False,
        stride: PositiveInt | None = None,
        gaps: Literal["error", "interpolate", "drop"] | None = None,
    ) -> Iterator[WindowSplit]:
        """Read the history in another file: its last steps, or every window of it.

        Args:
            path: Delimited text file with the columns of the training file, in any order.
            with_targets: Read every window with the steps that follow it, as in the test split.
            rolling: Forecast from every step of the file that has a history, not only from the last one.
            stride: Number of steps between the origins of rolling forecasts; None for 1.
            gaps: Missing values: refuse them, interpolate them linearly, or skip rolling forecasts from them; None does
                as in training.

        Raises:
            DataError: The file is shorter than the history, is not a regularly sampled series with the same columns, or
                has missing values; or ``stride`` is given without rolling forecasts.
        """
        table_format, schema = self.file_format, self.schema
        table = delimited.read(
            path,
            "input",
            table_format.delimiter,
            table_format.header,
            table_format.encoding,
            (*schema.names, *schema.columns, schema.time),
        )
        split = self._encode_windows(
            schema,
            table,
            table_format.cell_format,
            gaps or self.gaps,
            horizon=self.info.sizes["horizon"] if with_targets else 0,
            stride=_choose_stride(stride, is_rolling=rolling or with_targets),
        )
        return split.iter_chunks(max(1, CHUNK_VALUES // (split.horizon * split.series.shape[1])))

    def describe_encoding(self) -> dict[str, Any]:
        file_format, schema, sizes = self.file_format, self.schema, self.info.sizes
        return {
            "program": "series",
            "output_dims": 3,
            "schema": asdict(schema),
            "cells": file_format.cell_format.to_options(),
            "delimiter": file_format.delimiter,
            "header": file_format.header,
            "text_encoding": file_format.encoding,
            "gaps": self.gaps,
            "history": sizes["seq_len"],
            "horizon": sizes["horizon"],
        }

    def encode_rows(
        self,
        rows: Any,
        rolling: bool = False,
        stride: PositiveInt | None = None,
        gaps: Literal["error", "interpolate", "drop"] | None = None,
    ) -> WindowSplit:
        """Encode a history in memory, from whose end a forecast is made.

        Args:
            rows: Array (T, F) or (T,), data frame, mapping of columns, or list of mappings, one per step. The index of
                a data frame, or the time column of the training file, has the timestamps, if any.
            rolling: Forecast from every step that has a history, not only from the last one.
            stride: Number of steps between the origins of rolling forecasts; None for 1.
            gaps: Missing values, as in ``read_chunks``.

        Raises:
            DataError: The rows are fewer than the history, or as for a file.
        """
        memory = series_rows.make_series(rows, self.schema, self.file_format.cell_format)
        return self._encode_windows(
            memory.schema,
            memory.table,
            memory.cell_format,
            gaps or self.gaps,
            stride=_choose_stride(stride, is_rolling=rolling),
            to_time=memory.to_time,
        )

    def row_schema(self) -> dict[str, Any]:
        schema = self.schema
        names = [str(schema.name_column(key)) for key in schema.columns]
        properties: dict[str, Any] = {name: {"type": ["number", "null"]} for name in names}
        if schema.time is not None:
            properties |= {str(schema.name_column(schema.time)): {"type": ["string", "number"]}}
        return {"type": "object", "properties": properties, "required": names, "description": "one step of the history"}

    def _encode_windows(
        self,
        schema: SeriesSchema,
        table: Table,
        cell_format: CellFormat,
        gaps: Gaps,
        *,
        horizon: int = 0,
        stride: int | None = None,
        to_time: ToTime | None = None,
    ) -> WindowSplit:
        """Return the windows of a table.

        Args:
            schema: Schema of the training series.
            table: The table.
            cell_format: Format of its cells.
            gaps: How missing values are treated.
            horizon: Number of target steps of a window; 0 for windows without targets.
            stride: Number of steps between windows; None for the last window alone.
            to_time: Conversion of timestamps to the names of steps; None keeps their text.
        """
        history, horizon_steps = self.info.sizes["seq_len"], self.info.sizes["horizon"]
        fill = gaps == "interpolate"
        checked_gaps: Gaps = "error" if stride is None and gaps == "drop" else gaps
        values, index = encode_series(
            schema, table, cell_format, checked_gaps, history, horizon, uses_all=stride is not None
        )
        series = torch.from_numpy(values)
        index = replace(index, to_time=None if to_time is None else partial(to_time, index.grid))
        if not horizon:
            check_continuation(table, index, len(values), horizon_steps)
        if stride is None:
            check_values(table, schema, values)
            starts = torch.zeros(1, dtype=torch.long)
        else:
            starts = _select_starts(table, series, history, horizon, stride, fill=fill)
        return WindowSplit(series, history, horizon_steps, starts, fill, index, has_targets=horizon > 0)


def _choose_stride(stride: int | None, *, is_rolling: bool) -> int | None:
    """Return the number of steps between forecasts; None for one forecast from the end."""
    if stride is not None and not is_rolling:
        raise DataError("input: stride is the distance of rolling forecasts; it needs rolling=true")
    return (stride or 1) if is_rolling else None


def _select_starts(table: Table, series: Tensor, history: int, horizon: int, stride: int, *, fill: bool) -> Tensor:
    """Return the starts of usable windows, and log how many are skipped. Raises DataError if none is left."""
    usable = windows.find_usable_starts(series, history, horizon, fill)
    starts = usable[usable % stride == 0]
    num_windows = (len(series) - history - horizon) // stride + 1
    if not len(starts):
        raise DataError(f"input: every window of {history + horizon} rows in {table.path} has missing values")
    if len(starts) < num_windows:
        skipped = format_count(num_windows - len(starts), "window")
        log.warning("%s: %s of %s skipped because of missing values", table.path, skipped, f"{num_windows:,}")
    return starts
