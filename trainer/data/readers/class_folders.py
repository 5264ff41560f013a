"""Files in class folders, optionally within split folders."""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from trainer.core.preprocessing import SPLITS, Preprocessing, RowKeys, make_content_keys
from trainer.data.readers import text_file
from trainer.data.splits.splitting import SPLIT_NAMES, split_by_order, stratified_order
from trainer.utils.errors import DataError
from trainer.utils.suggest import did_you_mean

IGNORED_FILES = ("thumbs.db", "desktop.ini")
log = logging.getLogger(__name__)


def find_labeled_files(folder: Path, endings: Sequence[str]) -> tuple[list[tuple[Path, int]], list[str]]:
    """Find the files of each class, sorted by name.

    Other files are logged.

    Args:
        endings: File extensions to read, in lowercase.

    Returns:
        Files with their split (0..2, from the folder), and the class names.

    Raises:
        DataError: The folder is missing, has no classes, or the classes of splits differ.
        SystemFault: A folder cannot be read.
    """
    parts = find_split_folders(folder, "it must be a folder with one subfolder per class")
    classes = {place: _find_class_files(part, endings) for place, part in parts.items()}
    names = sorted(classes[0])
    for place, found in classes.items():
        if set(found) != set(names):
            raise DataError(
                f"path: {parts[place].absolute()} has the classes {text_file.join_names(found)};"
                f" {parts[0].absolute()} has {text_file.join_names(names)}"
            )
    warn_about_ignored_files(
        folder, [part / name for part in parts.values() for name in names], endings, parts.values()
    )
    return [(path, place) for place, found in classes.items() for name in names for path in found[name]], names


def find_split_folders(folder: Path, wanted: str) -> dict[int, Path]:
    """Find the folders of the splits (0..2): ``train`` and another, by any accepted name, else the folder itself.

    Args:
        wanted: Required layout, for the error message.

    Raises:
        DataError: The folder is missing or not a folder, or there is a folder next to ``train`` that is not a split.
    """
    subfolders = _list_subfolders(text_file.check_folder(folder, wanted))
    splits_by_name = {name: SPLIT_NAMES[name.lower()] for name in subfolders if name.lower() in SPLIT_NAMES}
    if 0 not in splits_by_name.values() or len(set(splits_by_name.values())) < 2:
        return {0: folder}
    duplicates = [name for name, place in splits_by_name.items() if list(splits_by_name.values()).count(place) > 1]
    if duplicates:
        both = " and ".join(f"{name}/" for name in duplicates)
        raise DataError(f"path: {folder.absolute()} has {both}, which are the same split")
    other = next((name for name in subfolders if name not in splits_by_name), None)
    if other is not None:
        suggestion, training = (
            did_you_mean(other, SPLITS),
            next(name for name, place in splits_by_name.items() if place == 0),
        )
        raise DataError(
            f"path: {folder.absolute()} has {training}/ and {other}/, which is not a"
            f" split{suggestion or ';'} the splits are {', '.join(SPLITS)}"
        )
    return {place: subfolders[name] for name, place in sorted(splits_by_name.items(), key=lambda pair: pair[1])}


def list_files(folder: Path, endings: Sequence[str]) -> list[Path]:
    """List the files in a folder with these extensions (case-insensitive), without hidden ones."""
    return [path for path in text_file.list_folder(folder) if path.suffix.lower() in endings]


def _list_subfolders(folder: Path) -> dict[str, Path]:
    return {path.name: path for path in text_file.list_folder(folder) if os.path.isdir(path)}


def list_nested_files(folder: Path, endings: Sequence[str]) -> list[Path]:
    """List the files in subfolders with these extensions, recursively, without following links."""
    found: list[Path] = []
    for inside in _list_subfolders(folder).values():
        if inside.is_symlink():  # may be cyclic
            continue
        found += [*list_files(inside, endings), *list_nested_files(inside, endings)]
    return found


