"""Tables of predictions and of their evaluation in the terminal."""

from __future__ import annotations

import io
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from trainer.viz import interval_tables, preview_table


class Scores(NamedTuple):
    scores: dict[str, float]
    intervals: dict[str, tuple[float, float]]

    def count_class(self, index: int) -> int:
        return index + 1


def render(table: Table) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=80, markup=False).print(table)
    return [line.rstrip() for line in file.getvalue().splitlines()]


def test_cells_stay_on_their_line_and_do_not_control_the_terminal() -> None:
    lines = render(preview_table.build_preview_table({"text": ["a\nb\t\x1b[31m", "second"]}, 80))
    assert [line for line in lines if "second" in line or "b" in line] == [r"a\nb\t\x1b[31m", "second"]


def test_classes_have_a_second_line_only_for_intervals() -> None:
    members = {"f1": ["f1_a", "f1_b"]}
    scores = {"f1_a": 0.5, "f1_b": 0.75}

    def count_lines(intervals: dict[str, tuple[float, float]]) -> int:
        _, table = interval_tables.build_interval_tables(Scores(scores, intervals), ["a", "b"], members)
        return len(render(table))

    assert count_lines(dict.fromkeys(scores, (0.25, 1.0))) == count_lines({}) + 2
