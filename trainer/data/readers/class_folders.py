"""Files of the user's in folders that say their class, and perhaps their split."""

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
from trainer.utils.errors import ConfigError
from trainer.utils.suggest import did_you_mean

IGNORED_FILES = ("thumbs.db", "desktop.ini")
log = logging.getLogger(__name__)


def find_labeled_files(folder: Path, endings: Sequence[str]) -> tuple[list[tuple[Path, int]], list[str]]:
    """Files, each with the split (0 to 2) that its folder says, in order of their names; and the classes.

    endings: of the files that count, in small letters. What lies there beside them is told in the log.

    Raises ConfigError for a folder that is not there, has no classes, or tests others than it trains; SystemFault for
    one that may not be read.
    """
    parts = find_split_folders(folder, "it must be a folder with one for each class")
    classes = {place: _find_class_files(part, endings) for place, part in parts.items()}
    names = sorted(classes[0])
    for place, found in classes.items():
        if set(found) != set(names):
            raise ConfigError(
                f"data.path: {parts[place].absolute()} has the classes {text_file.join_names(found)};"
                f" {parts[0].absolute()} has {text_file.join_names(names)}"
            )
    warn_about_ignored_files(
        folder, [part / name for part in parts.values() for name in names], endings, parts.values()
    )
    return [(path, place) for place, found in classes.items() for name in names for path in found[name]], names


def find_split_folders(folder: Path, wanted: str) -> dict[int, Path]:
    """The folders of the splits (0 to 2), where there is ``train`` and another, by any of their names, such as
    ``valid``; else the folder itself, as the first.

    Raises ConfigError for a folder that is not there, or is none: then with what is ``wanted``; and for one beside
    ``train`` that is no split.
    """
    inside = _list_subfolders(text_file.check_folder(folder, wanted))
    said = {name: SPLIT_NAMES[name.lower()] for name in inside if name.lower() in SPLIT_NAMES}
    if 0 not in said.values() or len(set(said.values())) < 2:
        return {0: folder}
    twice = [name for name, place in said.items() if list(said.values()).count(place) > 1]
    if twice:
        both = " and ".join(f"{name}/" for name in twice)
        raise ConfigError(f"data.path: {folder.absolute()} has {both}, which are one split")
    other = next((name for name in inside if name not in said), None)
    if other is not None:
        near, training = did_you_mean(other, SPLITS), next(name for name, place in said.items() if place == 0)
        raise ConfigError(
            f"data.path: {folder.absolute()} has {training}/ and {other}/, which is no split{near or ';'} the splits"
            f" are {', '.join(SPLITS)}"
        )
    return {place: inside[name] for name, place in sorted(said.items(), key=lambda pair: pair[1])}


def list_files(folder: Path, endings: Sequence[str]) -> list[Path]:
    """The files in a folder that end so, in large letters or small; hidden ones are not meant."""
    return [path for path in text_file.list_folder(folder) if path.suffix.lower() in endings]


def _list_subfolders(folder: Path) -> dict[str, Path]:
    return {path.name: path for path in text_file.list_folder(folder) if os.path.isdir(path)}


def list_nested_files(folder: Path, endings: Sequence[str]) -> list[Path]:
    """The files in the folders inside of a folder that end so, links to folders left aside."""
    found: list[Path] = []
    for inside in _list_subfolders(folder).values():
        if inside.is_symlink():  # which may lead back up
            continue
        found += [*list_files(inside, endings), *list_nested_files(inside, endings)]
    return found


def warn_about_ignored_files(
    root: Path, folders: Iterable[Path], endings: Sequence[str], above: Iterable[Path] = ()
) -> None:
    """Says in the log what lies in folders beside the files that end so, and so is not read.

    above: the folders of these, in which no files are read.
    """
    deep: list[Path] = []
    beside = [path for folder in above for path in list_files(folder, endings) if not os.path.isdir(path)]
    other = defaultdict(list)
    for folder in folders:
        deep += list_nested_files(folder, endings)
        for path in text_file.list_folder(folder):
            if (
                path.suffix.lower() not in endings
                and path.name.lower() not in IGNORED_FILES
                and not os.path.isdir(path)
            ):
                other[path.suffix.lower() or "files without an ending"].append(path)
    groups = {"in folders inside": deep, "beside the folders": beside, **dict(sorted(other.items()))}
    told = [f"{len(those)} {kind} ({those[0].relative_to(root)}, ...)" for kind, those in groups.items() if those]
    if told:
        log.warning("files left out of %s: %s; read are %s", root, "; ".join(told), " ".join(endings))


