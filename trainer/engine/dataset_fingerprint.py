"""What the files of a data set hold, as digests: contents and names, never times.

Cheap by default: of a file over 4 MB sixteen blocks and the size are read, so a change of its length or of most of it
is found, not one of a few bytes in between. ``fingerprint=exact`` reads every byte besides: the cheap digest is that of
the data, the same for either, and names a run.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from trainer.utils.errors import ConfigError, SystemFault

VERSION = 1
"""Of how a file is described, not of which files are listed: digests of one version can be compared."""
WHOLE_BYTES = 1 << 22
"""Files up to this size are read whole."""
BLOCKS, BLOCK_BYTES = 16, 1 << 16
MANY_FILES = 5000
"""Of more files than this, the digests of their folders are kept."""
RUNS = "outputs"
"""Folders of runs lie in one of this name, which may lie below the data and then grows with every run."""
RUN_FILES, JOB_ENDING = (".lock", "results.json", "last.pt", "previous.pt"), ".out"
"""Each of them tells a folder of a run; a file that ends so is the first of a sweep's."""
BYTECODE, BYTECODE_ENDING = "__pycache__", ".pyc"
SHOWN = 3
CLOCK_SECONDS = 2.0
"""By so much the clock of a disk may be behind."""


def fingerprint(paths: Mapping[str, Path], endings: Sequence[str] = (), *, exact: bool = False) -> dict[str, Any]:
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
            for below, file in _files(path, endings):
                name = f"{key}/{below}" if below else key
                if name not in files:
                    files[name] = _described(file, exact)
        except OSError as error:
            place = Path(os.fsdecode(error.filename or file)).absolute()
            raise SystemFault(f"data.{key}: cannot read {place}: {error.strerror}") from error
    cheap = sorted((name, entry[:2]) for name, entry in files.items())
    whole = hashlib.sha256(repr(cheap).encode("utf-8", "surrogateescape")).hexdigest()
    return {
        "version": VERSION,
        "exact": exact,
        "digest": whole[:32],
        "count": len(files),
        "files": _by_folder(files) if len(files) > MANY_FILES else files,
    }


def refuse_empty(found: Mapping[str, Any], paths: Mapping[str, Path]) -> None:
    """Raises SystemFault for a fingerprint without a file, of paths from which data was read."""
    if not found["count"]:
        places = ", ".join(str(path.absolute()) for path in paths.values())
        raise SystemFault(
            f"data: none of the files that were read below {places} could be listed, so that no change of them would be"
            " found: the folder must be readable, and `reads` of a data set of your own must name the endings"
        )


def changed_files(before: Mapping[str, Any], now: Mapping[str, Any], paths: Mapping[str, Path]) -> list[str]:
    """What differs between two fingerprints, in words for each kind of change; ``paths`` are those of ``now``.

    Raises ConfigError for a fingerprint of another version, which describes files in another way.
    """
    if before["version"] != VERSION:
        raise ConfigError(
            f"the fingerprint of the data has version {before['version']} and cannot be compared: this version of train"
            f" compares version {VERSION}"
        )
    if not before["files"]:
        return ["the run stored the contents of none: whether they have changed cannot be told"]
    old, new = before["files"], now["files"]
    if _is_by_folder(old) != _is_by_folder(new):
        old, new = (files if _is_by_folder(files) else _by_folder(files) for files in (old, new))
    gone, added = sorted(old.keys() - new.keys()), sorted(new.keys() - old.keys())
    other = sorted(name for name in old.keys() & new.keys() if list(old[name]) != list(new[name]))
    kinds = (("missing", gone), ("new", added), ("changed", other))
    return [
        f"{len(names)} {kind}: {_shown([_path_of(name, paths) for name in names])}" for kind, names in kinds if names
    ]


