"""Files of the user's, and the text in them."""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from trainer.data.readers.download import missing_file_error
from trainer.utils.errors import ConfigError, SystemFault

BINARY_SIGNATURES = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"PK\x03\x04": "a zip archive or an Office document; export it as text",
    b"\x1f\x8b": "a gzip archive; unpack it",
    b"PAR1": "a Parquet file; export it as text",
    b"%PDF": "a PDF document; export it as text",
}

BARE_VALUE = re.compile(r"(?!(?:true|false|null|nan|inf)\Z)[a-z_][a-z0-9_]*|0|[1-9]\d{,17}", re.ASCII | re.I)
"""What Hydra reads as it stands: a text of letters, and whole numbers, by which columns are found as well."""

SPECIAL_FILE_TYPES = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@contextmanager
def convert_os_errors(path: Path, option: str = "data.path") -> Iterator[None]:
    """Raises SystemFault, naming ``option``, for what the system does not let one read."""
    try:
        yield
    except OSError as error:
        place = Path(os.fsdecode(error.filename or path)).absolute()
        raise SystemFault(f"{option}: cannot read {place}: {error.strerror or error}") from error


def describe_special_file(path: Path) -> str | None:
    """What lies at a path that is neither a file nor a folder: opening a pipe waits for whoever writes into it."""
    try:
        return SPECIAL_FILE_TYPES.get(stat.S_IFMT(os.stat(path).st_mode))
    except (OSError, ValueError):  # whoever opens it says why
        return None


def check_regular_file(path: str | Path, option: str = "data.path") -> Path:
    """The path of a file that can be opened without waiting.

    Raises ConfigError, naming ``option``, for nothing, a folder, a pipe and a device; SystemFault for what may not be
    looked at.
    """
    path = Path(path).expanduser()
    if _is_folder(path, option):
        with convert_os_errors(path, option):
            inside = sorted(os.listdir(path))
        raise ConfigError(
            f"{option}: {path.absolute()} is a folder ({join_names(inside) or 'empty'}); give a file in it"
        )
    if kind := describe_special_file(path):
        raise ConfigError(f"{option}: {path.absolute()} is {kind}; write what it gives into a file, and give that")
    return path


def _is_folder(path: Path, option: str) -> bool:
    with convert_os_errors(path, option):
        try:
            return stat.S_ISDIR(os.stat(path).st_mode)
        except (FileNotFoundError, NotADirectoryError, ValueError) as error:  # ValueError: a zero byte in the name
            raise missing_file_error(path, option) from error


def check_folder(path: str | Path, wanted: str, option: str = "data.path") -> Path:
    """The path of a folder.

    Raises ConfigError, naming ``option``, for nothing, and for what is no folder, with what is ``wanted`` instead;
    SystemFault for what may not be looked at.
    """
    path = Path(path).expanduser()
    if not _is_folder(path, option):
        raise ConfigError(f"{option}: {path.absolute()} is {describe_special_file(path) or 'a file'}; {wanted}")
    return path


def list_folder(folder: Path, option: str = "data.path") -> list[Path]:
    """What lies in a folder and is not hidden, in order of the names. Raises SystemFault where it may not be read."""
    with convert_os_errors(folder, option):
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def read(path: str | Path, option: str, encoding: str = "utf-8", wanted: str = "text") -> str:
    """All of a file, without a byte order mark; lines end with a line feed, whatever the system it was written on.

    Raises ConfigError, naming ``option``, for a file that is not there or not text: what it is, or at which line;
    SystemFault for one that cannot be read.
    """
    path = check_regular_file(path, option)
    with convert_os_errors(path, option):
        raw = path.read_bytes()
    kind = next((words for magic, words in BINARY_SIGNATURES.items() if raw.startswith(magic)), None)
    if kind is None and b"\0" in raw[:4096] and "16" not in encoding:
        kind = "UTF-16 text; data.encoding=utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "binary"
    if kind is not None:
        raise ConfigError(f"{option}: {path.absolute()} is not {wanted} but {kind}")
    try:
        return _normalize_newlines(raw.decode(encoding).removeprefix("\ufeff"))
    except LookupError as error:
        raise ConfigError(f"data.encoding: no encoding {encoding!r}; common ones: utf-8, latin-1, cp1252") from error
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        hint = "; older files are often data.encoding=latin-1" if encoding == "utf-8" else ""
        raise ConfigError(f"{option}: {path.absolute()} is not {encoding} text at line {line}{hint}") from error


def _normalize_newlines(text: str) -> str:
    """Carriage returns are ends of lines beside a line feed, or where there is none at all."""
    text = text.replace("\r\n", "\n")
    return text if "\n" in text else text.replace("\r", "\n")


def join_names(names: Iterable[str], most: int = 20) -> str:
    """The first of many names, for messages."""
    listed = list(names)
    return ", ".join(listed[:most]) + (f", ... ({len(listed)} in all)" if len(listed) > most else "")


def format_override_value(text: str) -> str:
    """A text as a value of an override: in double quotes where Hydra would not read these letters as a text."""
    if BARE_VALUE.fullmatch(text):
        return text
    escaped = re.sub(r'(\\*)("|\Z)', lambda found: found[1] * 2 + '\\"' * bool(found[2]), text)
    return f'"{escaped}"'


def quote_for_shell(value: str) -> str:
    """A value of an override as it is typed into a shell, which would take double quotes away."""
    return shlex.quote(value) if '"' in value else value


def quote_cell(cell: str, most: int = 40) -> str:
    """A cell in quotes, its beginning if it is long, control characters escaped."""
    return repr(cell if len(cell) <= most else f"{cell[:most]}...")
