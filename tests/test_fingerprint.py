"""What files hold, as digests: of contents and names, cheap or exact, with the change named."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainer import fingerprint
from trainer.fingerprint import changed_files


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is looked at in blocks, of which most bytes are between them."""
    monkeypatch.setattr(fingerprint, "WHOLE_BYTES", 100)
    monkeypatch.setattr(fingerprint, "BLOCK_BYTES", 4)
    path = tmp_path / "large.csv"
    path.write_bytes(bytes(1000))
    return path


def change_between_blocks(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[30] = 1
    path.write_bytes(content)


def test_the_name_of_data_is_the_same_however_closely_it_is_looked_at(large: Path) -> None:
    """Or ``resume=auto fingerprint=exact`` would not find a run of the same data, nor the leaderboard rank it."""
    cheap, exact = (fingerprint.fingerprint({"path": large}, exact=mode) for mode in (False, True))
    assert cheap["digest"] == exact["digest"]
    assert len(exact["files"]["path"]) == len(cheap["files"]["path"]) + 1


def test_an_exact_fingerprint_finds_what_a_cheap_one_overlooks(large: Path) -> None:
    before = [fingerprint.fingerprint({"path": large}, exact=mode) for mode in (False, True)]
    change_between_blocks(large)
    now = [fingerprint.fingerprint({"path": large}, exact=mode) for mode in (False, True)]
    told = [changed_files(a, b, {"path": Path("large.csv")}) for a, b in zip(before, now, strict=True)]
    assert told == [[], ["1 changed: large.csv"]]
    large.write_bytes(bytes(1001))
    assert changed_files(before[0], fingerprint.fingerprint({"path": large}), {}) == ["1 changed: path"]


def test_many_files_are_told_by_their_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "MANY_FILES", 3)
    for number in range(6):
        (tmp_path / "ab"[number % 2]).mkdir(exist_ok=True)
        (tmp_path / "ab"[number % 2] / f"{number}.txt").write_text("x")
    before = fingerprint.fingerprint({"path": tmp_path})
    (tmp_path / "b" / "1.txt").rename(tmp_path / "b" / "7.txt")
    assert changed_files(before, fingerprint.fingerprint({"path": tmp_path}), {"path": Path("books")}) == [
        "1 changed: books/b"
    ]


def test_names_count_and_times_do_not(tmp_path: Path) -> None:
    for name in ("x.txt", "y.txt", ".hidden"):
        (tmp_path / name).write_text(name)
    before = fingerprint.fingerprint({"path": tmp_path})
    (tmp_path / "x.txt").write_text("x.txt")
    (tmp_path / ".hidden").write_text("other")
    assert fingerprint.fingerprint({"path": tmp_path}) == before
    (tmp_path / "x.txt").rename(tmp_path / "z.txt")
    now = fingerprint.fingerprint({"path": tmp_path})
    assert now["digest"] != before["digest"]
    assert changed_files(before, now, {"path": Path("texts")}) == ["1 missing: texts/x.txt", "1 new: texts/z.txt"]
