"""Descriptions of missing paths."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainer.utils import paths


def test_the_nearest_folder_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    for name in ("", "nope", "nope/deeper", "file", "file/below", "n" * 999):
        assert paths.find_nearest_dir(tmp_path / name) == tmp_path
    monkeypatch.chdir(tmp_path)
    assert paths.find_nearest_dir(Path("nope/deeper")) == tmp_path
