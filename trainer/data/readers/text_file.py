"""Text files: path checks, decoding and formatting for messages."""

from __future__ import annotations

import codecs
import os
import re
import shlex
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainer.utils.errors import DataError, SystemFault
from trainer.utils.paths import missing_file_error
from trainer.utils.text import join_names

BINARY_SIGNATURES = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"PK\x03\x04": "a zip archive or an Office document; export it as text",
    b"\x1f\x8b": "a gzip archive; unpack it",
    b"PAR1": "a Parquet file; export it as text",
    b"%PDF": "a PDF document; export it as text",
}

BARE_VALUE = re.compile(r"(?!(?:true|false|null|nan|inf)\Z)[a-z_][a-z0-9_]*|0|[1-9]\d{,17}", re.ASCII | re.I)
"""Values that need no quotes in a Hydra override: identifiers, and integers, which also select columns."""

BYTE_ORDER_MARK = "\ufeff"
INPUT_OPTION = "input"
"""Option of the file that a trained run is applied to."""
BLOCK_BYTES = 1 << 20
"""Bytes that ``iter_lines`` reads at once."""
SPECIAL_FILE_TYPES = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@contextmanager
def convert_os_errors(path: Path, option: str = "path") -> Iterator[None]:
    """Convert OSError to SystemFault, naming ``option``.

    Args:
        path: Path named if the error has none.
        option: Option named in the message.

    Raises:
        SystemFault: The block has raised an OSError.
    """
    try:
        yield
    except OSError as error:
        location = Path(os.fsdecode(error.filename or path)).absolute()
        raise SystemFault(f"{option}: cannot read {location}: {error.strerror or error}") from error


def describe_special_file(path: Path) -> str | None:
    """Return the type of a special file, or None; opening a pipe would block until it is written."""
    try:
        return SPECIAL_FILE_TYPES.get(stat.S_IFMT(os.stat(path).st_mode))
    except (OSError, ValueError):  # opening it reports the reason
        return None


def check_regular_file(path: str | Path, option: str = "path") -> Path:
    """Return the expanded path of a regular file.

    Args:
        path: Path from the user.
        option: Option named in error messages.

    Raises:
        DataError: The path is missing, a folder, a pipe or a device; the message names ``option``.
        SystemFault: The path cannot be accessed.
    """
    path = Path(path).expanduser()
    if _is_folder(path, option):
        with convert_os_errors(path, option):
            entries = sorted(os.listdir(path))
        raise DataError(
            f"{option}: {path.absolute()} is a folder ({join_names(entries) or 'empty'}); give a file in it"
        )
    if special_type := describe_special_file(path):
        raise DataError(f"{option}: {path.absolute()} is {special_type}; write its content to a file and give that")
    return path


def _is_folder(path: Path, option: str) -> bool:
    with convert_os_errors(path, option):
        try:
            return stat.S_ISDIR(os.stat(path).st_mode)
        except (FileNotFoundError, NotADirectoryError, ValueError) as error:  # ValueError: a zero byte in the name
            raise missing_file_error(path, option) from error


def check_folder(path: str | Path, requirement: str, option: str = "path") -> Path:
    """Return the expanded path of a folder.

    Args:
        path: Path from the user.
        requirement: Requirement, for the error message.
        option: Option named in error messages.

    Raises:
        DataError: The path is missing or not a folder; the message names ``option``.
        SystemFault: The path cannot be accessed.
    """
    path = Path(path).expanduser()
    if not _is_folder(path, option):
        raise DataError(f"{option}: {path.absolute()} is {describe_special_file(path) or 'a file'}; {requirement}")
    return path


def list_folder(folder: Path, option: str = "path") -> list[Path]:
    """List the non-hidden entries of a folder, sorted by name.

    Args:
        folder: Folder to list.
        option: Option named in error messages.

    Raises:
        SystemFault: The folder cannot be read.
    """
    with convert_os_errors(folder, option):
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def read(path: str | Path, option: str, encoding: str = "utf-8", expected_content: str = "text") -> str:
    """Read a text file, without byte order mark and with line feeds as line ends.

    Args:
        path: File to read.
        option: Option named in error messages.
        encoding: Text encoding.
        expected_content: Expected content, for the error message.

    Raises:
        DataError: The file is missing or not text; the message names ``option`` and the file type or line.
        SystemFault: The file cannot be read.
    """
    path = check_regular_file(path, option)
    with convert_os_errors(path, option):
        raw = path.read_bytes()
    _refuse_binary(raw, path, option, encoding, expected_content)
    try:
        return _normalize_newlines(raw.decode(encoding).removeprefix(BYTE_ORDER_MARK))
    except LookupError as error:
        raise _unknown_encoding_error(encoding) from error
    except UnicodeDecodeError as error:
        raise _undecodable_error(path, option, encoding, raw.count(b"\n", 0, error.start) + 1) from error


