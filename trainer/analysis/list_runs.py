"""Lists of runs: selected by a condition, sorted by a key, written to a file."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence, Set
from functools import partial
from pathlib import Path
from typing import Any

from trainer.analysis import run_query
from trainer.analysis.run_query import MISSING
from trainer.analysis.run_record import RunRecord
from trainer.utils import atomic_write
from trainer.utils.csv_lines import make_csv_writer
from trainer.utils.errors import ConfigError
from trainer.utils.suggest import did_you_mean, format_suggestion

SCORE_GROUPS = ("test", "val", "baseline", "best_possible")
RESULT_KEYS = (
    *("seed", "device", "threads", "epochs", "steps", "seconds", "params", "best_epoch", "monitor", "reason"),
    "debug",
)
OWN_KEYS = ("run", "status", "date", "tag", "score")
COLUMNS = ("run", "status", "date", "tag", "model", "data", "task", *RESULT_KEYS)
"""Columns of a file before its scores."""


def list_keys(record: RunRecord) -> set[str]:
    """Return the keys that a condition on a run may have."""
    scores = {f"{group}.{name}" for group in SCORE_GROUPS for name in record.results.get(group, {})}
    metrics = {name for group in ("test", "val") for name in record.results.get(group, {})}
    return {*OWN_KEYS, *RESULT_KEYS, *record.results["options"], *scores, *metrics, *record.config}


def look_up(record: RunRecord, key: str) -> Any:
    """Return the value of a key of a run: an option, a result, a score, or a key of the configuration.

    A metric without ``test.`` or ``val.`` is that of the test rows, or of the validation rows if the run has not been
    tested.

    Args:
        record: The run.
        key: The key.

    Returns:
        The value, or ``MISSING``.
    """
    values = record.results
    if key == "score":
        key = record.monitor
    own: Mapping[str, Any] = {
        "run": str(record.path),
        "status": record.status,
        "date": record.started_at,
        "tag": record.tags,
    }
    for source in (
        own,
        values["options"],
        {name: values[name] for name in RESULT_KEYS if values.get(name) is not None},
    ):
        if key in source:
            return source[key]
    group, _, name = key.partition(".")
    sources = [values.get(group, {})] if group in SCORE_GROUPS else [values.get("test", {}), values.get("val", {})]
    for scores in sources:
        if (name or key) in scores:
            return scores[name or key]
    return record.config.get(key, MISSING)


def select_runs(records: Sequence[RunRecord], where: str | None, sort: str | None) -> list[RunRecord]:
    """Select runs by a condition and sort them by a key, scores from the best to the worst.

    Args:
        records: The runs.
        where: The condition; None for all.
        sort: Key to sort by, with ``-`` before it for the opposite order; None leaves the order.

    Raises:
        ConfigError: The condition is invalid, or no run has a key.
    """
    condition = None if where is None else run_query.parse_condition(where)
    sort_key = (sort or "").removeprefix("-")
    keys = [*([] if condition is None else run_query.list_keys(condition)), *filter(None, [sort_key])]
    _check_keys(keys, records)
    selected = [each for each in records if condition is None or condition.evaluate(partial(look_up, each)) is True]
    return selected if sort is None else sort_runs(selected, sort)


def sort_runs(records: Iterable[RunRecord], sort: str) -> list[RunRecord]:
    """Sort runs by a key; those without it come last.

    Args:
        records: The runs.
        sort: The key: metrics of which higher is better are sorted downward, everything else upward; ``-`` before it
            turns the order around.
    """
    key, is_reversed = sort.removeprefix("-"), sort.startswith("-")
    values = [(look_up(record, key), record) for record in records]
    present = [(value, record) for value, record in values if _is_present(value)]
    absent = [record for value, record in values if not _is_present(value)]
    metrics = [record.monitor if key == "score" else key.rpartition(".")[2] for _, record in present]
    pairs = zip(metrics, present, strict=True)
    directions = {record.results.get("higher_is_better", {}).get(name, False) for name, (_, record) in pairs}
    numbers = [value for value, _ in present if isinstance(value, int | float)]
    if len(numbers) == len(present):
        ordered = sorted(present, key=lambda pair: pair[0], reverse=(directions == {True}) != is_reversed)
    else:
        ordered = sorted(present, key=lambda pair: run_query.format_value(pair[0]), reverse=is_reversed)
    return [record for _, record in ordered] + absent


def _is_present(value: Any) -> bool:
    return value is not MISSING and not (isinstance(value, float) and math.isnan(value))


def _check_keys(keys: Sequence[str], records: Sequence[RunRecord]) -> None:
    """Raise ConfigError for keys that no run has: a typo would select nothing without a word."""
    if not records:
        return
    known = {key for record in records for key in list_keys(record)}
    problems = []
    for key in keys:
        if key not in known:
            longer = sorted(name for name in known if name.endswith(f".{key}"))[:5]
            hint = format_suggestion(longer) if longer else did_you_mean(key, sorted(known))
            problems.append(f"{key}: no run has this key{hint or _describe_keys(records, known)}")
    if problems:
        raise ConfigError(*problems)


def _describe_keys(records: Sequence[RunRecord], known: Set[str]) -> str:
    """Return the keys that runs have, with examples of those of the configuration and of the splits."""
    scores = [record.results.get(group, {}) for record in records for group in ("test", "val")]
    metrics = sorted({name for each in scores for name in each})
    options = sorted({name for record in records for name in record.results["options"]})
    names = dict.fromkeys([*OWN_KEYS, *metrics, *RESULT_KEYS, *options])
    examples = [key for key in ("optimizer.lr", *(f"val.{name}" for name in metrics)) if key in known][:2]
    such_as = f", such as {' and '.join(examples)}" if examples else ""
    return f"; keys are {', '.join(names)}, and those of the configuration and of the splits{such_as}"


def write_file(records: Sequence[RunRecord], path: Path) -> None:
    """Write the results of runs to a file.

    Args:
        records: The runs.
        path: File to write: ``.csv`` or ``.json``.

    Raises:
        ConfigError: The suffix is another one.
        SystemFault: The file cannot be written.
    """
    if path.suffix not in (".csv", ".json"):
        raise ConfigError(f"output: {path} given; a file is .csv or .json")
    rows = [_make_row(record) for record in records]
    columns = [*dict.fromkeys([*COLUMNS, *(key for row in rows for key in row)])]
    if path.suffix == ".json":
        text = json.dumps(rows, indent=2, allow_nan=False) + "\n"
    else:
        buffer = io.StringIO()
        writer = make_csv_writer(buffer)
        writer.writerow(columns)
        writer.writerows([_format_cell(row.get(column)) for column in columns] for row in rows)
        text = buffer.getvalue()
    atomic_write.write_text(path, text)


def _make_row(record: RunRecord) -> dict[str, Any]:
    row = {column: look_up(record, column) for column in COLUMNS}
    for group in SCORE_GROUPS:
        row |= {f"{group}.{name}": value for name, value in record.results.get(group, {}).items()}
    row["overrides"] = list(record.results["overrides"])
    return {key: None if not _is_present(value) else value for key, value in row.items()}


def _format_cell(value: Any) -> str:
    if value is None:
        return ""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
