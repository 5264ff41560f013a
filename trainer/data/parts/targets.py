"""A column of text as what is to be learned: a class, or a number."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer.data.parts.features import Reading
from trainer.data.parts.plain import shown
from trainer.data.parts.tables import Table
from trainer.errors import ConfigError, did_you_mean

log = logging.getLogger(__name__)

FEW = 20
"""So many different numbers may always be classes."""
ROWS_A_CLASS = 10
"""More of them are classes only if they are whole and each has so many rows on average."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A target column as it was read. values: (N,); known: where it says something; names: of classes, if it is one."""

    table: Table
    at: int
    values: np.ndarray
    known: np.ndarray
    names: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Learned:
    """A target as a model sees it. values: (N,) int64 classes or (N, 1) float32 standardised by the training rows."""

    values: Tensor
    sizes: Mapping[str, int]
    schema: Mapping[str, Any]
    scale: float = 1.0


def read(table: Table, at: int, reading: Reading, kind: str, *, certain: bool) -> Target:
    """A column as what ``kind`` says, class or number. Raises ConfigError as the two below."""
    if kind == "class":
        return read_classes(table, at, reading, certain=certain)
    return read_numbers(table, at, reading)


def encode(table: Table, at: int, reading: Reading, schema: Mapping[str, Any]) -> Target:
    """A column as a stored run learned it; what it does not know, a class or a text for a number, is counted."""
    cells = table.columns[at]
    if schema["kind"] == "number":
        values = reading.numbers(cells)
        known = np.isfinite(values)
    else:
        texts = reading.texts(cells)
        names = _class_names(sorted({*texts, *schema["classes"]} - {""}), reading)
        place = {names[name]: number for number, name in enumerate(schema["classes"])}
        values = np.fromiter((place.get(names.get(text, ""), -1) for text in texts), np.int64, len(texts))
        known = values >= 0
    strange = [cell for cell, good in zip(cells, known, strict=True) if not good and not reading.is_gap(cell)]
    if strange:
        found = shown(sorted(set(strange)), 5)
        text = "%s: %d rows are left out: this run knows no %r %s"
        log.warning(text, table.path, len(strange), table.names[at], found)
    return Target(table=table, at=at, values=values, known=known, names=schema.get("classes", ()))


def learn(target: Target, train: np.ndarray, stored: Mapping[str, Any] | None = None) -> Learned:
    """The target as a model sees it, by what the rows ``train`` hold, or as ``stored`` by a run.

    Raises ConfigError as the two below.
    """
    return (learn_classes if target.names else learn_numbers)(target, train, stored)


def read_classes(table: Table, at: int, reading: Reading, *, certain: bool) -> Target:
    """Class numbers, by the sorted names of the classes, numbers as numbers.

    1 and 1.0 are one class, and so are ``yes`` and ``yes.`` (a test file may end its labels with a dot).

    Raises ConfigError for one class only, and, unless ``certain``, for numbers that look measured.
    """
    texts = reading.texts(table.columns[at])
    names = _class_names(sorted(set(texts) - {""}), reading)
    ordered = sorted(set(names.values()))
    if ordered and np.isfinite([reading.number(name) for name in ordered]).all():
        ordered.sort(key=reading.number)
        if not certain:
            _refuse_measured(table, at, np.array([reading.number(name) for name in ordered]))
    if len(ordered) < 2:
        found = f"one class only, {ordered[0]!r}" if ordered else "gaps only"
        raise ConfigError(f"data.target: column {table.names[at]!r} of {table.path} holds {found}: nothing to learn")
    place = {"": -1} | {text: ordered.index(name) for text, name in names.items()}
    labels = np.fromiter(map(place.__getitem__, texts), np.int64, len(texts))
    return Target(table=table, at=at, values=labels, known=labels >= 0, names=ordered)


def _class_names(texts: Sequence[str], reading: Reading) -> dict[str, str]:
    """The class each text stands for, the first of several that mean the same number."""
    numbers = {text: reading.number(text) for text in texts}
    if np.isfinite(list(numbers.values())).all():
        first = {value: text for text, value in sorted(numbers.items(), key=lambda pair: -len(pair[0]))}
        return {text: first[value] for text, value in numbers.items()}
    return {text: text[:-1] if text.endswith(".") and text[:-1] in numbers else text for text in texts}


def _refuse_measured(table: Table, at: int, different: np.ndarray) -> None:
    count, rows = len(different), len(table)
    whole = bool((different == different.round()).all())
    if count > FEW and (not whole or count * ROWS_A_CLASS > rows):
        raise ConfigError(
            f"data.target: column {table.names[at]!r} of {table.path} holds {count} different numbers in {rows} rows,"
            f" such as {different[0]:g}: task=regression learns a number"
            " (data.target_kind=class takes them as classes all the same)"
        )


def read_numbers(table: Table, at: int, reading: Reading) -> Target:
    """Numbers; NaN for a gap, infinity for a text.

    Raises ConfigError when most cells are texts, or all numbers are the same.
    """
    values = reading.numbers(table.columns[at])
    known, texts = np.isfinite(values), np.isinf(values)
    if texts.sum() >= max(1, known.sum()):
        row = int(np.argmax(texts))
        raise ConfigError(
            f"data.target: {table.where(row, at)}: {table.columns[at][row]!r} is no number"
            f" ({int(texts.sum())} of {len(values)} cells are none): task=classification learns classes"
        )
    if not known.any() or np.ptp(values[known]) == 0:
        found = f"{values[known][0]:g} in every row" if known.any() else "nothing but gaps"
        raise ConfigError(f"data.target: column {table.names[at]!r} of {table.path} is {found}: nothing to learn")
    return Target(table=table, at=at, values=values, known=known)


def learn_classes(target: Target, train: np.ndarray, stored: Mapping[str, Any] | None = None) -> Learned:
    """Raises ConfigError for a class without a training row, at its first row."""
    seen = np.unique(target.values[train])
    unseen = np.setdiff1d(target.values[target.known], seen)
    if len(unseen) and stored is None:
        name, known = target.names[unseen[0]], [target.names[place] for place in seen]
        row = int(np.argmax(target.values == unseen[0]))
        raise ConfigError(
            f"data.target: {target.table.where(row, target.at)}: class {name!r} has no training row"
            f"{did_you_mean(name, known)} (classes of the training rows: {', '.join(known[:FEW])})"
        )
    count = len(target.names)
    return Learned(
        values=torch.from_numpy(target.values),
        sizes={"num_classes": count, "out_features": 1 if count == 2 else count},
        schema={"kind": "class", "classes": list(target.names)},
    )


def learn_numbers(target: Target, train: np.ndarray, stored: Mapping[str, Any] | None = None) -> Learned:
    """Standardised by the training rows; ``scale`` is their deviation."""
    mean, std = float(target.values[train].mean()), float(target.values[train].std()) or 1.0
    if stored is not None:
        mean, std = stored["mean"], stored["std"]
    return Learned(
        values=torch.from_numpy((target.values - mean) / std).float()[:, None],
        sizes={"out_features": 1},
        schema={"kind": "number", "mean": mean, "std": std},
        scale=std,
    )
