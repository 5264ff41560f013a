"""Printed and JSON form of a comparison of settings."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich.table import Table
from rich.text import Text

from trainer.analysis.compare import ComparedSetting, Comparison, Difference
from trainer.stats.confidence_interval import LEVEL, MIN_SEEDS
from trainer.stats.paired_comparison import ALPHA, Verdict
from trainer.utils.text import escape_control_chars, format_count
from trainer.viz.console import console
from trainer.viz.score_tables import format_metric_name, format_number, new_table

FORMAT_VERSION = 1
"""Version of the JSON format."""


def show_comparison(comparison: Comparison) -> None:
    """Print the scores of settings side by side, and a verdict on each pair."""
    name = format_metric_name(comparison.metric.name)
    direction = "higher" if comparison.metric.higher_is_better else "lower"
    _print_text(f"{comparison.data}: {name}, {direction} is better")
    for number, setting in enumerate(comparison.settings):
        label = f"{setting.model} {setting.label}".rstrip()
        _print_text(f"{get_letter(number)}  {label}  ({setting.path})")
        if setting.missing_scores:
            _print_text(f"   {format_count(setting.missing_scores, 'seed')} without a score")
    console.print(_build_table(comparison))
    for difference in comparison.differences:
        for line in describe_difference(comparison, difference):
            _print_text(line)
    if comparison.without_rows:
        _print_text(f"no interval over test rows: {comparison.without_rows}")


def get_letter(number: int) -> str:
    """Return the short name of a setting: A, B, ..., and S27 from the 27th on."""
    return chr(ord("A") + number) if number < 26 else f"S{number + 1}"


def _print_text(text: str) -> None:
    console.print(Text(escape_control_chars(text)), overflow="fold")


def _build_table(comparison: Comparison) -> Table:
    """Build a table with a column of each setting and a row of each value, which fits narrow terminals."""
    rows = [["", "runs", "val", "test", "95 % over seeds", "95 % over rows", "params", "s"]]
    rows += [_list_cells(get_letter(number), setting) for number, setting in enumerate(comparison.settings)]
    others = comparison.settings[0].other_metrics
    for place, name in enumerate(others, 4):
        values = [setting.other_metrics.get(name) for setting in comparison.settings]
        cells = ["" if value is None else format_number(value) for value in values]
        for row, cell in zip(rows, [format_metric_name(name), *cells], strict=True):
            row.insert(place, cell)
    rows = [list(row) for row in zip(*rows, strict=True)]
    table = new_table(None)
    for name in rows[0]:
        table.add_column(name, justify="right" if name else "left", overflow="fold")
    for row in rows[1:]:
        if any(row[1:]):
            table.add_row(*row)
    return table


def _list_cells(letter: str, setting: ComparedSetting) -> list[str]:
    spread = "" if setting.std is None else f" {_plus_minus()} {format_number(setting.std)}"
    return [
        letter,
        str(len(setting.seeds)),
        format_number(setting.val),
        f"{format_number(setting.test)}{spread}",
        _format_interval(setting.over_seeds),
        _format_interval(setting.over_rows),
        f"{setting.params:,}",
        f"{setting.seconds:.1f}",
    ]


def _plus_minus() -> str:
    return "±" if console.encoding.lower().startswith("utf") else "+/-"


def _format_interval(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else " to ".join(format_number(bound) for bound in interval)


def describe_difference(comparison: Comparison, difference: Difference) -> Iterator[str]:
    """Yield sentences about a pair of settings: the verdict, and the differences with their intervals.

    Args:
        comparison: The comparison.
        difference: One of its differences.
    """
    pair = difference.pair
    first, second = get_letter(pair.first), get_letter(pair.second)
    yield f"{first} against {second}: {describe_verdict(difference)}"
    seeds = pair.seeds
    if seeds is not None and seeds.interval is not None:
        text = f"{seeds.num_seeds} pairs of the same seed" if seeds.is_paired else "seeds not paired"
        value = _format_signed(seeds.difference, seeds.interval)
        yield f"  over seeds: {first} - {second} = {value} at {100 * (1 - ALPHA):.0f} %, {text}"
    if difference.over_rows is not None and comparison.num_rows is not None:
        low, high = difference.over_rows
        rows = format_count(comparison.num_rows, "test row")
        meaning = "; other rows might change the sign" if low <= 0 <= high else ""
        yield f"  over {rows}: {first} - {second} in {low:+.4g} to {high:+.4g} at {100 * LEVEL:.0f} %{meaning}"


def _format_signed(value: float, interval: tuple[float, float]) -> str:
    return f"{value:+.4g} ({interval[0]:+.4g} to {interval[1]:+.4g})"


def describe_verdict(difference: Difference) -> str:
    """Return the verdict on the first setting of a pair, with its reason where it is none."""
    conclusion, seeds = difference.pair.conclusion, difference.pair.seeds
    if conclusion is None or seeds is None:
        return "a setting has no finite test score"
    if conclusion.verdict is not Verdict.MORE_SEEDS:
        return conclusion.verdict.value
    more = f"about {format_count(conclusion.more_seeds or 0, 'more seed')} of each needed"
    if seeds.num_seeds == 1:
        return f"undecided: one seed shows differences of the test rows, not of the settings; {more}"
    if seeds.num_seeds < MIN_SEEDS:
        return f"undecided: {seeds.num_seeds} seeds show no difference; {more}"
    return f"no difference shown yet; {more}"


def format_json(comparison: Comparison) -> str:
    """Return a comparison as JSON; bounds and scores that are not finite are null."""
    settings = [asdict(setting) for setting in comparison.settings]
    values = {
        "format_version": FORMAT_VERSION,
        "data": comparison.data,
        "metric": comparison.metric.name,
        "higher_is_better": comparison.metric.higher_is_better,
        "level": LEVEL,
        "difference_level": 1 - ALPHA,
        "alpha": ALPHA,
        "settings": settings,
        "differences": [_make_plain(difference) for difference in comparison.differences],
        "test_rows": comparison.num_rows,
        "without_rows": comparison.without_rows,
    }
    return json.dumps(_replace_nonfinite(values), indent=2, allow_nan=False) + "\n"


def _make_plain(difference: Difference) -> dict[str, Any]:
    pair = difference.pair
    seeds, conclusion = pair.seeds, pair.conclusion
    return {
        "first": pair.first,
        "second": pair.second,
        "difference": difference.value,
        "verdict": None if conclusion is None else conclusion.verdict.value,
        "more_seeds": None if conclusion is None else conclusion.more_seeds,
        "p_value": None if seeds is None else seeds.p_value,
        "adjusted_p_value": None if conclusion is None else conclusion.p_value,
        "paired_by_seed": None if seeds is None else seeds.is_paired,
        "seeds": None if seeds is None else seeds.num_seeds,
        "over_seeds": None if seeds is None else seeds.interval,
        "over_rows": difference.over_rows,
    }


def _replace_nonfinite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _replace_nonfinite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_replace_nonfinite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
