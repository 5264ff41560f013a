"""Files in class folders, optionally within split folders."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from trainer.core.preprocessing import SPLITS, Preprocessing, RowKeys, make_content_keys
from trainer.data.readers import file_listing, text_file
from trainer.data.splits.splitting import SPLIT_NAMES, split_by_order, stratified_order
from trainer.utils.errors import DataError
from trainer.utils.suggest import did_you_mean
from trainer.utils.text import format_count, join_names

log = logging.getLogger(__name__)
T = TypeVar("T")


def find_labeled_files(folder: Path, endings: Sequence[str]) -> tuple[list[tuple[Path, int]], list[str]]:
    """Find the files of each class, sorted by name.

    Other files are logged.

    Args:
        folder: Root folder of the data set.
        endings: File extensions to read, in lowercase.

    Returns:
        Files with their split (0..2, from the folder), and the class names.

    Raises:
        DataError: The folder is missing, has no classes, or the classes of splits differ.
        SystemFault: A folder cannot be read.
    """
    split_folders = find_split_folders(folder, "it must be a folder with one subfolder per class")
    files_by_split = {split: _find_class_files(split_folder, endings) for split, split_folder in split_folders.items()}
    names = sorted(files_by_split[0])
    for split, class_files in files_by_split.items():
        if set(class_files) != set(names):
            raise DataError(
                f"path: {split_folders[split].absolute()} has the classes {join_names(class_files)};"
                f" {split_folders[0].absolute()} has {join_names(names)}"
            )
    file_listing.warn_about_ignored_files(
        folder,
        [split_folder / name for split_folder in split_folders.values() for name in names],
        endings,
        split_folders.values(),
    )
    return [
        (path, split) for split, class_files in files_by_split.items() for name in names for path in class_files[name]
    ], names


def find_split_folders(folder: Path, requirement: str) -> dict[int, Path]:
    """Find the folders of the splits (0..2): ``train`` and another, by any accepted name, else the folder itself.

    Args:
        folder: Root folder of the data set.
        requirement: Required layout, for the error message.

    Raises:
        DataError: The folder is missing or not a folder, or there is a folder next to ``train`` that is not a split.
    """
    subfolders = file_listing.list_subfolders(text_file.check_folder(folder, requirement))
    splits_by_name = {name: SPLIT_NAMES[name.lower()] for name in subfolders if name.lower() in SPLIT_NAMES}
    if 0 not in splits_by_name.values() or len(set(splits_by_name.values())) < 2:
        return {0: folder}
    duplicates = [name for name, split in splits_by_name.items() if list(splits_by_name.values()).count(split) > 1]
    if duplicates:
        folder_names = " and ".join(f"{name}/" for name in duplicates)
        raise DataError(f"path: {folder.absolute()} has {folder_names}, which are the same split")
    unknown = next((name for name in subfolders if name not in splits_by_name), None)
    if unknown is not None:
        suggestion, train_name = (
            did_you_mean(unknown, SPLITS),
            next(name for name, split in splits_by_name.items() if split == 0),
        )
        raise DataError(
            f"path: {folder.absolute()} has {train_name}/ and {unknown}/, which is not a"
            f" split{suggestion or ';'} the splits are {', '.join(SPLITS)}"
        )
    return {split: subfolders[name] for name, split in sorted(splits_by_name.items(), key=lambda pair: pair[1])}


def _find_class_files(folder: Path, endings: Sequence[str]) -> dict[str, list[Path]]:
    """Find the files of each class. Raises DataError for fewer than two classes, and for one without files."""
    files_by_class = {
        name: file_listing.list_files(subfolder, endings)
        for name, subfolder in file_listing.list_subfolders(folder).items()
    }
    absolute = folder.absolute()
    if len(files_by_class) < 2:
        contents = f"only one class, {next(iter(files_by_class))!r}" if files_by_class else "no class folders"
        raise DataError(f"path: {absolute} has {contents}; it must have CLASS/*{endings[0]}, at least two classes")
    empty_class = next((name for name, files in files_by_class.items() if not files), None)
    if empty_class is not None:
        contents = join_names(path.name for path in text_file.list_folder(folder / empty_class)) or "it is empty"
        num_nested = len(file_listing.list_nested_files(folder / empty_class, endings))
        more = f"; {num_nested} are in subfolders, which are not searched" if num_nested else ""
        raise DataError(f"path: {absolute / empty_class} has no {'/'.join(endings)} files ({contents}){more}")
    return files_by_class


def restore_class_order(
    fitted: Preprocessing, names: Sequence[str], files: Sequence[T], file_classes: Sequence[str]
) -> tuple[list[str], list[T], Tensor]:
    """Return the classes in the order stored by a run, their files and labels (N,).

    Files of unknown classes are logged and dropped.

    Args:
        fitted: Preprocessing, which stores the class names of a run.
        names: Class names found.
        files: Files with their splits, or what else a row is.
        file_classes: Class of each file.
    """
    class_names = fitted.get_or_fit("classes", lambda: list(names))
    class_index = {name: index for index, name in enumerate(class_names)}
    unknown = [name for name in file_classes if name not in class_index]
    if unknown:
        classes = join_names(sorted(set(unknown)), 5)
        log.warning("files dropped: %d; this run has no class %s", len(unknown), classes)
    rows = [row for row, name in enumerate(file_classes) if name in class_index]
    return class_names, [files[row] for row in rows], torch.tensor([class_index[file_classes[row]] for row in rows])


def file_keys(folder: Path, files: Sequence[tuple[Path, int]]) -> RowKeys:
    """Return a key (N,) for each file from its path relative to the folder.

    Args:
        folder: Root folder of the data set.
        files: Files with their splits.
    """
    return make_content_keys(path.relative_to(folder).as_posix() for path, _ in files)._replace(source="path")


def split_by_fraction(folder_splits: Tensor, labels: Tensor, val: float, test: float, seed: int) -> list[Tensor]:
    """Return the rows of each split: those of split folders, and stratified fractions of the others.

    Args:
        folder_splits: Split of each row from its folder, (N,).
        labels: Classes for stratification, (N,).
        val: Fraction of the other rows for validation, unless there is a validation folder.
        test: Fraction of the other rows for test, unless there is a test folder.
        seed: Random seed.
    """
    rows_by_split = [(folder_splits == split).nonzero().squeeze(1) for split in range(len(SPLITS))]
    val, test = (0.0 if len(rows) else fraction for rows, fraction in zip(rows_by_split[1:], (val, test), strict=True))
    parts = split_by_order({"row": rows_by_split[0]}, None, stratified_order(labels[rows_by_split[0]], seed), val, test)
    fractional_rows = [part.inputs["row"] for part in parts]
    return [
        fractional_rows[0],
        *(
            folder_rows if len(folder_rows) else others
            for folder_rows, others in zip(rows_by_split[1:], fractional_rows[1:], strict=True)
        ),
    ]


def split_every_class(
    folder_splits: Tensor, labels: Tensor, names: Sequence[str], val: float, test: float, seed: int
) -> list[Tensor]:
    """Split as ``split_by_fraction``, with every class in every split.

    Args:
        folder_splits: Split of each row from its folder, (N,).
        labels: Class of each row, (N,).
        names: Class names.
        val: Fraction for validation, as in ``split_by_fraction``.
        test: Fraction for test, as in ``split_by_fraction``.
        seed: Random seed.

    Raises:
        DataError: A class is missing in a split.
    """
    rows = split_by_fraction(folder_splits, labels, val, test, seed)
    counts = torch.stack([labels[part].bincount(minlength=len(names)) for part in rows])
    missing = (counts == 0).nonzero().tolist()
    if missing:
        split, index = missing[0]
        raise DataError(
            f"path: class {names[index]!r} has {format_count(int(counts[:, index].sum()), 'row')}, none of them in the"
            f" {SPLITS[split]} split; every class needs one in each split (data.val, data.test)"
        )
    return rows
