"""Time series from tables: regular time grids, missing values and chronological splits."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import count

import numpy as np

from trainer.core.dataset import Dataset
from trainer.core.dataset_info import DatasetInfo
from trainer.core.preprocessing import Preprocessing
from trainer.data.encoding import column_checks, seasonality, timestamps
from trainer.data.encoding.table_encoder import describe_bad_cell
from trainer.data.encoding.time_formats import find_format
from trainer.data.readers import table_summary
from trainer.data.readers.cell_parsing import CellFormat
from trainer.data.readers.delimited import Table
from trainer.data.readers.text_file import quote_cell
from trainer.data.splits import split_boundaries, windows
from trainer.utils.errors import DataError

MAX_MISSING_RATIO = 10
"""Maximum ratio of time steps to rows; beyond it, a timestamp is more likely wrong than rows missing."""


def choose_columns(table: Table, columns: Sequence[str | int] | None, time: int | None) -> list[int]:
    """Return the positions of the columns to read and predict: the given ones, or all except the time.

    Raises:
        DataError: A column is given twice or is the time column.
    """
    all_columns = [place for place in range(len(table.names)) if place != time]
    selected = all_columns if columns is None else [table.find_column(key, "columns") for key in columns]
    if not selected:
        raise DataError(f"columns: {table.path} has no columns left to predict")
    if len({*selected, time}) <= len(selected):
        raise DataError("columns and time: the same column is given twice")
    return selected


def read_numeric_columns(table: Table, columns: Collection[int], reading: CellFormat) -> np.ndarray:
    """Parse columns as numbers (T, C) float64, NaN for a missing value.

    Raises:
        DataError: A column has texts, no values or row numbers, or a cell is neither a number nor missing.
    """
    values = {place: reading.parse_numbers(table.columns[place]) for place in columns}
    unfit = {
        place: problem for place in columns if (problem := _describe_unfit_column(table, place, values[place], reading))
    }
    good = [place for place in columns if place not in unfit]
    advice = [f"data.columns={table.column_keys(good)} excludes {'it' if len(unfit) == 1 else 'them'}"] if good else []
    broken = [place for place in good if np.isinf(values[place]).any()]
    if unfit or broken:
        cells = [describe_bad_cell(table, place, ~np.isinf(values[place]), reading) for place in broken]
        hint = ["data.missing lists the texts for missing values"] if broken else []
        if broken and np.isinf(values[broken[0]][0]) and not table.has_header:
            hint = ["if this row is a header, set data.header=true"]
        raise DataError(*unfit.values(), *(advice if unfit else []), *cells, *hint)
    return np.stack(list(values.values()), axis=1)


def _describe_unfit_column(table: Table, place: int, values: np.ndarray, reading: CellFormat) -> str | None:
    """Describe why a column cannot be a numeric series; None if it can."""
    cells, named = table.columns[place], f"{table.path}: column {table.names[place]!r}"
    texts = np.isinf(values)
    if np.isnan(values).all():
        return f"{named} is empty"
    if not texts.any():
        column_checks.warn_about_mixed_decimals(table, place, reading)
        return f"{named} is unnamed and holds row numbers" if table.is_index_column(place) else None
    signs = reading.suggest_number_format(cells)
    if signs is not None:
        return f"{named} holds {signs}"
    if texts.sum() < np.isfinite(values).sum():
        return None
    way = find_format([cell for cell in dict.fromkeys(cells) if not reading.is_gap(cell)])
    pattern = f' data.time_format="{way}"' if way else ""
    time = "" if way is None else f"; is it data.time={table.column_key(place)}{pattern}?"
    return f"{named} holds texts such as {quote_cell(cells[int(np.argmax(texts))])}{time}"


def reindex_to_grid(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Place rows (T, C) on a regular time grid; missing steps are rows of NaN."""
    grid = np.full((int(places[-1]) + 1, values.shape[1]), np.nan)
    grid[places] = values
    return grid


