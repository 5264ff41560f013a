"""Time series from tables: regular time grids, missing values and chronological splits."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import count

import numpy as np

from trainer.core.dataset import Dataset
from trainer.core.dataset_info import DatasetInfo, TargetInfo
from trainer.core.preprocessing import Preprocessing
from trainer.data.encoding import column_checks, seasonality
from trainer.data.encoding.cell_messages import describe_bad_cell
from trainer.data.encoding.series_index import ROW_NUMBERS, SeriesIndex
from trainer.data.encoding.time_formats import find_format
from trainer.data.readers import table_summary
from trainer.data.readers.cell_parsing import CellFormat
from trainer.data.readers.table import Table
from trainer.data.readers.text_file import quote_cell
from trainer.data.splits import split_boundaries, windows
from trainer.utils.errors import DataError
from trainer.utils.text import join_names


def choose_columns(table: Table, columns: Sequence[str | int] | None, time: int | None) -> list[int]:
    """Return the positions of the columns to read and predict: the given ones, or all except the time.

    Args:
        table: Table of the series.
        columns: Names or numbers of the columns; None for all.
        time: Position of the time column, if any.

    Raises:
        DataError: A column is given twice or is the time column.
    """
    all_columns = [index for index in range(len(table.names)) if index != time]
    selected = all_columns if columns is None else [table.find_column(key, "columns") for key in columns]
    if not selected:
        raise DataError(f"columns: {table.path} has no columns left to predict")
    if len({*selected, time}) <= len(selected):
        raise DataError("columns and time: the same column is given twice")
    return selected


def get_or_fit_columns(fitted: Preprocessing, table: Table, selected: Sequence[int], time: int | None) -> list[int]:
    """Return the positions of the columns in the order of a run, or else as selected, and store their names.

    Args:
        fitted: Preprocessing, which stores the columns of a run.
        table: Table of the series.
        selected: Positions of the selected columns.
        time: Position of the time column, if any.
    """
    names = [table.names[column] if table.has_header else column for column in selected]

    def find_mismatch(saved_names: Sequence[str | int]) -> str:
        saved_texts, texts = [str(name) for name in saved_names], [str(name) for name in names]
        is_same = sorted(saved_texts) == sorted(texts)
        return "" if is_same else f"columns {join_names(texts, 5)} instead of {join_names(saved_texts, 5)}"

    return choose_columns(table, fitted.get_or_fit("columns", lambda: names, find_mismatch), time)


def read_numeric_columns(table: Table, columns: Collection[int], cell_format: CellFormat) -> np.ndarray:
    """Parse columns as numbers (T, C) float64, NaN for a missing value.

    Args:
        table: Table of the series.
        columns: Positions of the columns.
        cell_format: Format of the cells.

    Raises:
        DataError: A column has texts, no values or row numbers, or a cell is neither a number nor missing.
    """
    values = {index: cell_format.parse_numbers(table.columns[index]) for index in columns}
    problems = {
        index: problem
        for index in columns
        if (problem := _describe_unfit_column(table, index, values[index], cell_format))
    }
    usable = [index for index in columns if index not in problems]
    advice = (
        [f"data.columns={table.column_keys(usable)} excludes {'it' if len(problems) == 1 else 'them'}"]
        if usable
        else []
    )
    with_text = [index for index in usable if np.isinf(values[index]).any()]
    if problems or with_text:
        cells = [describe_bad_cell(table, index, ~np.isinf(values[index]), cell_format) for index in with_text]
        hint = ["data.missing lists the texts for missing values"] if with_text else []
        if with_text and np.isinf(values[with_text[0]][0]) and not table.has_header:
            hint = ["if this row is a header, set data.header=true"]
        raise DataError(*problems.values(), *(advice if problems else []), *cells, *hint)
    return np.stack(list(values.values()), axis=1)


def _describe_unfit_column(table: Table, index: int, values: np.ndarray, cell_format: CellFormat) -> str | None:
    """Describe why a column cannot be a numeric series; None if it can."""
    cells, label = table.columns[index], f"{table.path}: column {table.names[index]!r}"
    texts = np.isinf(values)
    if np.isnan(values).all():
        return f"{label} is empty"
    if not texts.any():
        column_checks.warn_about_mixed_decimals(table, index, cell_format)
        return f"{label} is unnamed and holds row numbers" if table.is_index_column(index) else None
    format_hint = cell_format.suggest_number_format(cells)
    if format_hint is not None:
        return f"{label} holds {format_hint}"
    if texts.sum() < np.isfinite(values).sum():
        return None
    time_format = find_format([cell for cell in dict.fromkeys(cells) if not cell_format.is_gap(cell)])
    pattern = f' data.time_format="{time_format}"' if time_format else ""
    time = "" if time_format is None else f"; is it data.time={table.column_key(index)}{pattern}?"
    return f"{label} holds texts such as {quote_cell(cells[int(np.argmax(texts))])}{time}"


def reindex_to_grid(values: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Place rows (T, C) on a regular time grid; missing steps are rows of NaN.

    Args:
        values: Rows of the table, (T, C).
        steps: Time step of each row, (T,), ascending.
    """
    grid = np.full((int(steps[-1]) + 1, values.shape[1]), np.nan)
    grid[steps] = values
    return grid


