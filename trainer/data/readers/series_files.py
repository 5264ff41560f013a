"""Files with one series per case: ``.ts``, and text files of the UCR archive with one univariate series per line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainer.data.readers import file_listing, text_file, ts_format
from trainer.data.readers.ts_format import GAPS, UNKNOWN_CLASS, SeriesCases
from trainer.utils.errors import DataError
from trainer.utils.suggest import did_you_mean
from trainer.utils.text import join_names

TS_SUFFIX = ".ts"
LINE_SUFFIXES = (".tsv", ".txt", ".csv")
SUFFIXES = (TS_SUFFIX, *LINE_SUFFIXES)


def list_files(path: str, option: str) -> list[Path]:
    """Return the files that a path names: itself, or those in a folder, by name.

    Args:
        path: File or folder.
        option: Option named in error messages.

    Raises:
        DataError: The path does not exist, has another suffix, or is a folder without such files.
    """
    given = Path(path).expanduser()
    if given.is_dir():
        files = file_listing.list_files(given, SUFFIXES)
        if not files:
            raise DataError(f"{option}: {given.absolute()} has no {'/'.join(SUFFIXES)} files")
        return files
    file = text_file.check_regular_file(given, option)
    if file.suffix.lower() not in SUFFIXES:
        suggestion = did_you_mean(file.suffix.lower(), SUFFIXES)
        raise DataError(f"{option}: {file} given; the suffix must be one of {', '.join(SUFFIXES)}{suggestion}")
    return [file]


def read_cases(path: Path, option: str, classes: Sequence[str], has_labels: bool | None) -> SeriesCases:
    """Read all cases of a file, with their classes if it has them.

    A line of a text file has the class, if any, and the values, separated by tabs, commas or spaces; NaN at the end is
    padding.

    Args:
        path: File to read.
        option: Option named in error messages.
        classes: Known class names; numbers are compared by value.
        has_labels: Whether lines begin with the class; None if all of them begin with a known class.

    Raises:
        DataError: The file is empty or a case cannot be read; the message has file and line.
    """
    if path.suffix.lower() == TS_SUFFIX:
        return ts_format.read_cases(path, option, needs_classes=False)
    lines = text_file.read(path, option, expected_content="a text file of series").splitlines()
    rows = [(number, _split_line(line)) for number, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        raise DataError(f"{option}: {path.absolute()} is empty")
    first_cells = [_find_class(words[0], classes) for _, words in rows]
    if has_labels is None:
        has_labels = all(name in (*classes, UNKNOWN_CLASS) for name in first_cells)
    series = []
    for number, words in rows:
        try:
            values = _strip_padding(words[1:] if has_labels else words)
            if not values:
                raise ValueError("no values")
            series.append(ts_format.parse_series([",".join(values)], 1))
        except ValueError as error:
            raise DataError(f"{option}: {path}:{number}: {error}") from error
    return SeriesCases(series, first_cells if has_labels else None, [number for number, _ in rows], list(classes))


def index_classes(cases: SeriesCases, classes: Sequence[str], path: Path, option: str) -> list[int]:
    """Return the index of the class of each case.

    Args:
        cases: Cases of a file.
        classes: Class names of a run.
        path: The file, for messages.
        option: Option named in error messages.

    Raises:
        DataError: The file has no classes, or a case has another one.
    """
    if cases.class_names is None:
        raise DataError(f"{option}: {path} has no classes")
    unknown = [row for row, name in enumerate(cases.class_names) if name not in classes]
    if unknown:
        name, line = cases.class_names[unknown[0]], cases.lines[unknown[0]]
        raise DataError(
            f"{option}: {path}:{line}: class {name[:40]!r} is not one of this run ({join_names(classes, 10)})"
            f"{did_you_mean(name, classes)}; {len(unknown)} such cases"
        )
    return [classes.index(name) for name in cases.class_names]


def _split_line(line: str) -> list[str]:
    delimiter = next((mark for mark in "\t," if mark in line), None)
    return [word.strip() for word in line.split(delimiter)]


def _strip_padding(values: list[str]) -> list[str]:
    end = len(values)
    while end and values[end - 1].lower() in GAPS:
        end -= 1
    return values[:end]


def _find_class(text: str, classes: Sequence[str]) -> str:
    """Return the class name that a cell means; numbers are compared by value, as files write 1 as 1.0000000e+00."""
    if text in classes:
        return text
    number = _to_number(text)
    return next((name for name in classes if number is not None and _to_number(name) == number), text)


def _to_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
