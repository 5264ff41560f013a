"""Writers of CSV files whose lines end with a line feed."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _csv import Writer


class _LineFeedFile:
    """Text file to which lines that end with a carriage return and a line feed are written with a line feed alone."""

    def __init__(self, file: TextIO):
        self._file = file

    def write(self, line: str) -> int:
        return self._file.write(f"{line[:-2]}\n")


def make_csv_writer(file: TextIO) -> Writer:
    """Return a writer that ends lines with a line feed and quotes cells that contain a carriage return.

    ``csv.writer(file, lineterminator="\\n")`` does not quote them before Python 3.13, and readers take them for two
    lines.

    Args:
        file: File that was opened with ``newline=""``.
    """
    return csv.writer(_LineFeedFile(file), lineterminator="\r\n")
