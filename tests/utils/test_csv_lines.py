"""CSV lines: every cell is read as it was written."""

from __future__ import annotations

import csv
import io

from trainer.utils.csv_lines import make_csv_writer

ROWS = [["a,b", 'say "x"', "two\nlines"], ["\r", "x\r", "\r\n"], ["", "日本語", "\t"]]


def test_cells_are_read_as_written_and_lines_end_with_a_line_feed() -> None:
    file = io.StringIO(newline="")
    make_csv_writer(file).writerows(ROWS)
    assert list(csv.reader(io.StringIO(file.getvalue(), newline=""), strict=True)) == ROWS
    assert file.getvalue().endswith("\t\n")
    assert file.getvalue().count("\r\n") == 1  # that of the cell
