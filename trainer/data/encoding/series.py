"""A long series from a table: columns of numbers over even time, whose gaps are named, read over or left out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import count

import numpy as np

from trainer.core.dataset import Dataset, DatasetInfo
from trainer.core.preprocessing import Preprocessing
from trainer.data.encoding import column_checks, seasonality, timestamps
from trainer.data.encoding.table_encoder import describe_bad_cell
from trainer.data.encoding.time_formats import find_format
from trainer.data.readers import table_summary
from trainer.data.readers.cell_parsing import CellFormat
from trainer.data.readers.delimited import Table
from trainer.data.readers.text_file import quote_cell
from trainer.data.splits import split_boundaries, windows
from trainer.utils.errors import ConfigError

MAX_MISSING_RATIO = 10
"""How many times as many steps as rows a file may span: beyond, a stamp is wrong rather than rows missing."""


def choose_columns(table: Table, columns: Sequence[str | int] | None, time: int | None) -> list[int]:
    """The places of the columns to read and predict: those asked for, or all but the time.

    Raises ConfigError for a column asked for twice, or that is the time.
    """
    every = [place for place in range(len(table.names)) if place != time]
    chosen = every if columns is None else [table.find_column(key, "data.columns") for key in columns]
    if not chosen:
        raise ConfigError(f"data.columns: {table.path} has no column left to predict")
    if len({*chosen, time}) <= len(chosen):
        raise ConfigError("data.columns and data.time: one column is named twice")
    return chosen


def read_numeric_columns(table: Table, columns: Collection[int], reading: CellFormat) -> np.ndarray:
    """The columns as numbers (T, C) float64, NaN for a gap.

    Raises ConfigError for columns of texts, without a value, or that only count the rows, and for cells that are no
    number and no gap.
    """
    values = {place: reading.parse_numbers(table.columns[place]) for place in columns}
    wrong = {
        place: problem for place in columns if (problem := _describe_unfit_column(table, place, values[place], reading))
    }
    good = [place for place in columns if place not in wrong]
    advice = (
        [f"data.columns={table.column_keys(good)} leaves {'it' if len(wrong) == 1 else 'them'} out"] if good else []
    )
    broken = [place for place in good if np.isinf(values[place]).any()]
    if wrong or broken:
        cells = [describe_bad_cell(table, place, ~np.isinf(values[place]), reading) for place in broken]
        hint = ["data.missing lists the texts that stand for a gap"] if broken else []
        if broken and np.isinf(values[broken[0]][0]) and not table.has_header:
            hint = ["is it a header? data.header=true says so"]
        raise ConfigError(*wrong.values(), *(advice if wrong else []), *cells, *hint)
    return np.stack(list(values.values()), axis=1)


def _describe_unfit_column(table: Table, place: int, values: np.ndarray, reading: CellFormat) -> str | None:
    """Why a column cannot be predicted."""
    cells, named = table.columns[place], f"{table.path}: column {table.names[place]!r}"
    texts = np.isinf(values)
    if np.isnan(values).all():
        return f"{named} is empty"
    if not texts.any():
        column_checks.warn_about_mixed_decimals(table, place, reading)
        return f"{named} has no name and numbers the rows" if table.is_index_column(place) else None
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
    """Rows (T, C) at their steps of even time; a step without a row is a row of NaN."""
    grid = np.full((int(places[-1]) + 1, values.shape[1]), np.nan)
    grid[places] = values
    return grid


def describe_missing_rows(table: Table, time: int, places: np.ndarray) -> list[str]:
    """Where rows are missing, in a sentence that names the rows before and after the first such place.

    Raises ConfigError where that is nearly everywhere.
    """
    jumps = np.flatnonzero(np.diff(places) > 1)
    if not len(jumps):
        return []
    steps = np.diff(places)[jumps] - 1
    absent = int(steps.sum())
    hopeless = absent > MAX_MISSING_RATIO * len(places)
    at = int(steps.argmax()) if hopeless else 0
    row, stamp = int(jumps[at]), table.columns[time]
    told = (
        f"{table.describe_cell(row + 1, time)}: {_pluralize(int(steps[at]), 'row')} missing between {stamp[row]} and"
        f" {stamp[row + 1]}; {absent} missing in all, at {_pluralize(len(jumps), 'place')}"
    )
    if hopeless:
        raise ConfigError(f"{told}, and only {len(places)} there; {timestamps.EVEN_SPACING_HINT}")
    return [f"{told} ({timestamps.EVEN_SPACING_HINT})"]


def describe_missing_values(table: Table, columns: Sequence[int], time: int | None, values: np.ndarray) -> list[str]:
    """Cells without a number (NaN), a sentence for each column that has some."""
    told = []
    for column, place in enumerate(columns):
        rows = np.flatnonzero(np.isnan(values[:, column]))
        if len(rows):
            row = int(rows[0])
            run = next(n for n in count(1) if n == len(rows) or rows[n] != row + n)
            stamp = None if time is None else table.columns[time]
            until = f" to {stamp[row + run - 1]}" if stamp and run > 1 else ""
            when = "" if stamp is None else f" at {stamp[row]}{until}"
            told.append(
                f"{table.describe_cell(row, place)}: a gap ({quote_cell(table.columns[place][row])}){when};"
                f" {_pluralize(len(rows), 'such cell')} in the column"
            )
    return told


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
    """Gives a data set its splits and facts, from a series (T, C) in which NaN is a gap.

    ``fill`` reads over gaps by straight lines between the values of a window, else windows that hold one are left out.
    A gap is never predicted. ``names`` are those of the columns.

    Training rows come first and test rows last; scores are in the data's own units where there is one column, else
    in the deviations of the training rows.

    Raises ConfigError for a series that is too short, or has too many gaps.
    """
    rows = len(values)
    if not _check_length(rows, history, horizon, val, test):
        least = next(n for n in count(rows + 1) if _check_length(n, history, horizon, val, test))
        raise ConfigError(
            f"data: history {history} and horizon {horizon}, with shares of {val:g} for validation and {test:g} for"
            f" testing, need {least} rows; there are {rows}"
        )
    # What comes behind the last row of a stored run is for testing.
    first_val, first_test = split_boundaries.locate_in_series(
        fitted, values, lambda: list(_split_ends(rows, val, test)[:2])
    )
    ends = (first_val, first_test, rows)
    if np.isnan(values[: ends[0]]).all(0).any():
        raise ConfigError(f"data: a column has no number in the {ends[0]} rows for training")
    scale_of = fitted.get_or_fit("scale", lambda: windows.column_moments(values[: ends[0]]))
    series, spread = windows.standardize_series(values, scale_of)
    first, second, third = windows.chronological_splits(series, ends, history, horizon, fill)
    data.train, data.val, data.test = first, second, third
    scale = float(spread[0]) if len(spread) == 1 else 1.0
    # The data's own period: of the training rows, as a user of the rule would find it.
    known = period or seasonality.find_period(series[: ends[0]].double().numpy(), history, horizon)
    baseline, rule = windows.best_naive_scores(third, {1, known}, scale)
    table_summary.log_lines([f"baseline: {seasonality.describe_seasonal_rule(rule)}"])
    data.info = DatasetInfo(
        sizes=windows.forecast_sizes(first),
        baseline=baseline,
        target_scale=scale,
        column_summaries=reading,
        baseline_rule=seasonality.describe_seasonal_rule(rule),
        target_mean=float(np.nanmean(values[: ends[0]])) if len(spread) == 1 else None,
        **windows.channel_info(names, scale_of),
    )


def _split_ends(rows: int, val: float, test: float) -> tuple[int, int, int]:
    before_test = rows - round(rows * test)
    return before_test - round(rows * val), before_test, rows


def _check_length(rows: int, history: int, horizon: int, val: float, test: float) -> bool:
    train, before_test, _ = _split_ends(rows, val, test)
    return train >= history + horizon and min(before_test - train, rows - before_test) >= horizon
