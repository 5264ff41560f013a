"""What the files of a data set hold, as digests: contents and names, never times.

Cheap by default: of a file over 4 MB sixteen blocks and the size are read, so a change of its length or of most of it
is found, not one of a few bytes in between. ``fingerprint=exact`` reads every byte besides: the cheap digest is that of
the data, the same for either, and names a run.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any

from trainer.utils.errors import ConfigError, SystemFault

VERSION = 1
"""Of how a file is described, not of which files are listed: digests of one version can be compared."""
MAX_WHOLE_FILE_BYTES = 1 << 22
"""Files up to this size are read whole."""
NUM_BLOCKS, BLOCK_BYTES = 16, 1 << 16
MAX_LISTED_FILES = 5000
"""Of more files than this, the digests of their folders are kept."""
RUNS_DIR_NAME = "outputs"
"""Folders of runs lie in one of this name, which may lie below the data and then grows with every run."""
RUN_FILE_NAMES, JOB_SUFFIX = (".lock", "results.json", "last.pt", "previous.pt"), ".out"
"""Each of them tells a folder of a run; a file that ends so is the first of a sweep's."""
BYTECODE_DIR_NAME, BYTECODE_SUFFIX = "__pycache__", ".pyc"
MAX_SHOWN_NAMES = 3
CLOCK_TOLERANCE_SECONDS = 2.0
"""By so much the clock of a disk may be behind."""


def compute_fingerprint(
    paths: Mapping[str, Path], suffixes: Sequence[str] = (), *, exact: bool = False
) -> dict[str, Any]:
    """The digests of files, as plain values.

    Args:
        paths: a file or folder by the key of the configuration that names it; one that does not exist is left out.
            ``KEY/PATH`` is a file below that of a key, which counts whatever its ending.
        endings: the files of a folder that count, by how their names end; none given, all do.
        exact: read every byte.

    Returns:
        ``digest`` of everything, ``exact``, and the digests of each file (or folder, of many files) by its key and
        its path below it: the cheap one, and that of every byte where it is another and was asked for.

    Raises SystemFault for a file that cannot be read.
    """
    files: dict[str, list[Any]] = {}
    for key, path in sorted(paths.items()):
        file = path
        try:
            for relative_path, file in _list_files(path, suffixes):
                name = f"{key}/{relative_path}" if relative_path else key
                if name not in files:
                    files[name] = _describe_file(file, exact)
        except OSError as error:
            unreadable_path = Path(os.fsdecode(error.filename or file)).absolute()
            raise SystemFault(f"data.{key}: cannot read {unreadable_path}: {error.strerror}") from error
    entries = sorted((name, entry[:2]) for name, entry in files.items())
    digest = hashlib.sha256(repr(entries).encode("utf-8", "surrogateescape")).hexdigest()
    return {
        "version": VERSION,
        "exact": exact,
        "digest": digest[:32],
        "count": len(files),
        "files": _digest_by_dir(files) if len(files) > MAX_LISTED_FILES else files,
    }


def check_not_empty(fingerprint: Mapping[str, Any], paths: Mapping[str, Path]) -> None:
    """Raises SystemFault for a fingerprint without a file, of paths from which data was read."""
    if not fingerprint["count"]:
        locations = ", ".join(str(path.absolute()) for path in paths.values())
        raise SystemFault(
            f"data: none of the files that were read below {locations} could be listed, so that no change of them"
            " would be found: the folder must be readable, and `reads` of a data set of your own must name the endings"
        )


def describe_changes(saved: Mapping[str, Any], current: Mapping[str, Any], paths: Mapping[str, Path]) -> list[str]:
    """What differs between two fingerprints, in words for each kind of change; ``paths`` are those of ``now``.

    Raises ConfigError for a fingerprint of another version, which describes files in another way.
    """
    if saved["version"] != VERSION:
        raise ConfigError(
            f"the fingerprint of the data has version {saved['version']} and cannot be compared: this version of train"
            f" compares version {VERSION}"
        )
    if not saved["files"]:
        return ["the run stored the contents of none: whether they have changed cannot be told"]
    saved_files, current_files = saved["files"], current["files"]
    if _is_digested_by_dir(saved_files) != _is_digested_by_dir(current_files):
        saved_files, current_files = (
            files if _is_digested_by_dir(files) else _digest_by_dir(files) for files in (saved_files, current_files)
        )
    missing, added = (
        sorted(saved_files.keys() - current_files.keys()),
        sorted(current_files.keys() - saved_files.keys()),
    )
    changed = sorted(
        name
        for name in saved_files.keys() & current_files.keys()
        if list(saved_files[name]) != list(current_files[name])
    )
    kinds = (("missing", missing), ("new", added), ("changed", changed))
    return [
        f"{len(names)} {kind}: {_format_names([_resolve_path(name, paths) for name in names])}"
        for kind, names in kinds
        if names
    ]