def describe_missing_rows(table: Table, time: int, places: np.ndarray) -> list[str]:
    """Describe missing rows, with the rows around the first missing block.

    Raises:
        DataError: Nearly all rows are missing.
    """
    jumps = np.flatnonzero(np.diff(places) > 1)
    if not len(jumps):
        return []
    steps = np.diff(places)[jumps] - 1
    absent = int(steps.sum())
    is_too_sparse = absent > MAX_MISSING_RATIO * len(places)
    at = int(steps.argmax()) if is_too_sparse else 0
    row, stamp = int(jumps[at]), table.columns[time]
    problem = (
        f"{table.describe_cell(row + 1, time)}: {_pluralize(int(steps[at]), 'row')} missing between {stamp[row]} and"
        f" {stamp[row + 1]}; {absent} missing in all, at {_pluralize(len(jumps), 'place')}"
    )
    if is_too_sparse:
        raise DataError(f"{problem}, and only {len(places)} present; {timestamps.EVEN_SPACING_HINT}")
    return [f"{problem} ({timestamps.EVEN_SPACING_HINT})"]


def describe_missing_values(table: Table, columns: Sequence[int], time: int | None, values: np.ndarray) -> list[str]:
    """Describe the missing values (NaN) of each column that has some."""
    problems = []
    for column, place in enumerate(columns):
        rows = np.flatnonzero(np.isnan(values[:, column]))
        if len(rows):
            row = int(rows[0])
            run = next(n for n in count(1) if n == len(rows) or rows[n] != row + n)
            stamp = None if time is None else table.columns[time]
            until = f" to {stamp[row + run - 1]}" if stamp and run > 1 else ""
            when = "" if stamp is None else f" at {stamp[row]}{until}"
            problems.append(
                f"{table.describe_cell(row, place)}: missing value ({quote_cell(table.columns[place][row])}){when};"
                f" {_pluralize(len(rows), 'such cell')} in the column"
            )
    return problems


def _pluralize(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


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
    reading: Sequence[str] = (),
    names: Sequence[str] = (),
) -> None:
    """Set splits and info of a data set from a series (T, C) in which NaN is a missing value.

    Splits are chronological. Scores are in the original units where there is one column, else in standard deviations of
    the training rows.

    Args:
        fill: Interpolate missing values linearly within a window; otherwise windows with missing values are skipped.
            Missing values are never targets.
        reading: Column summaries.
        names: Column names.

    Raises:
        DataError: The series is too short or has too many missing values.
    """
    rows = len(values)
    if not _check_length(rows, history, horizon, val, test):
        least = next(n for n in count(rows + 1) if _check_length(n, history, horizon, val, test))
        raise DataError(
            f"history {history} and horizon {horizon}, with fractions of {val:g} for validation and {test:g} for"
            f" test, need {least} rows; there are {rows}"
        )
    # Rows after the last row of a saved run are test rows.
    first_val, first_test = split_boundaries.locate_in_series(
        fitted, values, lambda: list(_split_ends(rows, val, test)[:2])
    )
    ends = (first_val, first_test, rows)
    if np.isnan(values[: ends[0]]).all(0).any():
        raise DataError(f"a column has no number in the {ends[0]} training rows")
    moments = fitted.get_or_fit("scale", lambda: windows.column_moments(values[: ends[0]]))
    series, std = windows.standardize_series(values, moments)
    first, second, third = windows.chronological_splits(series, ends, history, horizon, fill)
    data.train, data.val, data.test = first, second, third
    scale = float(std[0]) if len(std) == 1 else 1.0
    # Estimated on training rows only, as the baseline may not use later ones.
    seasonal_period = period or seasonality.find_period(series[: ends[0]].double().numpy(), history, horizon)
    baseline, rule = windows.best_naive_scores(third, {1, seasonal_period}, scale)
    table_summary.log_lines([f"baseline: {seasonality.describe_seasonal_rule(rule)}"])
    data.info = DatasetInfo(
        sizes=windows.forecast_sizes(first),
        baseline=baseline,
        file_summary=reading,
        baseline_rule=seasonality.describe_seasonal_rule(rule),
        target=replace(
            windows.channel_info(names, moments),
            scale=scale,
            mean=float(np.nanmean(values[: ends[0]])) if len(std) == 1 else None,
        ),
    )


def _split_ends(rows: int, val: float, test: float) -> tuple[int, int, int]:
    before_test = rows - round(rows * test)
    return before_test - round(rows * val), before_test, rows


def _check_length(rows: int, history: int, horizon: int, val: float, test: float) -> bool:
    train, before_test, _ = _split_ends(rows, val, test)
    return train >= history + horizon and min(before_test - train, rows - before_test) >= horizon
