"""Files with one series per case: text files of the UCR archive and .ts files with and without classes."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainer.data.readers import series_files
from trainer.data.readers.ts_format import SeriesCases
from trainer.utils.errors import DataError

CLASSES = ["1", "2", "3"]
TS = "@problemName A\n@dimensions 2\n@classLabel true 1 2\n@data\n1,2:3,4:2\n5:6:?\n"


def read(folder: Path, text: str, name: str = "a.tsv", has_labels: bool | None = None) -> SeriesCases:
    path = folder / name
    path.write_text(text)
    return series_files.read_cases(path, "input", CLASSES, has_labels)


@pytest.mark.parametrize(
    "text",
    [
        "1\t0.5\t2\n3\t4\tNaN\n",
        "1,0.5,2\n3,4,\n",
        "  1.0000000e+00   0.5  2\n\n  3.0000000e+00  4\n",
        "1.0 .5 2\r\n3 4\r\n",
    ],
    ids=["tabs", "commas", "spaces", "CRLF"],
)
def test_lines_of_a_text_file_are_series_with_a_class(tmp_path: Path, text: str) -> None:
    cases = read(tmp_path, text)
    assert [case.T.tolist() for case in cases.series] == [[[0.5, 2.0]], [[4.0]]]
    assert cases.class_names == ["1", "3"]
    assert series_files.index_classes(cases, CLASSES, tmp_path, "input") == [0, 2]


def test_lines_without_a_known_class_are_series(tmp_path: Path) -> None:
    cases = read(tmp_path, "0.5 1 2\n1 2 3\n", "a.txt")
    assert cases.class_names is None
    assert [len(case) for case in cases.series] == [3, 3]
    assert read(tmp_path, "1 2 3\n", has_labels=False).class_names is None
    assert read(tmp_path, "7 2 3\n", has_labels=True).class_names == ["7"]
    assert read(tmp_path, "? 2 3\n1 2 3\n").class_names == ["?", "1"], "a class that is to be predicted"


def test_ts_files_may_lack_classes(tmp_path: Path) -> None:
    cases = read(tmp_path, TS, "a.ts")
    assert cases.class_names == ["2", "?"]
    assert [case.tolist() for case in cases.series] == [[[1, 3], [2, 4]], [[5, 6]]]
    unlabeled = read(tmp_path, TS.replace("true 1 2", "false").replace(":2\n", "\n").replace(":?", ""), "a.ts")
    assert unlabeled.class_names is None
    assert [case.tolist() for case in unlabeled.series] == [case.tolist() for case in cases.series]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("1 2 x\n", r"a\.tsv:1: expected a number in dimension 1, found 'x'"),
        ("1 2 3\n1 NaN 3\n", r"a\.tsv:2: missing value in dimension 1"),
        ("1 2\n\n1 NaN\n", r"a\.tsv:3: no values"),
        ("1 2 inf\n", "expected a finite number"),
    ],
)
def test_unreadable_lines_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, text, has_labels=True)


def test_unknown_classes_are_refused_with_the_nearest_one(tmp_path: Path) -> None:
    cases = read(tmp_path, "up 2\nupp 3\nupp 4\n", has_labels=True)
    with pytest.raises(
        DataError, match=r"a\.tsv:2: class 'upp' is not one of this run \(up, down\); did you mean up\?; 2"
    ):
        series_files.index_classes(cases, ["up", "down"], tmp_path / "a.tsv", "input")
    with pytest.raises(DataError, match="has no classes"):
        series_files.index_classes(read(tmp_path, "0.5 1\n"), CLASSES, tmp_path, "input")


def test_files_of_a_folder_are_listed_by_name(tmp_path: Path) -> None:
    for name in ("b.ts", "a.TSV", "c.md", ".hidden.ts"):
        (tmp_path / name).touch()
    assert [path.name for path in series_files.list_files(str(tmp_path), "input")] == ["a.TSV", "b.ts"]
    with pytest.raises(DataError, match=r"c\.md given; the suffix must be one of \.ts, \.tsv"):
        series_files.list_files(str(tmp_path / "c.md"), "input")
    with pytest.raises(DataError, match="does not exist"):
        series_files.list_files(str(tmp_path / "nope.ts"), "input")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty has no \.ts/\.tsv"):
        series_files.list_files(str(tmp_path / "empty"), "input")
