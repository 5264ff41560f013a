"""Atomic replacement of files, and messages of failed writes."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from trainer.utils import atomic_write
from trainer.utils.errors import SystemFault


def make_failing_call(number: int) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_file_is_replaced_atomically(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    atomic_write.write_text(path, "old")
    with monkeypatch.context() as patched:
        patched.setattr(os, call, make_failing_call(errno.ENOSPC))
        with pytest.raises(SystemFault, match=r"cannot write .*a\.txt: No space left on device; .* MB free"):
            atomic_write.write_text(path, "new")
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]
    atomic_write.write_text(path, "new")
    assert path.read_text() == "new"


def test_bytes_are_synced_before_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, os.replace

    def record_fsync(handle: int) -> None:
        events.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    def record_replace(source: Path, target: Path) -> None:
        assert Path(source).parent == Path(target).parent
        events.append("name")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "replace", record_replace)
    atomic_write.write_text(tmp_path / "a.txt", "text")
    assert events == ["file", "name", "folder"]


def test_directory_fsync_is_optional_but_file_fsync_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = os.fsync

    def fsync(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        original(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    atomic_write.write_text(tmp_path / "a.txt", "text")
    monkeypatch.setattr(os, "fsync", make_failing_call(errno.EINVAL))
    with pytest.raises(SystemFault, match="Invalid argument"):
        atomic_write.write_text(tmp_path / "a.txt", "other")


def test_error_while_writing_leaves_no_file(tmp_path: Path) -> None:
    def draw() -> None:
        with atomic_write.replace_file(tmp_path / "a.png") as temporary:
            assert temporary.suffix == ".png"
            temporary.write_text("half")
            raise ValueError("cannot be drawn")

    with pytest.raises(ValueError, match="cannot be drawn"):
        draw()
    assert list(tmp_path.iterdir()) == []


def test_overwrite_text_keeps_the_inode(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("a long text")
    node = path.stat().st_ino
    atomic_write.overwrite_text(path, "short")
    assert (path.read_text(), path.stat().st_ino, len(list(tmp_path.iterdir()))) == ("short", node, 1)


def test_leftover_files_are_removed_or_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (".last.pt.7.tmp", ".curves.png.7.tmp.png", "kept.tmp"):
        (tmp_path / name).touch()
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", make_failing_call(errno.EROFS))
        with pytest.raises(SystemFault, match="Read-only file system"):
            atomic_write.remove_leftovers(tmp_path)
    atomic_write.remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept.tmp"]


def test_free_bytes_of_a_missing_folder_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert atomic_write.get_free_bytes(tmp_path / "not" / "yet") > 0
    deleted = tmp_path / "gone"
    deleted.mkdir()
    monkeypatch.chdir(deleted)
    deleted.rmdir()
    assert atomic_write.get_free_bytes(Path("outputs")) > 0


def test_directory_exists_once_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "masks"
    with atomic_write.create_directory(target) as directory:
        (directory / "sub").mkdir()
        (directory / "sub" / "a.png").touch()
        assert not target.exists()
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == [
        *("masks", "masks/sub", "masks/sub/a.png")
    ]


def test_error_while_writing_leaves_no_directory(tmp_path: Path) -> None:
    def write(error: Exception) -> None:
        with atomic_write.create_directory(tmp_path / "masks") as directory:
            (directory / "a.png").touch()
            raise error

    with pytest.raises(ValueError, match="cannot be drawn"):
        write(ValueError("cannot be drawn"))
    with pytest.raises(SystemFault, match=r"cannot write .*masks: No space left"):
        write(OSError(errno.ENOSPC, "No space left on device"))
    assert list(tmp_path.iterdir()) == []


def test_directory_does_not_replace_another(tmp_path: Path) -> None:
    def write() -> None:
        with atomic_write.create_directory(tmp_path / "masks"):
            (tmp_path / "masks").mkdir()
            (tmp_path / "masks" / "kept").touch()

    with pytest.raises(SystemFault, match=r"cannot write .*masks"):
        write()
    assert [path.name for path in sorted(tmp_path.rglob("*"))] == ["masks", "kept"]


def test_leftover_directories_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".predictions.7.tmp" / "masks").mkdir(parents=True)
    (tmp_path / ".linked.7.tmp").symlink_to(tmp_path)
    (tmp_path / "kept").mkdir()
    atomic_write.remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
