"""Listing of the files of a folder by their extension."""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from trainer.data.readers import text_file

IGNORED_FILES = ("thumbs.db", "desktop.ini")
log = logging.getLogger(__name__)


def list_files(folder: Path, endings: Sequence[str]) -> list[Path]:
    """List the files in a folder with these extensions (case-insensitive), without hidden ones.

    Args:
        folder: Folder to list.
        endings: File extensions, in lowercase.
    """
    return [path for path in text_file.list_folder(folder) if path.suffix.lower() in endings]


def list_subfolders(folder: Path) -> dict[str, Path]:
    """Return the subfolders of a folder, without hidden ones, by name."""
    return {path.name: path for path in text_file.list_folder(folder) if os.path.isdir(path)}


def list_nested_files(folder: Path, endings: Sequence[str]) -> list[Path]:
    """List the files in subfolders with these extensions, recursively, without following links.

    Args:
        folder: Folder whose subfolders are searched.
        endings: File extensions, in lowercase.
    """
    files: list[Path] = []
    remaining = [folder]
    while remaining:
        # A link may be cyclic.
        subfolders = [each for each in list_subfolders(remaining.pop()).values() if not each.is_symlink()]
        for subfolder in subfolders:
            files += list_files(subfolder, endings)
        remaining += subfolders
    return files


def warn_about_ignored_files(
    root: Path, folders: Iterable[Path], endings: Sequence[str], parents: Iterable[Path] = ()
) -> None:
    """Log the files in folders that are not read.

    Args:
        root: Root folder of the data set, to which logged paths are relative.
        folders: Folders whose files with these extensions are read.
        endings: File extensions, in lowercase.
        parents: Parent folders, whose own files are not read.
    """
    nested_files: list[Path] = []
    outside_files = [path for folder in parents for path in list_files(folder, endings) if not os.path.isdir(path)]
    by_suffix = defaultdict(list)
    for folder in folders:
        nested_files += list_nested_files(folder, endings)
        for path in text_file.list_folder(folder):
            if (
                path.suffix.lower() not in endings
                and path.name.lower() not in IGNORED_FILES
                and not os.path.isdir(path)
            ):
                by_suffix[path.suffix.lower() or "files without an extension"].append(path)
    groups = {
        "in subfolders": nested_files,
        "outside of class folders": outside_files,
        **dict(sorted(by_suffix.items())),
    }
    counts = [f"{len(paths)} {kind} ({paths[0].relative_to(root)}, ...)" for kind, paths in groups.items() if paths]
    if counts:
        log.warning("files ignored in %s: %s; extensions read: %s", root, "; ".join(counts), " ".join(endings))