def set_splits(
    data: Dataset,
    fitted: Preprocessing,
    values: np.ndarray,
    history: int,
    horizon: int,
    val: float,
    test: float,
    period: int | None,
    fill: bool,
    column_summaries: Sequence[str] = (),
    names: Sequence[str] = (),
    index: SeriesIndex = ROW_NUMBERS,
) -> None:
    """Set splits and info of a data set from a series (T, C) in which NaN is a missing value.

    Splits are chronological. Scores are in the original units where there is one column, else in standard deviations of
    the training rows.

    Args:
        data: Data set that is set.
        fitted: Preprocessing, which stores boundaries and scales of a run.
        values: Series, (T, C).
        history: Number of input steps.
        horizon: Number of forecast steps.
        val: Fraction of steps for validation.
        test: Fraction of steps for test.
        period: Seasonal period of the baseline; None to estimate it.
        fill: Interpolate missing values linearly within a window; otherwise windows with missing values are skipped.
            Missing values are never targets.
        column_summaries: Summary of each column.
        names: Column names.
        index: Names of the steps.

    Raises:
        DataError: The series is too short or has too many missing values.
    """
    ends = _find_ends(fitted, values, history, horizon, val, test)
    moments = fitted.get_or_fit(
        "scale", lambda: windows.column_moments(values[: ends[0]]), lambda _: fitted.rejections.get("columns", "")
    )
    series, std = windows.standardize_series(values, moments)
    splits = windows.chronological_splits(series, ends, history, horizon, fill, index)
    data.train, data.val, data.test = splits
    scale = float(std[0]) if len(std) == 1 else 1.0
    # Estimated on training rows only, as the baseline may not use later ones.
    seasonal_period = period or seasonality.find_period(series[: ends[0]].double().numpy(), history, horizon)
    baseline, rule = windows.best_naive_scores(splits[2], {1, seasonal_period}, scale)
    table_summary.log_lines([f"baseline: {seasonality.describe_seasonal_rule(rule)}"])
    data.info = DatasetInfo(
        sizes=windows.forecast_sizes(splits[0]),
        baseline=baseline,
        file_summary=column_summaries,
        baseline_rule=seasonality.describe_seasonal_rule(rule),
        target=_make_target_info(names, moments, scale, values[: ends[0]]),
    )


def _make_target_info(
    names: Sequence[str], moments: Mapping[str, Sequence[float]], scale: float, train_values: np.ndarray
) -> TargetInfo:
    """Describe the target: its channels, scale, and mean over the training rows where there is one column."""
    mean = float(np.nanmean(train_values)) if train_values.shape[1] == 1 else None
    return replace(windows.channel_info(names, moments), scale=scale, mean=mean)


def _find_ends(
    fitted: Preprocessing, values: np.ndarray, history: int, horizon: int, val: float, test: float
) -> tuple[int, int, int]:
    """Return the index after the last row of each split.

    Raises:
        DataError: The series is too short, or a column has no number in the training rows.
    """
    rows = len(values)
    if not _check_length(rows, history, horizon, val, test):
        min_rows = next(n for n in count(rows + 1) if _check_length(n, history, horizon, val, test))
        raise DataError(
            f"history {history} and horizon {horizon}, with fractions of {val:g} for validation and {test:g} for"
            f" test, need {min_rows} rows; there are {rows}"
        )
    # Rows after the last row of a saved run are test rows.
    first_val, first_test = split_boundaries.locate_in_series(
        fitted, values, lambda: list(_split_ends(rows, val, test)[:2])
    )
    if np.isnan(values[:first_val]).all(0).any():
        raise DataError(f"a column has no number in the {first_val} training rows")
    return first_val, first_test, rows


def _split_ends(rows: int, val: float, test: float) -> tuple[int, int, int]:
    before_test = rows - round(rows * test)
    return before_test - round(rows * val), before_test, rows


def _check_length(rows: int, history: int, horizon: int, val: float, test: float) -> bool:
    train, before_test, _ = _split_ends(rows, val, test)
    return train >= history + horizon and min(before_test - train, rows - before_test) >= horizon