def _find_class_files(folder: Path, endings: Sequence[str]) -> dict[str, list[Path]]:
    """The files of each class. Raises ConfigError for fewer than two classes, and one without files."""
    found = {name: list_files(inside, endings) for name, inside in _list_subfolders(folder).items()}
    where = folder.absolute()
    if len(found) < 2:
        held = f"one class only, {next(iter(found))!r}" if found else "no folders of classes"
        raise ConfigError(f"data.path: {where} has {held}; it must have CLASS/*{endings[0]}, at least two classes")
    bare = next((name for name, those in found.items() if not those), None)
    if bare is not None:
        held = text_file.join_names(path.name for path in text_file.list_folder(folder / bare)) or "it is empty"
        deep = len(list_nested_files(folder / bare, endings))
        more = f"; {deep} are in folders inside, which are not looked into" if deep else ""
        raise ConfigError(f"data.path: {where / bare} has no {'/'.join(endings)} files ({held}){more}")
    return found


def restore_class_order(
    fitted: Preprocessing, names: Sequence[str], found: Sequence[tuple[Path, int]], words: Sequence[str]
) -> tuple[list[str], list[tuple[Path, int]], Tensor]:
    """The classes in the order that a run stores, the files of those, and their labels (N,).

    words: the class of each file. Files of other classes are counted and left out.
    """
    known = fitted.get_or_fit("classes", lambda: list(names))
    number = {name: place for place, name in enumerate(known)}
    strange = [word for word in words if word not in number]
    if strange:
        classes = text_file.join_names(sorted(set(strange)), 5)
        log.warning("files left out: %d; this run knows no class %s", len(strange), classes)
    kept = [row for row, word in enumerate(words) if word in number]
    return known, [found[row] for row in kept], torch.tensor([number[words[row]] for row in kept])


def file_keys(folder: Path, found: Sequence[tuple[Path, int]]) -> RowKeys:
    """A key (N,) for each file by its path below the folder."""
    return make_content_keys(path.relative_to(folder).as_posix() for path, _ in found)._replace(source="path")


def split_by_fraction(given: Tensor, labels: Tensor, val: float, test: float, seed: int) -> list[Tensor]:
    """The rows of each split: those whose folder says so, by ``given`` (N,), and what is cut by share off the rest.

    What is cut has the classes of ``labels`` (N,) in equal shares.
    """
    said = [(given == place).nonzero().squeeze(1) for place in range(len(SPLITS))]
    val, test = (0.0 if len(rows) else share for rows, share in zip(said[1:], (val, test), strict=True))
    cuts = split_by_order({"row": said[0]}, None, stratified_order(labels[said[0]], seed), val, test)
    free = [part.inputs["row"] for part in cuts]
    return [free[0], *(mine if len(mine) else rest for mine, rest in zip(said[1:], free[1:], strict=True))]


def split_every_class(
    given: Tensor, labels: Tensor, names: Sequence[str], val: float, test: float, seed: int
) -> list[Tensor]:
    """``shares``; raises ConfigError for a class without a row in each split."""
    rows = split_by_fraction(given, labels, val, test, seed)
    counts = torch.stack([labels[part].bincount(minlength=len(names)) for part in rows])
    lacking = (counts == 0).nonzero().tolist()
    if lacking:
        split, which = lacking[0]
        raise ConfigError(
            f"data.path: class {names[which]!r} has {int(counts[:, which].sum())} files, none of them in the"
            f" {SPLITS[split]} split: every class needs one in each, by data.val and data.test"
        )
    return rows