def iter_lines(path: str | Path, option: str, encoding: str = "utf-8", expected_content: str = "text") -> Iterator[str]:
    """Yield the lines of a text file without their line ends, in memory for a few blocks.

    Lines end at line feeds alone (or at carriage returns in a file without line feeds), as in the text of ``read``.

    Args:
        path: File to read.
        option: Option named in error messages.
        encoding: Text encoding.
        expected_content: Expected content, for the error message.

    Raises:
        DataError: The file is missing or not text; the message names ``option`` and the file type or line.
        SystemFault: The file cannot be read.
    """
    path = check_regular_file(path, option)
    try:
        decoder = codecs.getincrementaldecoder(encoding)()
    except LookupError as error:
        raise _unknown_encoding_error(encoding) from error
    line_end, pending, num_lines = "", "", 0
    with convert_os_errors(path, option), path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            if not line_end:
                _refuse_binary(block, path, option, encoding, expected_content)
            try:
                decoded = decoder.decode(block)
            except UnicodeDecodeError as error:
                line = num_lines + error.object.count(b"\n", 0, error.start) + 1
                raise _undecodable_error(path, option, encoding, line) from error
            if not line_end:
                line_end = "\r" if "\r" in decoded and "\n" not in decoded else "\n"
                decoded = decoded.removeprefix(BYTE_ORDER_MARK)
            *lines, pending = (pending + decoded).split(line_end)
            num_lines += len(lines)
            yield from (line.removesuffix("\r") for line in lines)
        if decoder.getstate()[0]:
            raise _undecodable_error(path, option, encoding, num_lines + 1)
    if pending:
        yield pending.removesuffix("\r")


def _refuse_binary(raw: bytes, path: Path, option: str, encoding: str, expected_content: str) -> None:
    detected_type = next((words for magic, words in BINARY_SIGNATURES.items() if raw.startswith(magic)), None)
    if detected_type is None and b"\0" in raw[:4096] and "16" not in encoding:
        is_utf_16 = raw[:2] in (b"\xff\xfe", b"\xfe\xff")
        detected_type = f"UTF-16 text; {_suggest_encoding(option, encoding, 'utf-16')}" if is_utf_16 else "binary"
    if detected_type is not None:
        raise DataError(f"{option}: {path.absolute()} is not {expected_content} but {detected_type}")


def _unknown_encoding_error(encoding: str) -> DataError:
    return DataError(f"encoding: unknown encoding {encoding!r}; common ones: utf-8, latin-1, cp1252")


def _undecodable_error(path: Path, option: str, encoding: str, line: int) -> DataError:
    suggestion = _suggest_encoding(option, encoding, "latin-1")
    hint = "" if encoding != "utf-8" else f"; {'' if option == INPUT_OPTION else 'older files are often '}{suggestion}"
    return DataError(f"{option}: {path.absolute()} is not {encoding} text at line {line}{hint}")


def _suggest_encoding(option: str, encoding: str, actual: str) -> str:
    """Return what to do about a file in another encoding: set the key of the data or, for a trained run, convert it."""
    return f"convert it to {encoding}" if option == INPUT_OPTION else f"data.encoding={actual}"


def _normalize_newlines(text: str) -> str:
    """Convert CRLF, or CR in a text without line feeds, to line feeds."""
    text = text.replace("\r\n", "\n")
    return text if "\n" in text else text.replace("\r", "\n")


def format_override_value(text: str) -> str:
    """Format a text as the value of a Hydra override, in double quotes where necessary."""
    if BARE_VALUE.fullmatch(text):
        return text
    escaped = re.sub(r'(\\*)("|\Z)', lambda match: match[1] * 2 + '\\"' * bool(match[2]), text)
    return f'"{escaped}"'


def quote_for_shell(value: str) -> str:
    """Quote the value of an override for a shell, which would remove double quotes."""
    return shlex.quote(value) if '"' in value else value


def quote_cell(cell: str, max_length: int = 40) -> str:
    """Quote a cell, truncated and with control characters escaped.

    Args:
        cell: Text of the cell.
        max_length: Maximum number of characters.
    """
    return repr(cell if len(cell) <= max_length else f"{cell[:max_length]}...")