def is_modified_since(paths: Mapping[str, Path], suffixes: Sequence[str], timestamp: float) -> bool:
    """Whether a file may have been written or put in its place since a moment (seconds), by the clock of its disk."""
    files = (file for path in paths.values() for _, file in _list_files(path, suffixes))
    try:
        times = [max(stat.st_mtime, stat.st_ctime) for stat in map(os.stat, files)]
    except OSError:  # one has just gone
        return True
    return any(modified_at >= timestamp - CLOCK_TOLERANCE_SECONDS for modified_at in times)


def _resolve_path(name: str, paths: Mapping[str, Path]) -> str:
    """The path of a file or folder of a fingerprint: below that of its key, or that itself."""
    key, _, relative_path = name.partition("/")
    if not key:  # the folder of files that are named by their keys alone
        return " or ".join(str(path) for key, path in paths.items() if "/" not in key and os.path.isfile(path)) or name
    return str(paths[key] / relative_path) if key in paths else name


def _list_files(path: Path, suffixes: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """The regular files of a folder that count, by their path below it; a file is itself, without a name."""
    # Not Path.is_file, which raises for a name that is too long.
    if os.path.isfile(path):
        yield "", path
        return
    for folder, names in _walk_dirs(path):
        for name in sorted(names):
            file = Path(folder, name)
            has_suffix = not suffixes or name.lower().endswith(tuple(suffixes))
            if has_suffix and not name.startswith(".") and os.path.isfile(file):
                yield file.relative_to(path).as_posix(), file


def _walk_dirs(path: Path) -> Iterator[tuple[str, list[str]]]:
    """A folder and those below it that data may be read from, links followed, each with the names of its files."""
    ancestors: dict[str, frozenset[tuple[int, int]]] = {os.fspath(path): frozenset()}
    # A folder that may not be listed has no files here: whoever reads it refuses it.
    for folder, subfolders, names in os.walk(path, followlinks=True):
        # A link may lead back to a folder that it lies in. Two that lead to one folder are two classes.
        chain = ancestors.pop(folder) | {_get_inode(folder)}
        may_have_runs = RUNS_DIR_NAME in Path(folder).relative_to(path).parts
        followed = []
        for name in sorted(subfolders):
            subfolder = os.path.join(folder, name)
            if (
                not name.startswith(".")
                and not (may_have_runs and _is_run_dir(subfolder))
                and _get_inode(subfolder) not in chain
            ):
                ancestors[subfolder] = chain
                followed.append(name)
        subfolders[:] = followed
        is_bytecode = os.path.basename(folder) == BYTECODE_DIR_NAME
        yield folder, [name for name in names if not (is_bytecode and name.endswith(BYTECODE_SUFFIX))]


def _get_inode(folder: str) -> tuple[int, int]:
    stat = os.stat(folder)
    return stat.st_dev, stat.st_ino


def _is_run_dir(folder: str) -> bool:
    """Whether it is the folder of a run, or of several such as those of a sweep."""
    _, subfolders, files = next(os.walk(folder), ("", [], []))
    candidates = [folder, *(os.path.join(folder, name) for name in subfolders)]
    is_run = any(os.path.lexists(os.path.join(candidate, name)) for candidate in candidates for name in RUN_FILE_NAMES)
    return is_run or any(name.endswith(JOB_SUFFIX) for name in files)


def _describe_file(path: Path, exact: bool) -> list[Any]:
    """Size, digest of the file or of some blocks of a large one, and where wanted that of every byte of a large one."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= MAX_WHOLE_FILE_BYTES:
            return [size, _digest_all(file)]
        sample_hash = hashlib.sha256(str(size).encode())
        for block in range(NUM_BLOCKS):
            file.seek((size - BLOCK_BYTES) * block // (NUM_BLOCKS - 1))
            sample_hash.update(file.read(BLOCK_BYTES))
        file.seek(0)
        return [size, sample_hash.hexdigest()[:32], *([_digest_all(file)] if exact else [])]


def _digest_all(file: BufferedReader) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def _digest_by_dir(files: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    """The number of files and one digest for each folder."""
    folders: dict[str, list[str]] = {}
    for name, entry in sorted(files.items()):
        folders.setdefault(f"{name.rpartition('/')[0]}/", []).append(" ".join(map(str, (name, *entry))))
    return {
        name: [len(lines), hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()[:32]]
        for name, lines in folders.items()
    }


def _is_digested_by_dir(files: Mapping[str, list[Any]]) -> bool:
    return any(name.endswith("/") for name in files)


def _format_names(names: Sequence[str]) -> str:
    return ", ".join(names[:MAX_SHOWN_NAMES]) + (
        f" and {len(names) - MAX_SHOWN_NAMES} more" if len(names) > MAX_SHOWN_NAMES else ""
    )
