"""Documents by class: splits, vocabulary, truncation, ignored files and errors."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.helpers.lab import lab
from tests.helpers.real_data import FOLDER, needs
from trainer.core.split import Split
from trainer.data.datasets.text import documents
from trainer.data.datasets.text.documents import ReviewPolarity, TextFolder, read_reviews
from trainer.utils.errors import DataError

OPTIONS = {
    "encoding": "utf-8",
    "tokens": "words",
    "tokenizer": None,
    "vocab_limit": None,
    "min_count": 1,
    "lowercase": True,
    "max_length": None,
    "keep": "last",
    "val": 0.2,
    "test": 0.2,
    "seed": 0,
}


def write(folder: Path, count: int = 10, *kinds: str) -> Path:
    """Write documents of their class and number into class folders; the last word of each is ``end``."""
    for kind in kinds or ("bad", "good"):
        (folder / kind).mkdir(parents=True)
        for number in range(count):
            words = " more" * number
            (folder / kind / f"{number:03d}.txt").write_text(f"{kind} {number}{words} end")
    return folder


def read(folder: Path, **changes: object) -> TextFolder:
    return TextFolder(path=str(folder), **OPTIONS | changes)  # type: ignore[arg-type]


def get_error(folder: Path, **changes: object) -> str:
    with pytest.raises(DataError) as caught:
        read(folder, **changes)
    return str(caught.value)


def rows(data: TextFolder, split: Split) -> list[tuple[str, int]]:
    """Return the text and class of every row."""
    batch = split.batch(torch.arange(len(split)), 0)
    assert batch.target is not None
    assert data.info.text.tokenizer is not None
    columns = zip(batch.inputs["x"], batch.inputs["lengths"], batch.target, strict=True)
    return [(data.info.text.tokenizer.decode(x[:n].tolist()), int(y)) for x, n, y in columns]


def test_folders_are_classes_and_splits_are_stratified(tmp_path: Path) -> None:
    data = read(write(tmp_path))
    assert data.info.class_names == ["bad", "good"]
    assert data.info.sizes["out_features"] == 1
    splits = [rows(data, split) for split in (data.train, data.val, data.test)]
    for rows_of_split, count in zip(splits, (6, 2, 2), strict=True):
        for kind, name in enumerate(("bad", "good")):
            assert [words.split()[0] in (name, "⁇") for words, y in rows_of_split if y == kind] == [True] * count
    assert {len(rows_of_split) for rows_of_split in splits} == {12, 4}
    assert data.info.sizes["seq_len"] == 12


def test_splits_depend_on_seed(tmp_path: Path) -> None:
    write(tmp_path)
    one, again, other = (rows(data, data.train) for data in (read(tmp_path), read(tmp_path), read(tmp_path, seed=1)))
    assert one == again
    assert one != other


def test_vocabulary_has_training_words_only(tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        write(tmp_path / part, 3)
        (tmp_path / part / "good" / "000.txt").write_text(f"the{part}")
    data = read(tmp_path)
    words = data.info.text.tokenizer.tokenizer.tokens  # type: ignore[union-attr]
    assert "thetrain" in words
    assert not {"theval", "thetest"} & set(words)


def test_split_folders_define_the_splits(tmp_path: Path) -> None:
    for part, count in (("train", 10), ("test", 3)):
        write(tmp_path / part, count)
    data = read(tmp_path)
    assert [len(split) for split in (data.train, data.val, data.test)] == [16, 4, 6]
    write(tmp_path / "val", 1)
    assert [len(split) for split in (read(tmp_path).train, read(tmp_path).val)] == [20, 2]


@pytest.mark.parametrize(("keep", "expected"), [("last", "more more end"), ("first", "good 9 more")])
def test_long_document_is_truncated_at_the_chosen_end(tmp_path: Path, keep: str, expected: str) -> None:
    data = read(write(tmp_path, 10, "good", "ill"), max_length=3, keep=keep, val=0.1, test=0.1)
    texts = [words for split in (data.train, data.val, data.test) for words, y in rows(data, split) if y == 0]
    assert data.info.sizes["seq_len"] == 3
    assert expected in texts or expected.replace("9", "⁇") in texts


def test_a_path_without_documents_is_reported(tmp_path: Path) -> None:
    write(tmp_path / "reviews")
    assert "review does not exist" in get_error(tmp_path / "review")
    assert "did you mean reviews?" in get_error(tmp_path / "review")
    assert "has only one class, 'reviews'" in get_error(tmp_path)
    (tmp_path / "empty").mkdir()
    assert "has no class folders; it must have CLASS/*.txt, at least two" in get_error(tmp_path / "empty")


def test_incompatible_classes_are_reported(tmp_path: Path) -> None:
    write(tmp_path / "train")
    write(tmp_path / "test", 5, "bad", "goood")
    assert "test has the classes bad, goood" in get_error(tmp_path)
    assert "train has bad, good" in get_error(tmp_path)
    (tmp_path / "test").rename(tmp_path / "what")
    assert "train has no .txt files (bad, good)" in get_error(tmp_path)


def test_a_class_too_small_for_three_splits_is_reported(tmp_path: Path) -> None:
    write(tmp_path, 20)
    write(tmp_path, 2, "rare")
    assert "class 'rare' has 2 rows, none of them in the test split" in get_error(tmp_path)


def test_documents_without_text_are_reported(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "bad" / "003.txt").write_text(" \n")
    assert f"{tmp_path}/bad/003.txt is empty" in get_error(tmp_path)
    (tmp_path / "bad" / "003.txt").write_bytes(b"ok\n\xff")
    assert "003.txt is not utf-8 text at line 2" in get_error(tmp_path)
    assert read(tmp_path, encoding="latin-1")


def test_hidden_files_are_ignored_and_other_files_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path)
    write(tmp_path / ".cache", 1)
    (tmp_path / "bad" / "notes.md").write_text("not a document")
    (tmp_path / "good" / "more").mkdir()
    (tmp_path / "good" / "more" / "1.txt").write_text("good")
    assert len(read(tmp_path).train) == 12
    assert "1 in subfolders (good/more/1.txt, ...); 1 .md (bad/notes.md, ...); extensions read: .txt" in caplog.text


def write_archive(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as file:
        for member in members:
            text = b"fine"
            member.size = len(text) if member.isreg() else 0
            file.addfile(member, io.BytesIO(text))
    return path


def test_read_reviews_reads_regular_files_of_expected_names_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "NUM_REVIEWS", 2)
    good = [tarfile.TarInfo(f"txt_sentoken/{name}.txt") for name in ("pos/cv900_1", "neg/cv123_45")]
    link, outside = tarfile.TarInfo("txt_sentoken/neg/cv001_1.txt"), tarfile.TarInfo("../neg/cv002_1.txt")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    assert read_reviews(write_archive(tmp_path / "a.tar.gz", *good, link, outside)) == (
        [("neg", "1"), ("pos", "9")],
        ["fine", "fine"],
    )
    with pytest.raises(DataError, match="holds 1 reviews instead of 2"):
        read_reviews(write_archive(tmp_path / "b.tar.gz", good[0], link))
    (tmp_path / "c.tar.gz").write_bytes((tmp_path / "a.tar.gz").read_bytes()[:60])
    with pytest.raises(DataError, match="is not a valid archive of texts"):
        read_reviews(tmp_path / "c.tar.gz")


@pytest.mark.slow
@needs("review_polarity")
def test_review_polarity_sizes_and_class_balance() -> None:
    data = ReviewPolarity("words", None, 5000, 2, 50, "last", str(FOLDER))
    assert [len(split) for split in (data.train, data.val, data.test)] == [1600, 200, 200]
    for split in (data.train, data.val, data.test):
        target = split.get_targets()
        assert isinstance(target, Tensor)
        assert target.double().mean() == 0.5
    assert data.info.sizes["vocab_size"] == 5000
    assert data.info.baseline["accuracy"] == 0.5


@pytest.mark.slow
def test_bag_of_words_learns_words_of_a_class(tmp_path: Path) -> None:
    for kind in ("bad", "good"):
        (tmp_path / kind).mkdir()
        for number in range(60):
            filler = " ".join(f"w{(number * k) % 23}" for k in range(1, 1 + number % 9))
            (tmp_path / kind / f"{number}.txt").write_text(f"{filler} {kind} {filler}")
    overrides = ["model=bag_of_words", "data=text_folder", "batch_size=16", "epochs=30", "optimizer.lr=3e-2"]
    assert lab(*overrides, f"data.path={tmp_path}").test()["accuracy"] == 1.0
    scores = lab(*overrides, f"data.path={tmp_path}", "data.max_length=1", "data.keep=first").test()
    assert scores["accuracy"] < 0.8, "the word of the class is truncated"


def write_lines(path: Path, folder: Path) -> Path:
    """Write the documents of class folders as the lines of a file, one class after the other."""
    files = sorted(folder.rglob("*.txt"))
    path.write_text("".join(f"{file.read_text()}\t{file.parent.name}\n" for file in files), encoding="utf-8")
    return path


def test_lines_with_classes_are_read_like_folders(tmp_path: Path) -> None:
    folder = write(tmp_path / "folder")
    data, expected = read(write_lines(tmp_path / "lines.txt", folder)), read(folder)
    assert data.info.class_names == expected.info.class_names
    for split, other in ((data.train, expected.train), (data.val, expected.val), (data.test, expected.test)):
        assert rows(data, split) == rows(expected, other)


def test_lines_of_a_saved_run_keep_its_classes_and_splits(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "lines.txt", write(tmp_path / "folder"))
    data = read(path)
    assert data.fitted is not None
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))) + "more\tother\n")
    again = read(path, fitted=data.fitted.copy())
    assert again.info.class_names == data.info.class_names
    assert sorted(rows(again, again.test)) == sorted(rows(data, data.test))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\tx\nb\n", "line 2 has 0 tabs; it must have one, between the text and its target"),
        ("a\tx\n \ty\n", "line 2 has no text"),
        ("a\tx\nb\t \n", "line 2 has no class"),
        ("a\tx\nb\tx\n", "has only one class, 'x'; it must have at least two classes"),
        ("", "has no lines; it must have at least two classes"),
        ("a\tx\nb\ty\n", "class 'x' has 1 row, "),
    ],
)
def test_lines_without_text_or_class_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "lines.txt").write_text(text)
    assert message in get_error(tmp_path / "lines.txt")
