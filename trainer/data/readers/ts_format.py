"""Reader of labeled time series in the ``.ts`` format of the UCR/UEA archive."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from trainer.data.readers import text_file
from trainer.data.readers.cell_parsing import CellFormat
from trainer.data.readers.header_detection import is_number
from trainer.utils.errors import DataError

GAPS = ("?", "nan", "")
CELL_FORMAT = CellFormat(frozenset())


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


def read(path: Path) -> LabeledSeries:
    """Read all cases of a file.

    Comments (``#``) and header lines (``@``) precede ``@data``; then one case per line: dimensions separated by ``:``,
    their values by ``,``, the class last.

    Raises:
        DataError: Missing or infinite value, class or number of dimensions or steps that differs from the header,
            timestamps, or no cases; the message has file and line.
    """
    path = text_file.check_regular_file(path, "data")
    with text_file.convert_os_errors(path, "data"):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    numbered = [(number, line.strip()) for number, line in enumerate(lines, 1)]
    numbered = [(number, line) for number, line in numbered if line and not line.startswith("#")]
    start = next((i for i, (_, line) in enumerate(numbered) if line.lower() == "@data"), None)
    if start is None:
        raise DataError(f"data: {path}:{len(lines)}: no line @data: not a .ts file, or truncated")
    header, number = _parse_header(path, numbered[:start]), numbered[start][0]
    if len(numbered) == start + 1:
        raise DataError(f"data: {path}:{number}: no cases after @data")
    has_classes, *classes = header.get("classlabel", ["false"])
    if has_classes.lower() != "true" or not classes:
        raise DataError(f"data: {path}:{number}: no classes: the header has no @classLabel true with their names")
    if header.get("timestamps", ["false"])[0].lower() == "true":
        raise DataError(f"data: {path}:{number}: timestamps (@timeStamps true) are not supported")
    series, labels = [], []
    dims, steps = _parse_header_number(header, "dimensions"), _parse_header_number(header, "serieslength")
    for number, line in numbered[start + 1 :]:
        try:
            *columns, label = line.split(":")
            case = _parse_series(columns, dims, steps)
            if label.strip() not in classes:
                raise ValueError(f"class {label.strip()[:40]!r} is not in the header: {', '.join(classes)}")
        except ValueError as error:
            raise DataError(f"data: {path}:{number}: {error}") from error
        dims = case.shape[1]  # if not in the header, set by the first case
        series.append(case)
        labels.append(classes.index(label.strip()))
    return LabeledSeries(series, torch.tensor(labels), classes)


def _parse_header(path: Path, lines: Sequence[tuple[int, str]]) -> dict[str, list[str]]:
    """Return the words after each key, with keys in lowercase."""
    for number, line in lines:
        if not line.startswith("@"):
            raise DataError(f"data: {path}:{number}: expected @key or @data, found {line[:40]!r}")
    parts = [line[1:].split() or [""] for _, line in lines]
    return {key.lower(): words for key, *words in parts if words}


def _parse_header_number(header: dict[str, list[str]], key: str) -> int | None:
    word = header.get(key, [""])[0]
    return int(word) if word.isdecimal() else None


def _parse_series(columns: Sequence[str], dims: int | None, steps: int | None) -> Tensor:
    """Parse one series (T, F). Raises ValueError for an invalid one."""
    if not columns or dims not in (None, len(columns)):
        raise ValueError(f"{len(columns)} dimensions and a class; expected {dims or 'at least 1'} dimensions")
    values = [[_parse_value(word.strip(), i) for word in column.split(",")] for i, column in enumerate(columns, 1)]
    lengths = sorted({len(column) for column in values})
    if len(lengths) > 1:
        raise ValueError(f"dimensions differ in length: {', '.join(map(str, lengths))} steps")
    if steps not in (None, lengths[0]):
        raise ValueError(f"{lengths[0]} steps, but @seriesLength is {steps}")
    return torch.tensor(values, dtype=torch.float64).T


def _parse_value(word: str, dimension: int) -> float:
    if word.lower() in GAPS:
        raise ValueError(f"missing value in dimension {dimension} (found {word!r}); fill missing values first")
    if not is_number(word):
        raise ValueError(f"expected a number in dimension {dimension}, found {word[:40]!r}")
    value = CELL_FORMAT.parse_number(word)
    if not math.isfinite(value):
        raise ValueError(f"expected a finite number in dimension {dimension}, found {word[:40]!r}")
    return value
