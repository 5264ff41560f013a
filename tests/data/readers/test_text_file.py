"""Reading of user files: special files, folders and unreadable files raise; line endings are normalized."""

from __future__ import annotations

import os
import shlex
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from trainer.data.readers import (
    delimited,
    download,
    idx_format,
    image_input,
    region_tables,
    text_file,
    triples_file,
    ts_format,
)
from trainer.data.readers.cell_parsing import CellFormat
from trainer.utils.errors import DataError, SystemFault

FORMAT = region_tables.RegionTableFormat(None, "auto", "utf-8", CellFormat(frozenset()))
READERS: dict[str, Callable[[Path], Any]] = {
    "text": lambda path: text_file.read(path, "data.path"),
    "table": lambda path: delimited.read(str(path), "data.path", None, "auto", "utf-8"),
    "triples": lambda path: triples_file.read(path, ["head", "relation", "tail"]),
    "array": lambda path: FORMAT.read(path, "data.path"),
    "cases": ts_format.read,
    "idx": lambda path: idx_format.read(path, 3),
    "packed idx": lambda path: idx_format.read(path, 3),
    "picture": lambda path: image_input.find_images(str(path)),
}
SUFFIXES = {"array": ".npy", "packed idx": ".gz", "picture": ".png"}


pytestmark = pytest.mark.timeout(20)  # a reader that blocks


@pytest.mark.parametrize("kind", READERS)
def test_a_named_pipe_does_not_block(tmp_path: Path, kind: str) -> None:
    pipe = tmp_path / f"pipe{SUFFIXES.get(kind, '')}"
    os.mkfifo(pipe)
    with pytest.raises(DataError, match=f"{pipe} is a pipe"):
        READERS[kind](pipe)


@pytest.mark.parametrize("kind", sorted(READERS.keys() - {"picture"}))
def test_folder_and_missing_path_raise(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / f"folder{SUFFIXES.get(kind, '')}"
    folder.mkdir()
    (folder / "inside.csv").touch()
    with pytest.raises(DataError, match=r"is a folder \(inside.csv\); give a file in it"):
        READERS[kind](folder)
    with pytest.raises(DataError, match=r"folde\S* does not exist; did you mean folder"):
        READERS[kind](folder.with_stem("folde"))


def test_socket_device_and_invalid_path_raise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as unix_socket:
        unix_socket.bind("socket")
        with pytest.raises(DataError, match="is a socket"):
            text_file.check_regular_file(tmp_path / "socket")
    with pytest.raises(DataError, match=r"source: /dev/null is a device"):
        text_file.check_regular_file("/dev/null", "data.source")
    with pytest.raises(DataError, match="does not exist"):
        text_file.check_regular_file("a\0b")
    with pytest.raises(SystemFault, match=r"^path: cannot read /.*: File name too long"):
        text_file.check_regular_file("a" * 300)


def test_named_pipe_instead_of_downloaded_file_raises(tmp_path: Path) -> None:
    (tmp_path / "some").mkdir()
    os.mkfifo(tmp_path / "some" / "x")
    with pytest.raises(SystemFault, match=f"data some: {tmp_path}/some/x is not a regular file"):
        download.fetch_files("some", [download.Source("x", "0" * 64, None)], str(tmp_path))


def test_unreadable_file_raises_system_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("a")

    def deny_access(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", deny_access)
    with pytest.raises(SystemFault, match=rf"path: cannot read {tmp_path}/a.txt: Permission denied"):
        text_file.read(tmp_path / "a.txt", "data.path")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"one\r\ntwo\r\n", "one\ntwo\n"),
        (b"one\rtwo\r", "one\ntwo\n"),
        (b"one\rover\ntwo\n", "one\rover\ntwo\n"),
        (b"\xef\xbb\xbfone\r\n\r\ntwo", "one\n\ntwo"),
    ],
)
def test_line_endings_are_normalized(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    assert text_file.read(tmp_path / "a.txt", "data.path") == expected


def test_check_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert text_file.check_folder(tmp_path, "give it") == tmp_path
    with pytest.raises(DataError, match=r"^input: .*/file is a file; give the folder$"):
        text_file.check_folder(tmp_path / "file", "give the folder", "input")
    with pytest.raises(DataError, match=r"^path: .*/none does not exist"):
        text_file.check_folder(tmp_path / "none", "give the folder")
    with pytest.raises(SystemFault, match="File name too long"):
        text_file.check_folder("x" * 300, "give the folder")


@pytest.mark.parametrize(
    "name", ["a", "2019", "sepal length (cm)", "a,b", "x: y", "[b", "größe", "01", "1.5", "true", ""]
)
def test_quoted_override_value_round_trips(name: str) -> None:
    for text in (name, f'{name}"s', f"{name}\\", f"it's {name}"):
        (word,) = shlex.split(
            text_file.quote_for_shell(f"data.drop_columns=[{text_file.format_override_value(text)},z]")
        )
        assert list(map(str, OverridesParser.create().parse_override(word).value())) == [text, "z"]
