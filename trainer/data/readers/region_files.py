"""Folders of region time series: one table per run, labeled by folders or by a table of files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from trainer.data.readers import class_folders, delimited, file_listing, text_file
from trainer.data.readers.region_tables import FILE_EXTENSIONS
from trainer.utils.errors import DataError
from trainer.utils.paths import missing_file_error

LABELS_FILE = "labels.csv"


def find_labeled_tables(folder: Path) -> tuple[list[tuple[Path, int]], Sequence[str], list[str]]:
    """Find the tables of a training folder.

    Args:
        folder: Folder of tables.

    Returns:
        Tables with their splits (0..2, from the directory), the class of each, and the names of the classes.

    Raises:
        DataError: A table has no label or is outside of the folder, or there are fewer than two classes.
    """
    if not os.path.isfile(folder / LABELS_FILE):
        if folder.is_dir() and file_listing.list_files(folder, FILE_EXTENSIONS):
            raise DataError(
                f"path: {folder.absolute()} has tables but no {LABELS_FILE}; add it, with columns file and"
                " label, or one folder of tables per class"
            )
        tables, names = class_folders.find_labeled_files(folder, FILE_EXTENSIONS)
        return tables, [path.parent.name for path, _ in tables], names
    table = read_labels(folder)
    file_column, label_column = (table.find_column(name, "path") for name in ("file", "label"))
    file_names, labels = table.columns[file_column], table.columns[label_column]
    paths: dict[Path, int] = {}
    for row, (name, label) in enumerate(zip(file_names, labels, strict=True)):
        if not name or not label:
            raise DataError(f"{table.describe_cell(row, label_column if name else file_column)}: missing value")
        path = table_path(folder, name)
        if path is None:
            raise DataError(
                f"{table.describe_cell(row, file_column)}: {name!r} is outside of {folder.absolute()}; every table "
                "must be in this folder, so that a run can identify it; move or link it there, or set data.path to a"
                " parent folder"
            )
        if paths.setdefault(path, row) != row:
            raise DataError(f"{table.describe_cell(row, file_column)}: duplicate file {name!r}")
        if not os.path.isfile(path):
            raise missing_file_error(path)
    names = sorted(set(labels))
    if len(names) < 2:
        raise DataError(f"path: {table.path} has a single label, {names[0]!r}; at least two are needed")
    return [(path, 0) for path in paths], labels, names


def read_labels(folder: Path, option: str = "path") -> delimited.Table:
    """Read the table of files and labels of a folder.

    Args:
        folder: Folder with the table.
        option: Option named in error messages.
    """
    return delimited.read(str(folder / LABELS_FILE), option, None, "auto", "utf-8", ("file",))


def list_runs(path: str, *, with_labels: bool) -> tuple[list[tuple[Path, str]], list[str] | None]:
    """Return the tables that a path names, with their names in it, and their labels.

    They are the table itself, those that ``labels.csv`` of a folder lists, or those in the folder and its subfolders,
    whose label is the name of their subfolder.

    Args:
        path: Table or folder.
        with_labels: Return labels too.

    Raises:
        DataError: There is no table, one that is listed does not exist, or one has no label.
    """
    given = Path(path).expanduser()
    if not given.is_dir():
        file = text_file.check_regular_file(given, "input")
        if file.suffix.lower() not in FILE_EXTENSIONS:
            raise DataError(f"input: {file} given; it must be a folder, or end with {', '.join(FILE_EXTENSIONS)}")
        if with_labels:
            raise DataError(f"input: {file} has no label; give a folder with {LABELS_FILE}, or one folder per class")
        return [(file, file.name)], None
    if os.path.isfile(given / LABELS_FILE):
        return _list_labeled_runs(given, with_labels=with_labels)
    nested = file_listing.list_nested_files(given, FILE_EXTENSIONS)
    files = [*file_listing.list_files(given, FILE_EXTENSIONS), *sorted(nested)]
    if not files:
        raise DataError(f"input: {given.absolute()} has no {'/'.join(FILE_EXTENSIONS)} files")
    unlabeled = next((file for file in files if file.parent == given), None)
    if with_labels and unlabeled is not None:
        raise DataError(f"input: {unlabeled} has no label; add {LABELS_FILE}, with columns file and label, or folders")
    runs = [(file, file.relative_to(given).as_posix()) for file in files]
    return runs, [file.parent.name for file in files] if with_labels else None


def _list_labeled_runs(folder: Path, *, with_labels: bool) -> tuple[list[tuple[Path, str]], list[str] | None]:
    table = read_labels(folder, "input")
    file_column = table.find_column("file", "input")
    names = table.columns[file_column]
    labels = table.columns[table.find_column("label", "input")] if with_labels else None
    runs = []
    for row, name in enumerate(names):
        path = table_path(folder, name) if name else None
        if path is None:
            reason = f"{name!r} is outside of {folder.absolute()}" if name else "missing value"
            raise DataError(f"{table.describe_cell(row, file_column)}: {reason}")
        if not os.path.isfile(path):
            raise missing_file_error(path, "input")
        runs.append((path, name))
    return runs, None if labels is None else list(labels)


def table_path(folder: Path, name: str) -> Path | None:
    """Return the path of a table; None outside of the folder.

    Args:
        folder: Folder with ``labels.csv``.
        name: Relative or absolute name of the table in it.
    """
    relative_path = os.path.relpath(folder / name, folder)
    if relative_path.split(os.sep)[0] == os.pardir:
        return None
    return folder / (relative_path if os.path.isabs(name) else name)
