"""Text in files of the user's."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from trainer.data.parts.files import missing
from trainer.errors import ConfigError, SystemFault

FORMATS = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"PK\x03\x04": "a zip archive or an Office document; export it as text",
    b"\x1f\x8b": "a gzip archive; unpack it",
    b"PAR1": "a Parquet file; export it as text",
    b"%PDF": "a PDF document; export it as text",
}


def read(path: str | Path, option: str, encoding: str = "utf-8", wanted: str = "text") -> str:
    """All of a file, without a byte order mark.

    Raises ConfigError, naming ``option``, for a file that is not there or not text: what it is, or at which line;
    SystemFault for one that cannot be read.
    """
    path = Path(path).expanduser()
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise missing(path, option) from error
    except IsADirectoryError as error:
        inside = shown(sorted(os.listdir(path)))
        raise ConfigError(f"{option}: {path.absolute()} is a folder ({inside}); give a file in it") from error
    except OSError as error:
        raise SystemFault(f"{option}: cannot read {path.absolute()}: {error.strerror}") from error
    kind = next((words for magic, words in FORMATS.items() if raw.startswith(magic)), None)
    if kind is None and b"\0" in raw[:4096] and "16" not in encoding:
        kind = "UTF-16 text; data.encoding=utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "binary"
    if kind is not None:
        raise ConfigError(f"{option}: {path.absolute()} is not {wanted} but {kind}")
    try:
        return raw.decode(encoding).removeprefix("\ufeff")
    except LookupError as error:
        raise ConfigError(f"data.encoding: no encoding {encoding!r}; common ones: utf-8, latin-1, cp1252") from error
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        hint = "; older files are often data.encoding=latin-1" if encoding == "utf-8" else ""
        raise ConfigError(f"{option}: {path.absolute()} is not {encoding} text at line {line}{hint}") from error


def shown(names: Iterable[str], most: int = 20) -> str:
    """The first of many names, for messages."""
    listed = list(names)
    return ", ".join(listed[:most]) + (f", ... ({len(listed)} in all)" if len(listed) > most else "")


def quoted(cell: str, most: int = 40) -> str:
    """A cell in quotes, its beginning if it is long, control characters escaped."""
    return repr(cell if len(cell) <= most else f"{cell[:most]}...")