def warn_about_ignored_files(
    root: Path, folders: Iterable[Path], endings: Sequence[str], above: Iterable[Path] = ()
) -> None:
    """Log the files in folders that are not read.

    Args:
        folders: Folders whose files with these extensions are read.
        above: Parent folders, whose own files are not read.
    """
    nested: list[Path] = []
    outside = [path for folder in above for path in list_files(folder, endings) if not os.path.isdir(path)]
    other = defaultdict(list)
    for folder in folders:
        nested += list_nested_files(folder, endings)
        for path in text_file.list_folder(folder):
            if (
                path.suffix.lower() not in endings
                and path.name.lower() not in IGNORED_FILES
                and not os.path.isdir(path)
            ):
                other[path.suffix.lower() or "files without an extension"].append(path)
    groups = {"in subfolders": nested, "outside of class folders": outside, **dict(sorted(other.items()))}
    counts = [f"{len(paths)} {kind} ({paths[0].relative_to(root)}, ...)" for kind, paths in groups.items() if paths]
    if counts:
        log.warning("files ignored in %s: %s; extensions read: %s", root, "; ".join(counts), " ".join(endings))


def _find_class_files(folder: Path, endings: Sequence[str]) -> dict[str, list[Path]]:
    """Find the files of each class. Raises DataError for fewer than two classes, and for one without files."""
    found = {name: list_files(inside, endings) for name, inside in _list_subfolders(folder).items()}
    where = folder.absolute()
    if len(found) < 2:
        found_text = f"only one class, {next(iter(found))!r}" if found else "no class folders"
        raise DataError(f"path: {where} has {found_text}; it must have CLASS/*{endings[0]}, at least two classes")
    empty_class = next((name for name, those in found.items() if not those), None)
    if empty_class is not None:
        found_text = (
            text_file.join_names(path.name for path in text_file.list_folder(folder / empty_class)) or "it is empty"
        )
        deep = len(list_nested_files(folder / empty_class, endings))
        more = f"; {deep} are in subfolders, which are not searched" if deep else ""
        raise DataError(f"path: {where / empty_class} has no {'/'.join(endings)} files ({found_text}){more}")
    return found


def restore_class_order(
    fitted: Preprocessing, names: Sequence[str], found: Sequence[tuple[Path, int]], words: Sequence[str]
) -> tuple[list[str], list[tuple[Path, int]], Tensor]:
    """Return the classes in the order stored by a run, their files and labels (N,).

    Files of unknown classes are logged and dropped.

    Args:
        names: Class names found.
        found: Files with their splits.
        words: Class of each file.
    """
    known = fitted.get_or_fit("classes", lambda: list(names))
    class_index = {name: place for place, name in enumerate(known)}
    unknown = [word for word in words if word not in class_index]
    if unknown:
        classes = text_file.join_names(sorted(set(unknown)), 5)
        log.warning("files dropped: %d; this run has no class %s", len(unknown), classes)
    rows = [row for row, word in enumerate(words) if word in class_index]
    return known, [found[row] for row in rows], torch.tensor([class_index[words[row]] for row in rows])


def file_keys(folder: Path, found: Sequence[tuple[Path, int]]) -> RowKeys:
    """Return a key (N,) for each file from its path relative to the folder."""
    return make_content_keys(path.relative_to(folder).as_posix() for path, _ in found)._replace(source="path")


def split_by_fraction(given: Tensor, labels: Tensor, val: float, test: float, seed: int) -> list[Tensor]:
    """Return the rows of each split: those given by folder (``given``, (N,)), and stratified fractions of the others.

    Args:
        given: Split of each row from its folder, (N,).
        labels: Classes for stratification, (N,).
    """
    said = [(given == place).nonzero().squeeze(1) for place in range(len(SPLITS))]
    val, test = (0.0 if len(rows) else share for rows, share in zip(said[1:], (val, test), strict=True))
    cuts = split_by_order({"row": said[0]}, None, stratified_order(labels[said[0]], seed), val, test)
    free = [part.inputs["row"] for part in cuts]
    return [free[0], *(mine if len(mine) else rest for mine, rest in zip(said[1:], free[1:], strict=True))]


def split_every_class(
    given: Tensor, labels: Tensor, names: Sequence[str], val: float, test: float, seed: int
) -> list[Tensor]:
    """Split as ``split_by_fraction``. Raises DataError for a class that is missing in a split."""
    rows = split_by_fraction(given, labels, val, test, seed)
    counts = torch.stack([labels[part].bincount(minlength=len(names)) for part in rows])
    lacking = (counts == 0).nonzero().tolist()
    if lacking:
        split, which = lacking[0]
        raise DataError(
            f"path: class {names[which]!r} has {int(counts[:, which].sum())} files, none of them in the"
            f" {SPLITS[split]} split; every class needs one in each split (data.val, data.test)"
        )
    return rows
