"""Reader of labeled time series in the ``.ts`` format of the UCR/UEA archive."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trainer.data.readers import text_file
from trainer.data.readers.cell_parsing import CellFormat
from trainer.data.readers.header_detection import is_number
from trainer.utils.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

GAPS = ("?", "nan", "")
CELL_FORMAT = CellFormat(frozenset())
UNKNOWN_CLASS = "?"
"""Class of a case whose class is to be predicted."""


@dataclass(frozen=True)
class LabeledSeries:
    """Series with their classes.

    Args:
        series: Series, (T_i, F) each.
        labels: Class indices, (N,).
        classes: Class names in order of the header.
    """

    series: list[Tensor]
    labels: Tensor
    classes: list[str]


@dataclass(frozen=True)
class SeriesCases:
    """Series as they are in a file.

    Args:
        series: Series, (T_i, F) each.
        class_names: Class of each series; None for a file without classes.
        lines: Line of each series, from 1.
        classes: Class names in order of the header; empty where there is none.
    """

    series: list[np.ndarray]
    class_names: list[str] | None
    lines: list[int]
    classes: list[str]


def read(path: Path) -> LabeledSeries:
    """Read all cases of a file with classes.

    Raises:
        DataError: The file has no classes, or as ``read_cases``.
    """
    import torch

    cases = read_cases(path, "data", needs_classes=True)
    assert cases.class_names is not None
    labels = torch.tensor(list(map(cases.classes.index, cases.class_names)))
    return LabeledSeries(list(map(torch.from_numpy, cases.series)), labels, cases.classes)


def read_cases(path: Path, option: str, *, needs_classes: bool) -> SeriesCases:
    """Read all cases of a file.

    Comments (``#``) and header lines (``@``) precede ``@data``; then one case per line: dimensions separated by ``:``,
    their values by ``,``, the class last.

    Args:
        path: File to read.
        option: Option named in error messages.
        needs_classes: Whether the header must have classes.

    Raises:
        DataError: Missing or infinite value, class or number of dimensions or steps that differs from the header,
            timestamps, or no cases; the message has file and line.
    """
    path = text_file.check_regular_file(path, option)
    with text_file.convert_os_errors(path, option):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    numbered = [(number, line.strip()) for number, line in enumerate(lines, 1)]
    numbered = [(number, line) for number, line in numbered if line and not line.startswith("#")]
    start = next((i for i, (_, line) in enumerate(numbered) if line.lower() == "@data"), None)
    if start is None:
        raise DataError(f"{option}: {path}:{len(lines)}: no line @data: not a .ts file, or truncated")
    location = f"{option}: {path}:{numbered[start][0]}"
    header = _parse_header(f"{option}: {path}", numbered[:start])
    if len(numbered) == start + 1:
        raise DataError(f"{location}: no cases after @data")
    has_classes, *classes = header.get("classlabel", ["false"])
    if has_classes.lower() != "true":
        classes = []
    if needs_classes and not classes:
        raise DataError(f"{location}: no classes: the header has no @classLabel true with their names")
    if header.get("timestamps", ["false"])[0].lower() == "true":
        raise DataError(f"{location}: timestamps (@timeStamps true) are not supported")
    series, class_names = [], []
    dims, steps = _parse_header_number(header, "dimensions"), _parse_header_number(header, "serieslength")
    for number, line in numbered[start + 1 :]:
        try:
            case, class_name = _parse_case(line, classes, dims, steps, needs_class=needs_classes)
        except ValueError as error:
            raise DataError(f"{option}: {path}:{number}: {error}") from error
        dims = case.shape[1]  # if not in the header, set by the first case
        series.append(case)
        class_names.append(class_name)
    return SeriesCases(
        series, class_names if classes else None, [number for number, _ in numbered[start + 1 :]], classes
    )


def _parse_case(
    line: str, classes: Sequence[str], dims: int | None, steps: int | None, *, needs_class: bool
) -> tuple[np.ndarray, str]:
    """Parse a series (T, F) and its class, which is empty if the header has no classes. Raises ValueError."""
    if not classes:
        return parse_series(line.split(":"), dims, steps, has_class=False), ""
    *columns, label = line.split(":")
    case = parse_series(columns, dims, steps)
    if label.strip() not in classes and (needs_class or label.strip() != UNKNOWN_CLASS):
        raise ValueError(f"class {label.strip()[:40]!r} is not in the header: {', '.join(classes)}")
    return case, label.strip()


def _parse_header(location: str, lines: Sequence[tuple[int, str]]) -> dict[str, list[str]]:
    """Return the words after each key, with keys in lowercase."""
    for number, line in lines:
        if not line.startswith("@"):
            raise DataError(f"{location}:{number}: expected @key or @data, found {line[:40]!r}")
    parts = [line[1:].split() or [""] for _, line in lines]
    return {key.lower(): words for key, *words in parts if words}


def _parse_header_number(header: dict[str, list[str]], key: str) -> int | None:
    word = header.get(key, [""])[0]
    return int(word) if word.isdecimal() else None


def parse_series(
    columns: Sequence[str], dims: int | None, steps: int | None = None, *, has_class: bool = True
) -> np.ndarray:
    """Parse one series (T, F) float64.

    Args:
        columns: Values of each dimension, separated by commas.
        dims: Number of dimensions; None for any.
        steps: Number of steps; None for any.
        has_class: Whether a class follows, for the message.

    Raises:
        ValueError: The series is invalid.
    """
    if not columns or dims not in (None, len(columns)):
        found = f"{len(columns)} dimensions{' and a class' * has_class}"
        raise ValueError(f"{found}; expected {dims or 'at least 1'} dimensions")
    values = [[_parse_value(word.strip(), i) for word in column.split(",")] for i, column in enumerate(columns, 1)]
    lengths = sorted({len(column) for column in values})
    if len(lengths) > 1:
        raise ValueError(f"dimensions differ in length: {', '.join(map(str, lengths))} steps")
    if steps not in (None, lengths[0]):
        raise ValueError(f"{lengths[0]} steps, but @seriesLength is {steps}")
    return np.array(values, np.float64).T


def _parse_value(word: str, dimension: int) -> float:
    if word.lower() in GAPS:
        raise ValueError(f"missing value in dimension {dimension} (found {word!r}); fill missing values first")
    if not is_number(word):
        raise ValueError(f"expected a number in dimension {dimension}, found {word[:40]!r}")
    value = CELL_FORMAT.parse_number(word)
    if not math.isfinite(value):
        raise ValueError(f"expected a finite number in dimension {dimension}, found {word[:40]!r}")
    return value
