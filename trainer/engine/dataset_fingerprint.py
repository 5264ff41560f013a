"""Fingerprints of the files of a data set: digests of names and contents, without modification times.

By default every byte is read. With ``fingerprint=sampled``, only the size and sixteen blocks of a file over 4 MB are,
so that changes of its length or of large parts are detected, but not of a few bytes between the blocks. The sampled
digest is computed in both cases; it is part of the identity of a run, so that runs of both modes find each other.
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
"""Version of the digests of files; fingerprints of one version can be compared."""
MAX_WHOLE_FILE_BYTES = 1 << 22
"""Maximum size of a file that is read completely."""
NUM_BLOCKS, BLOCK_BYTES = 16, 1 << 16
MAX_LISTED_FILES = 5000
"""Maximum number of files with separate digests; of more files, one digest per folder is stored."""
RUNS_DIR_NAME = "outputs"
"""Directory that contains run directories; below the data it would change with every run, so runs are skipped."""
RUN_FILE_NAMES, JOB_SUFFIX = (".lock", "results.json", "last.pt", "previous.pt"), ".out"
"""Files that identify a run directory, and the suffix of the output files of sweep jobs."""
BYTECODE_DIR_NAME, BYTECODE_SUFFIX = "__pycache__", ".pyc"
MAX_SHOWN_NAMES = 3
CLOCK_TOLERANCE_SECONDS = 2.0
"""Maximum difference between the clocks of a file system and of this machine."""


def compute_fingerprint(
    paths: Mapping[str, Path], suffixes: Sequence[str] = (), *, exact: bool = False
) -> dict[str, Any]:
    """Compute the fingerprint of files, as plain values.

    Args:
        paths: Files or folders by the configuration key that names them; missing ones are skipped. ``KEY/PATH`` is a
            file below the folder of a key, which is included with any suffix.
        suffixes: Suffixes of the files of a folder to include; all files if empty.
        exact: Read every byte.

    Returns:
        Mapping with the ``digest`` of all files, ``exact``, ``version``, ``count``, and ``files``: for each file (or
        folder, if there are many files) its size and digest, and if ``exact`` the digest of every byte of a large file;
        then there is an ``exact_digest`` of all of them, too.

    Raises:
        SystemFault: A file cannot be read.
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
    return {
        "version": VERSION,
        "exact": exact,
        "digest": _digest_entries({name: entry[:2] for name, entry in files.items()}),
        **({"exact_digest": _digest_entries(files)} if exact else {}),
        "count": len(files),
        "files": _digest_by_dir(files) if len(files) > MAX_LISTED_FILES else files,
    }


def check_not_empty(fingerprint: Mapping[str, Any], paths: Mapping[str, Path]) -> None:
    """Check that a fingerprint includes at least one file.

    Args:
        fingerprint: Fingerprint of files from which data was read.
        paths: The paths of the fingerprint.

    Raises:
        SystemFault: It includes no file, so that changes would not be detected.
    """
    if not fingerprint["count"]:
        locations = ", ".join(str(path.absolute()) for path in paths.values())
        raise SystemFault(
            f"data: none of the files that were read below {locations} could be listed, so that changes would"
            " not be detected: the folder must be readable, and `file_suffixes` of your own data set must name their"
            " suffixes"
        )


def describe_changes(saved: Mapping[str, Any], current: Mapping[str, Any], paths: Mapping[str, Path]) -> list[str]:
    """Describe the differences between two fingerprints, one phrase per kind of change.

    Args:
        saved: Fingerprint of a saved run.
        current: Fingerprint of the current files.
        paths: Paths of the current files.

    Raises:
        ConfigError: The saved fingerprint has another version and cannot be compared.
    """
    if saved["version"] != VERSION:
        raise ConfigError(
            f"the fingerprint of the data has version {saved['version']} and cannot be compared: this version of train"
            f" compares version {VERSION}"
        )
    if not saved["files"]:
        return ["the fingerprint of the run has no files: changes cannot be detected"]
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
    """Return whether a file may have been modified or replaced since a time.

    Args:
        paths: Files or folders by configuration key.
        suffixes: Suffixes of the files of a folder to include.
        timestamp: Seconds since the epoch.
    """
    files = (file for path in paths.values() for _, file in _list_files(path, suffixes))
    try:
        times = [max(stat.st_mtime, stat.st_ctime) for stat in map(os.stat, files)]
    except OSError:  # a file has just been removed
        return True
    return any(modified_at >= timestamp - CLOCK_TOLERANCE_SECONDS for modified_at in times)


def _resolve_path(name: str, paths: Mapping[str, Path]) -> str:
    """Return the path of an entry of a fingerprint."""
    key, _, relative_path = name.partition("/")
    if not key:  # files that are identified by their keys
        return " or ".join(str(path) for key, path in paths.items() if "/" not in key and os.path.isfile(path)) or name
    return str(paths[key] / relative_path) if key in paths else name


def _list_files(path: Path, suffixes: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """Yield relative path and path of the files to include; the relative path of a single file is empty."""
    # Path.is_file raises if the name is too long.
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
    """Yield a folder and its subfolders with the names of their files; links are followed, run directories skipped."""
    ancestors: dict[str, frozenset[tuple[int, int]]] = {os.fspath(path): frozenset()}
    # os.walk skips folders without permission; reading the data set reports those.
    for folder, subfolders, names in os.walk(path, followlinks=True):
        # A link may point to one of its parents. Two links to the same folder are both followed.
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
    """Return whether a folder is a run directory or contains run directories, as that of a sweep does."""
    _, subfolders, files = next(os.walk(folder), ("", [], []))
    candidates = [folder, *(os.path.join(folder, name) for name in subfolders)]
    is_run = any(os.path.lexists(os.path.join(candidate, name)) for candidate in candidates for name in RUN_FILE_NAMES)
    return is_run or any(name.endswith(JOB_SUFFIX) for name in files)


def _describe_file(path: Path, exact: bool) -> list[Any]:
    """Return the size of a file, its digest (of a large file, that of some blocks), and if exact its full digest."""
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


def _digest_entries(files: Mapping[str, list[Any]]) -> str:
    return hashlib.sha256(repr(sorted(files.items())).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _digest_all(file: BufferedReader) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def _digest_by_dir(files: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    """Return the number of files and one digest for each folder."""
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
