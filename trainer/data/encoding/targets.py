"""A column of text as what is to be learned: a class, or a number."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer.core.class_sizes import class_sizes
from trainer.data.encoding import column_checks
from trainer.data.encoding.standardization import MAX_STANDARDIZED_VALUE, mean_and_scale
from trainer.data.readers.cell_parsing import CellFormat
from trainer.data.readers.delimited import Table
from trainer.data.readers.text_file import join_names, quote_cell
from trainer.utils.errors import ConfigError, did_you_mean

log = logging.getLogger(__name__)

FEW_CLASSES = 20
"""So many different numbers may always be classes."""
MIN_ROWS_PER_CLASS = 10
"""More of them are classes only if they are whole and each has so many rows on average."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A target column as it was read. values: (N,); known: where it says something; names: of classes, if it is one."""

    table: Table
    column: int
    values: np.ndarray
    known_mask: np.ndarray
    names: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class EncodedTarget:
    """A target as a model sees it. values: (N,) int64 classes or (N, 1) float32 standardised by the training rows."""

    values: Tensor
    sizes: Mapping[str, int]
    schema: Mapping[str, Any]
    scale: float = 1.0


def read(table: Table, at: int, reading: CellFormat, kind: str, *, certain: bool) -> Target:
    """A column as what ``kind`` says, class or number. Raises ConfigError as the two below."""
    if kind == "class":
        return read_classes(table, at, reading, certain=certain)
    return read_numbers(table, at, reading)


def encode(table: Table, at: int, reading: CellFormat, schema: Mapping[str, Any]) -> Target:
    """A column as a stored run learned it; what it does not know, a class or a text for a number, is counted."""
    cells = table.columns[at]
    if schema["kind"] == "number":
        values = reading.parse_numbers(cells)
        known = np.isfinite(values)
    else:
        values = index_classes(schema["classes"], cells, reading)
        known = values >= 0
    strange = [cell for cell, good in zip(cells, known, strict=True) if not good and not reading.is_gap(cell)]
    if strange:
        found = join_names(sorted(set(strange)), 5)
        text = "%s: rows left out: %d; this run knows no %r %s"
        log.warning(text, table.path, len(strange), table.names[at], found)
    return Target(table=table, column=at, values=values, known_mask=known, names=schema.get("classes", ()))


def fit_target(target: Target, train: np.ndarray, stored: Mapping[str, Any] | None = None) -> EncodedTarget:
    """The target as a model sees it, by what the rows ``train`` hold, or as ``stored`` by a run.

    Raises ConfigError as the two below.
    """
    return (fit_classes if target.names else fit_numbers)(target, train, stored)


def read_classes(table: Table, at: int, reading: CellFormat, *, certain: bool) -> Target:
    """Class numbers, by the sorted names of the classes, numbers as numbers; see ``map_class_names``.

    Raises ConfigError for one class only, and, unless ``certain``, for numbers that look measured.
    """
    texts = reading.parse_texts(table.columns[at])
    names = map_class_names(sorted(set(texts) - {""}), reading)
    ordered = sorted(set(names.values()))
    exact = {name: value for name in ordered if (value := reading.canonicalize_number(name)) is not None}
    if len(exact) == len(ordered):
        ordered.sort(key=exact.__getitem__)
    if not certain:
        _refuse_continuous(table, at, ordered, reading)
    if len(ordered) < 2:
        raise ConfigError(_describe_single_class(table, at, ordered, reading))
    place = {"": -1} | {text: ordered.index(name) for text, name in names.items()}
    labels = np.fromiter(map(place.__getitem__, texts), np.int64, len(texts))
    return Target(table=table, column=at, values=labels, known_mask=labels >= 0, names=ordered)


def map_class_names(texts: Collection[str], reading: CellFormat) -> dict[str, str]:
    """The class each text stands for.

    Labels are texts. Where each is a number in its plain form, those of one whole value are one class by the shortest:
    a gap elsewhere in the column makes pandas write 1.0 for 1. Nothing writes 01 for 1, nor 1_0 for 10, nor 1.10 for
    1.1: that is another label. Among texts ``yes.`` is ``yes`` where that is there too (a test file may end its
    labels with a dot).
    """
    exact = {text: value for text in texts if (value := reading.canonicalize_number(text)) is not None}
    if len(exact) == len(texts):
        shortest = {value: text for text, value in sorted(exact.items(), key=lambda pair: -len(pair[0]))}
        return {text: shortest[value] if value % 1 == 0 else text for text, value in exact.items()}
    return {text: text[:-1] if text.endswith(".") and text[:-1] in texts else text for text in texts}


def index_classes(classes: Sequence[str], cells: Sequence[str], reading: CellFormat) -> np.ndarray:
    """The place (N,) in ``classes`` of the class that each cell stands for, by the same rule; -1 for a cell of none.

    A number that is no class as it is written is the one class of its value.
    """
    values = [reading.canonicalize_number(name) for name in classes]
    by_text = {name: place for place, name in enumerate(classes)}

    def find(text: str) -> int:
        if None not in values and text not in by_text:
            value = reading.canonicalize_number(text)
            return values.index(value) if values.count(value) == 1 else -1
        ways = (text, text.removesuffix("."), f"{text}.")
        return next((by_text[way] for way in ways if way in by_text), -1)

    texts = reading.parse_texts(cells)
    known = {text: find(text) if text else -1 for text in set(texts)}
    return np.array([known[text] for text in texts], dtype=np.int64)


