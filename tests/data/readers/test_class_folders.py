"""Class folders of images: ignored files are logged; pipes and unreadable folders raise."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.image_folders import read, read_error, write
from trainer.utils.errors import SystemFault


def test_ignored_files_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path)
    read(tmp_path)
    assert not caplog.records
    (tmp_path / "bad" / "more" / "deep").mkdir(parents=True)
    content = (tmp_path / "bad" / "000.png").read_bytes()
    for name in ("bad/more/x.png", "bad/more/deep/y.png", "loose.png", "good/900.jfif"):
        (tmp_path / name).write_bytes(content)
    for name in ("good/a.heic", "good/b.HEIC", "good/Thumbs.db", "good/.hidden", "bad/notes"):
        (tmp_path / name).touch()
    data = read(tmp_path)
    assert sum(map(len, (data.train, data.val, data.test))) == 21
    (message,) = [record.message for record in caplog.records if "ignored in" in record.message]
    assert "2 in subfolders (bad/more/x.png, ...)" in message
    assert "1 outside of class folders (loose.png, ...)" in message
    assert "2 .heic (good/a.heic, ...)" in message
    assert "1 files without an extension (bad/notes, ...)" in message
    assert "db" not in message
    (tmp_path / "new" / "here").mkdir(parents=True)
    (tmp_path / "new" / "here" / "a.png").write_bytes(content)
    assert "files (here); 1 are in subfolders, which are not searched" in read_error(tmp_path)


def test_a_named_pipe_among_images_does_not_block(tmp_path: Path) -> None:
    write(tmp_path)
    os.mkfifo(tmp_path / "bad" / "pipe.png")
    assert f"{tmp_path}/bad/pipe.png is a pipe" in read_error(tmp_path)
    assert f"{tmp_path}/bad/pipe.png is a pipe; it must be a folder" in read_error(tmp_path / "bad" / "pipe.png")


def test_an_unreadable_folder_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    original_iterdir = Path.iterdir

    def deny_access(folder: Path) -> Iterator[Path]:
        if folder.name == "good":
            raise PermissionError(13, "Permission denied", str(folder))
        return original_iterdir(folder)

    monkeypatch.setattr(Path, "iterdir", deny_access)
    with pytest.raises(SystemFault, match=rf"^path: cannot read {tmp_path}/good: Permission denied"):
        read(tmp_path)
