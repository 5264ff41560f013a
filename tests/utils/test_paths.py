"""Nearest existing directory of a path, and arguments that are paths."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainer.utils import paths


def test_find_nearest_dir_returns_an_existing_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    for name in ("", "nope", "nope/deeper", "file", "file/below", "n" * 999):
        assert paths.find_nearest_dir(tmp_path / name) == tmp_path
    monkeypatch.chdir(tmp_path)
    assert paths.find_nearest_dir(Path("nope/deeper")) == tmp_path


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("outputs/sweeps/day/0-seed=20", True),
        ("0-optimizer.lr=0.1,seed=2", True),
        ("a b=c/outputs/latest", True),
        ("run", True),
        ("seed=20", False),
        ("data.path=outputs/x", False),
        ("+data.path=x", False),
        ("prompt=a/b", False),
    ],
)
def test_path_argument_is_distinguished_from_an_override(word: str, expected: bool) -> None:
    assert paths.is_path_argument(word) is expected


def test_existing_directory_with_equals_sign_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x=y").mkdir()
    assert paths.is_path_argument("x=y")


def test_missing_file_error_names_similar_file_or_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "table.csv").touch()
    monkeypatch.chdir(tmp_path)
    message = str(paths.missing_file_error("tabel.csv"))
    assert message.startswith(f"path: {tmp_path}/tabel.csv does not exist")
    assert "did you mean table.csv" in message
    assert f"deep/er/x.csv does not exist; the nearest directory that exists is {tmp_path}" in str(
        paths.missing_file_error(tmp_path / "deep/er/x.csv")
    )