def _describe_single_class(table: Table, at: int, names: Sequence[str], reading: CellFormat) -> str:
    """Why a column has nothing to learn, with the words in it that are taken for a gap and may be meant as classes."""
    cells = table.columns[at]
    found = f"one class only, {quote_cell(names[0])}" if names else "gaps only"
    words = sorted({cell for cell in cells if cell and reading.is_gap(cell)})
    hint = ""
    if words:
        count = sum(map(words.__contains__, cells))
        hint = (
            f"; {count} cells are a gap by data.missing, which lists {quote_cell(words[0])}: without it they are "
            "a class"
        )
    return f"data.target: column {table.names[at]!r} of {table.path} holds {found}: nothing to learn{hint}"


def _refuse_continuous(table: Table, at: int, names: Sequence[str], reading: CellFormat) -> None:
    if len(names) <= FEW_CLASSES or reading.are_codes(names):
        return
    count, rows = len(names), len(table)
    different = reading.parse_numbers(names)
    signs = None if np.isfinite(different).all() else reading.suggest_number_format(names)
    whole = bool((different == different.round()).all())
    advice = "task=regression learns a number (data.target_kind=class takes them as classes all the same)"
    named = f"data.target: column {table.names[at]!r} of {table.path} holds"
    if signs is not None:
        raise ConfigError(f"{named} {signs}; {advice}")
    if np.isfinite(different).all() and (not whole or count * MIN_ROWS_PER_CLASS > rows):
        raise ConfigError(f"{named} {count} different numbers in {rows} rows, such as {different[0]:g}: {advice}")


def read_numbers(table: Table, at: int, reading: CellFormat) -> Target:
    """Numbers; NaN for a gap, infinity for a text.

    Raises ConfigError when most cells are texts, or all numbers are the same.
    """
    values = reading.parse_numbers(table.columns[at])
    known, texts = np.isfinite(values), np.isinf(values)
    signs = reading.suggest_number_format(table.columns[at]) if texts.any() else None
    if signs is not None:
        raise ConfigError(f"data.target: column {table.names[at]!r} of {table.path} holds {signs}")
    if texts.sum() >= max(1, known.sum()):
        row = int(np.argmax(texts))
        raise ConfigError(
            f"data.target: {table.describe_cell(row, at)}: {quote_cell(table.columns[at][row])} is no number"
            f" ({int(texts.sum())} of {len(values)} cells are none): task=classification learns classes"
        )
    if not known.any() or np.ptp(values[known]) == 0:
        found = f"{values[known][0]:g} in every row" if known.any() else "nothing but gaps"
        raise ConfigError(f"data.target: column {table.names[at]!r} of {table.path} is {found}: nothing to learn")
    column_checks.warn_about_mixed_decimals(table, at, reading)
    return Target(table=table, column=at, values=values, known_mask=known)


def fit_classes(target: Target, train: np.ndarray, stored: Mapping[str, Any] | None = None) -> EncodedTarget:
    """Raises ConfigError for a class without a training row, at its first row."""
    seen = np.unique(target.values[train])
    unseen = np.setdiff1d(target.values[target.known_mask], seen)
    if len(unseen) and stored is None:
        name, known = target.names[unseen[0]], [target.names[place] for place in seen]
        row = int(np.argmax(target.values == unseen[0]))
        raise ConfigError(
            f"data.target: {target.table.describe_cell(row, target.column)}: class {name!r} has no training row"
            f"{did_you_mean(name, known)} (classes of the training rows: {', '.join(known[:FEW_CLASSES])})"
        )
    return EncodedTarget(
        values=torch.from_numpy(target.values),
        sizes=class_sizes(len(target.names)),
        schema={"kind": "class", "classes": list(target.names)},
    )


def fit_numbers(target: Target, train: np.ndarray, stored: Mapping[str, Any] | None = None) -> EncodedTarget:
    """Standardised by the training rows; ``scale`` is their deviation.

    Raises ConfigError for a number too far from them to be learned.
    """
    mean, std = mean_and_scale(target.values[train]) if stored is None else (stored["mean"], stored["std"])
    far = target.known_mask & (
        np.abs(np.where(target.known_mask, target.values, mean) - mean) > MAX_STANDARDIZED_VALUE * std
    )
    if far.any():
        row = int(np.argmax(far))
        cell = quote_cell(target.table.columns[target.column][row])
        raise ConfigError(
            f"data.target: {target.table.describe_cell(row, target.column)}: {cell} is more than "
            f"{MAX_STANDARDIZED_VALUE:g} deviations from the"
            " mean of the training rows; if it stands for a gap, data.missing lists those"
        )
    with np.errstate(invalid="ignore"):  # of rows that are not used: NaN and infinity
        values = torch.from_numpy((target.values - mean) / std).float()[:, None]
    return EncodedTarget(
        values=values, sizes={"out_features": 1}, schema={"kind": "number", "mean": mean, "std": std}, scale=std
    )
