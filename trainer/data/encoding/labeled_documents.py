"""Documents with their classes: text files in class folders, or the lines of one file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from trainer.core.preprocessing import Preprocessing, RowKeys, make_content_keys
from trainer.data.encoding import text_rows
from trainer.data.encoding.text_rows import TextRow
from trainer.data.readers import class_folders, text_file
from trainer.utils.errors import DataError


class LabeledDocuments(NamedTuple):
    """Documents with their classes.

    Attributes:
        texts: The documents (N).
        labels: Class (N,) of each.
        class_names: Names of the classes.
        splits: Split (N,) of each, 0 unless it is in a split folder.
        keys: Keys that identify the documents.
    """

    texts: Sequence[str]
    labels: Tensor
    class_names: Sequence[str]
    splits: Tensor
    keys: RowKeys


def read_documents(path: Path, suffixes: Sequence[str], encoding: str, fitted: Preprocessing) -> LabeledDocuments:
    """Read a folder with a subfolder for each class, or a file with a document, a tab and its class per line.

    Args:
        path: Folder or file.
        suffixes: Suffixes of the documents of a folder.
        encoding: Text encoding.
        fitted: Preprocessing, which stores the class names of a run.

    Raises:
        DataError: The path is missing or has another layout, or a document is not text or empty.
    """
    if os.path.isfile(path):  # not Path.is_file, which raises for a name that is too long
        return _read_lines(path, encoding, fitted)
    documents, names = class_folders.find_labeled_files(path, suffixes)
    class_of_file = [file.parent.name for file, _ in documents]
    names, documents, labels = class_folders.restore_class_order(fitted, names, documents, class_of_file)
    files = [file for file, _ in documents]
    texts = [text_file.read(file, "path", encoding) for file in files]
    empty = next((file for file, text in zip(files, texts, strict=True) if not text.split()), None)
    if empty is not None:
        raise DataError(f"path: {empty.absolute()} is empty")
    splits = torch.tensor([split for _, split in documents])
    return LabeledDocuments(texts, labels, names, splits, class_folders.file_keys(path, documents))


def _read_lines(path: Path, encoding: str, fitted: Preprocessing) -> LabeledDocuments:
    lines = text_file.iter_lines(path, "path", encoding)
    rows = [_check_line(row) for row in text_rows.split_columns(_number_lines(path, lines), with_targets=True)]
    class_of_row = [str(row.target).strip() for row in rows]
    found = sorted(set(class_of_row))
    if len(found) < 2:
        contents = f"only one class, {found[0]!r}" if found else "no lines"
        raise DataError(f"path: {path.absolute()} has {contents}; it must have at least two classes")
    names, rows, labels = class_folders.restore_class_order(fitted, found, rows, class_of_row)
    keys = make_content_keys(f"{row.text}\t{row.target}" for row in rows)
    return LabeledDocuments([row.text for row in rows], labels, names, torch.zeros(len(rows), dtype=torch.long), keys)


def _number_lines(path: Path, lines: Iterable[str]) -> Iterator[TextRow]:
    """Yield lines with their numbers, from 1."""
    for number, line in enumerate(lines, 1):
        yield TextRow(number, line, f"{path.absolute()}: line {number}")


def _check_line(row: TextRow | DataError) -> TextRow:
    """Return a row that has a text and a class. Raises DataError for others."""
    if isinstance(row, DataError):
        raise DataError(f"path: {row}")
    if not row.text.split() or not str(row.target).split():
        raise DataError(f"path: {row.location} has no {'class' if row.text.split() else 'text'}")
    return row
