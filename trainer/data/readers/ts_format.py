"""Labelled time series in the text format of the UCR/UEA archive (``.ts``)."""

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
from trainer.utils.errors import ConfigError

GAPS = ("?", "nan", "")
CELL_FORMAT = CellFormat(frozenset())


@dataclass(frozen=True)
class LabeledSeries:
    """Series (T_i, F), the class of each by number, and the names of all classes in the order of the header."""

    series: list[Tensor]
    labels: Tensor
    classes: list[str]


def read(path: Path) -> LabeledSeries:
    """Every case of a file.

    Comments (``#``) and header lines (``@``) stand before ``@data``; then a case a line: dimensions divided by ``:``,
    their values by ``,``, the class last. Raises ConfigError with file and line for whatever is not so: a missing or
    infinite value, a class or a number of dimensions or steps that the header does not have, time stamps, no cases.
    """
    path = text_file.check_regular_file(path, "data")
    with text_file.convert_os_errors(path, "data"):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    numbered = [(number, line.strip()) for number, line in enumerate(lines, 1)]
    numbered = [(number, line) for number, line in numbered if line and not line.startswith("#")]
    start = next((i for i, (_, line) in enumerate(numbered) if line.lower() == "@data"), None)
    if start is None:
        raise ConfigError(f"data: {path}:{len(lines)}: no line @data: no .ts file, or one that is cut short")
    header, number = _parse_header(path, numbered[:start]), numbered[start][0]
    if len(numbered) == start + 1:
        raise ConfigError(f"data: {path}:{number}: no case after @data")
    told, *classes = header.get("classlabel", ["false"])
    if told.lower() != "true" or not classes:
        raise ConfigError(f"data: {path}:{number}: no classes: the header has no @classLabel true with their names")
    if header.get("timestamps", ["false"])[0].lower() == "true":
        raise ConfigError(f"data: {path}:{number}: cases with time stamps (@timeStamps true) cannot be read")
    series, labels = [], []
    dims, steps = _parse_header_number(header, "dimensions"), _parse_header_number(header, "serieslength")
    for number, line in numbered[start + 1 :]:
        try:
            *columns, label = line.split(":")
            case = _parse_series(columns, dims, steps)
            if label.strip() not in classes:
                raise ValueError(f"class {label.strip()[:40]!r} is none of the header's: {', '.join(classes)}")
        except ValueError as error:
            raise ConfigError(f"data: {path}:{number}: {error}") from error
        dims = case.shape[1]  # without a word in the header, the first case says how many
        series.append(case)
        labels.append(classes.index(label.strip()))
    return LabeledSeries(series, torch.tensor(labels), classes)


def _parse_header(path: Path, lines: Sequence[tuple[int, str]]) -> dict[str, list[str]]:
    """The words behind each key, keys in lower case."""
    for number, line in lines:
        if not line.startswith("@"):
            raise ConfigError(f"data: {path}:{number}: expected @key or @data, found {line[:40]!r}")
    parts = [line[1:].split() or [""] for _, line in lines]
    return {key.lower(): words for key, *words in parts if words}


def _parse_header_number(header: dict[str, list[str]], key: str) -> int | None:
    word = header.get(key, [""])[0]
    return int(word) if word.isdecimal() else None


def _parse_series(columns: Sequence[str], dims: int | None, steps: int | None) -> Tensor:
    """One series (T, F). Raises ValueError saying what is wrong with it."""
    if not columns or dims not in (None, len(columns)):
        raise ValueError(f"{len(columns)} dimensions and a class, where {dims or 'at least 1'} are expected")
    values = [[_parse_value(word.strip(), i) for word in column.split(",")] for i, column in enumerate(columns, 1)]
    lengths = sorted({len(column) for column in values})
    if len(lengths) > 1:
        raise ValueError(f"its dimensions differ in length: {', '.join(map(str, lengths))} steps")
    if steps not in (None, lengths[0]):
        raise ValueError(f"{lengths[0]} steps, where @seriesLength says {steps}")
    return torch.tensor(values, dtype=torch.float64).T


def _parse_value(word: str, dimension: int) -> float:
    if word.lower() in GAPS:
        raise ValueError(f"a value is missing in dimension {dimension} (found {word!r}); fill the gaps first")
    if not is_number(word):
        raise ValueError(f"expected a number in dimension {dimension}, found {word[:40]!r}")
    value = CELL_FORMAT.parse_number(word)
    if not math.isfinite(value):
        raise ValueError(f"expected a finite number in dimension {dimension}, found {word[:40]!r}")
    return value