def is_modified_since(paths: Mapping[str, Path], endings: Sequence[str], moment: float) -> bool:
    """Whether a file may have been written or put in its place since a moment (seconds), by the clock of its disk."""
    files = (file for path in paths.values() for _, file in _files(path, endings))
    try:
        times = [max(found.st_mtime, found.st_ctime) for found in map(os.stat, files)]
    except OSError:  # one has just gone
        return True
    return any(time >= moment - CLOCK_SECONDS for time in times)


def _path_of(name: str, paths: Mapping[str, Path]) -> str:
    """The path of a file or folder of a fingerprint: below that of its key, or that itself."""
    key, _, below = name.partition("/")
    if not key:  # the folder of files that are named by their keys alone
        return " or ".join(str(path) for key, path in paths.items() if "/" not in key and os.path.isfile(path)) or name
    return str(paths[key] / below) if key in paths else name


def _files(path: Path, endings: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """The regular files of a folder that count, by their path below it; a file is itself, without a name."""
    # Not Path.is_file, which raises for a name that is too long.
    if os.path.isfile(path):
        yield "", path
        return
    for folder, names in _folders(path):
        for name in sorted(names):
            file = Path(folder, name)
            counts = not endings or name.lower().endswith(tuple(endings))
            if counts and not name.startswith(".") and os.path.isfile(file):
                yield file.relative_to(path).as_posix(), file


def _folders(path: Path) -> Iterator[tuple[str, list[str]]]:
    """A folder and those below it that data may be read from, links followed, each with the names of its files."""
    above: dict[str, frozenset[tuple[int, int]]] = {os.fspath(path): frozenset()}
    # A folder that may not be listed has no files here: whoever reads it refuses it.
    for folder, inside, names in os.walk(path, followlinks=True):
        # A link may lead back to a folder that it lies in. Two that lead to one folder are two classes.
        chain = above.pop(folder) | {_identity(folder)}
        runs = RUNS in Path(folder).relative_to(path).parts
        kept = []
        for name in sorted(inside):
            place = os.path.join(folder, name)
            if not name.startswith(".") and not (runs and _holds_run(place)) and _identity(place) not in chain:
                above[place] = chain
                kept.append(name)
        inside[:] = kept
        is_bytecode = os.path.basename(folder) == BYTECODE
        yield folder, [name for name in names if not (is_bytecode and name.endswith(BYTECODE_ENDING))]


def _identity(folder: str) -> tuple[int, int]:
    found = os.stat(folder)
    return found.st_dev, found.st_ino


def _holds_run(folder: str) -> bool:
    """Whether it is the folder of a run, or of several such as those of a sweep."""
    _, inside, files = next(os.walk(folder), ("", [], []))
    places = [folder, *(os.path.join(folder, name) for name in inside)]
    is_run = any(os.path.lexists(os.path.join(place, name)) for place in places for name in RUN_FILES)
    return is_run or any(name.endswith(JOB_ENDING) for name in files)


def _described(path: Path, exact: bool) -> list[Any]:
    """Size, digest of the file or of some blocks of a large one, and where wanted that of every byte of a large one."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= WHOLE_BYTES:
            return [size, _digest_all(file)]
        found = hashlib.sha256(str(size).encode())
        for block in range(BLOCKS):
            file.seek((size - BLOCK_BYTES) * block // (BLOCKS - 1))
            found.update(file.read(BLOCK_BYTES))
        file.seek(0)
        return [size, found.hexdigest()[:32], *([_digest_all(file)] if exact else [])]


def _digest_all(file: BinaryIO) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()[:32]  # type: ignore[arg-type]


def _by_folder(files: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    """The number of files and one digest for each folder."""
    folders: dict[str, list[str]] = {}
    for name, entry in sorted(files.items()):
        folders.setdefault(f"{name.rpartition('/')[0]}/", []).append(" ".join(map(str, (name, *entry))))
    return {
        name: [len(lines), hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()[:32]]
        for name, lines in folders.items()
    }


def _is_by_folder(files: Mapping[str, list[Any]]) -> bool:
    return any(name.endswith("/") for name in files)


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
