"""UCR archive: ts files, splits, standardization and errors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.helpers.lab import lab
from tests.helpers.real_data import FOLDER, needs
from trainer.data.datasets.sequence.ucr import SHA256, UCR
from trainer.data.readers import ts_format
from trainer.data.splits.ragged import RaggedSplit
from trainer.utils.errors import DataError

requires_ucr = needs("ucr")

HEADER = """# a comment: with, all : kinds of @data

@problemName Small
@timeStamps false
@missing false
@univariate false
@dimensions 2
@equalLength false
@classLabel true low high
@data
"""
ROWS = "1,2,3:4,5,6:low\n# between cases\n\n  -1 , 2e1:0,0.5 : high \n"


def write(folder: Path, text: str | bytes, name: str = "a.ts") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_ts_file_is_parsed(tmp_path: Path, newline: str) -> None:
    cases = ts_format.read(write(tmp_path, (HEADER + ROWS).replace("\n", newline)))
    assert [case.tolist() for case in cases.series] == [[[1, 4], [2, 5], [3, 6]], [[-1, 0], [20, 0.5]]]
    assert cases.labels.tolist() == [0, 1]
    assert cases.classes == ["low", "high"]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (HEADER + "1,?:1,2:low\n", 11, r"missing value in dimension 1 \(found '\?'\)"),
        (HEADER + "1,2:1,NaN:low\n", 11, r"missing value in dimension 2"),
        (HEADER + "1,:1,2:low\n", 11, r"missing value in dimension 1 \(found ''\)"),
        (HEADER + "1,2:1,inf:low\n", 11, r"expected a finite number in dimension 2, found 'inf'"),
        (HEADER + "1,2:1,1_0:low\n", 11, r"expected a number in dimension 2, found '1_0'"),
        (HEADER + "1,2:1,x:low\n", 11, r"expected a number in dimension 2, found 'x'"),
        (HEADER + "1,2:1,2:middle\n", 11, r"class 'middle' is not in the header: low, high"),
        (HEADER + "1,2:1,2:low\n1,2:3,4,", 12, r"1 dimensions and a class; expected 2"),
        (HEADER + "1,2:1,2:low\n1,2:3,4:lo", 12, r"class 'lo' is not in"),
        (HEADER + "1,2:3,4:5,6:low\n", 11, r"3 dimensions and a class; expected 2"),
        (HEADER + "low\n", 11, r"0 dimensions and a class"),
        (HEADER + "1,2:3:low\n", 11, r"dimensions differ in length: 1, 2 steps"),
        (
            HEADER.replace("@equal", "@seriesLength 3\n@equal") + "1,2:3,4:low\n",
            12,
            r"2 steps, but @seriesLength is 3",
        ),
        (
            HEADER.replace("@dimensions 2\n", "") + "1:low\n1:2:low\n",
            11,
            r"2 dimensions and a class; expected 1",
        ),
        (HEADER, 10, "no cases after @data"),
        (HEADER.replace("@data\n", "") + ROWS, 12, "no line @data"),
        (HEADER.replace("@missing false", "missing false") + ROWS, 5, "expected @key or @data, found 'missing false'"),
        (HEADER.replace("true low high", "false") + ROWS, 10, "no classes: the header has no @classLabel true"),
        (HEADER.replace("@classLabel true low high", "@targetLabel true") + ROWS, 10, "no classes"),
        (HEADER.replace("@timeStamps false", "@timeStamps true") + ROWS, 10, "timestamps"),
        ("", 0, "no line @data"),
        (b"\xff\xfe\x00PK\x03", 1, "no line @data"),
    ],
)
def test_a_broken_file_raises_with_its_line(tmp_path: Path, text: str | bytes, line: int, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(DataError, match=rf"a\.ts:{line}: .*{message}"):
        ts_format.read(path)


def write_dataset(root: Path, name: str = "Small", header: str = HEADER, rows: int = 10) -> Path:
    """Write a data set with a constant second dimension and one class twice as frequent as the other."""
    cases = [f"{i},{i + 1}{',9' * (i % 3)}:7,7{',7' * (i % 3)}:{'high' if i % 3 else 'low'}\n" for i in range(rows)]
    for part in ("TRAIN", "TEST"):
        write(root / "ucr" / name, header + "".join(cases), f"{name}_{part}.ts")
    return root


def test_splits_are_stratified_and_standardized_by_training_rows(tmp_path: Path) -> None:
    data = UCR("Small", 0.3, 0, str(write_dataset(tmp_path, rows=30)))
    assert (len(data.train), len(data.val), len(data.test)) == (21, 9, 30)
    for split, low in ((data.train, 7), (data.val, 3), (data.test, 10)):
        assert int((split.get_targets() == 0).sum()) == low
    assert isinstance(data.train, RaggedSplit)
    steps = data.train.inputs["x"].values
    torch.testing.assert_close(steps.mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(steps.std(0, correction=0), torch.tensor([1.0, 0.0]))
    assert data.info.sizes == {"in_features": 2, "seq_len": 4, "num_classes": 2, "out_features": 1}
    assert data.info.class_names == ["low", "high"]
    batch = data.test.batch(torch.tensor([0, 2]), 0)
    assert batch.inputs["lengths"].tolist() == [2, 4]
    assert batch.inputs["x"].shape == (2, 4, 2)


def test_validation_rows_depend_on_seed(tmp_path: Path) -> None:
    root = str(write_dataset(tmp_path, rows=30))
    first, again, other = (
        UCR("Small", 0.3, seed, root).val.batch(torch.arange(9), 0).inputs["x"] for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert first.shape != other.shape or not torch.equal(first, other)


def test_an_unknown_name_is_reported_with_the_choices(tmp_path: Path) -> None:
    root = str(write_dataset(tmp_path))
    with pytest.raises(
        DataError,
        match=r"name: unknown data set Smal; did you mean Small\? available: Bas.*, Small \(in ",
    ):
        UCR("Smal", 0.3, 0, root)
    with pytest.raises(DataError, match=r"name: unknown data set \.\./ucr/Small"):
        UCR("../ucr/Small", 0.3, 0, root)
    (tmp_path / "ucr" / "Small" / "Small_TEST.ts").unlink()
    with pytest.raises(DataError, match=r"Small_TEST\.ts does not exist"):
        UCR("Small", 0.3, 0, root)


def test_a_test_file_of_another_set_is_refused(tmp_path: Path) -> None:
    root = write_dataset(tmp_path)
    write(root / "ucr" / "Small", HEADER.replace("low high", "high low") + ROWS, "Small_TEST.ts")
    with pytest.raises(DataError, match=r"TRAIN and TEST of Small differ in classes or dimensions"):
        UCR("Small", 0.3, 0, str(root))


def test_val_share_below_one_row_raises(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"val: 0\.01 of 10 rows leaves 10 training rows"):
        UCR("Small", 0.01, 0, str(write_dataset(tmp_path)))


@requires_ucr
@pytest.mark.parametrize(
    ("name", "rows", "features", "steps", "classes"),
    [
        ("JapaneseVowels", (216, 54, 370), 12, 29, 9),
        ("BasicMotions", (32, 8, 40), 6, 100, 4),
        ("GunPoint", (40, 10, 150), 1, 150, 2),
        ("ItalyPowerDemand", (54, 13, 1029), 1, 24, 2),
    ],
)
def test_archive_sizes_match_publication(
    name: str, rows: tuple[int, int, int], features: int, steps: int, classes: int
) -> None:
    data = UCR(name, 0.2, 0, str(FOLDER))
    assert (len(data.train), len(data.val), len(data.test)) == rows
    sizes = data.info.sizes
    assert (sizes["in_features"], sizes["seq_len"], sizes["num_classes"]) == (features, steps, classes)
    assert f"{name}/{name}_TRAIN.ts" in SHA256


@requires_ucr
@pytest.mark.slow
def test_bigru_classifies_japanese_vowels() -> None:
    overrides = (
        "model=bigru",
        "data=ucr",
        f"data_dir={FOLDER}",
        "epochs=12",
        "model.hidden_size=32",
        "optimizer.lr=1e-2",
    )
    assert lab(*overrides).test()["accuracy"] > 0.9


def test_series_in_memory_are_standardized_like_training_rows(tmp_path: Path) -> None:
    data = UCR("Small", 0.3, 0, str(write_dataset(tmp_path, rows=30)))
    cases = ts_format.read(tmp_path / "ucr" / "Small" / "Small_TEST.ts")
    expected = data.test.batch(torch.arange(30), 0)
    longest = max(map(len, cases.series))
    padded = torch.stack(
        [torch.cat((case, case.new_full((longest - len(case), 2), torch.nan))) for case in cases.series]
    )
    for rows in (cases.series, [case.tolist() for case in cases.series], padded.numpy()):
        batch = data.encode_rows(rows).batch(torch.arange(30), 0)
        assert torch.equal(batch.inputs["x"], expected.inputs["x"])
        assert torch.equal(batch.inputs["lengths"], expected.inputs["lengths"])
        assert batch.target is None


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[1.0, 2.0]], r"rows: series 1 has 1 dimension; this run was trained on series with 2"),
        ([[[1.0, 2.0]], [[[3.0]]]], r"series 2 has the shape \(1, 1, 1\); it must be \(T,\) or \(T, F\)"),
        ([[[1.0, 2.0]], []], r"series 2 is empty"),
        ([[[float("nan"), 2.0], [1.0, 2.0]]], r"series 1: step 1, dimension 1 is missing or not finite"),
        ([[["x", 2.0]]], r"series 1 is not an array of numbers"),
        ([], r"list without series given"),
        ({"a": [1.0]}, r"dict without series given"),
    ],
)
def test_other_objects_are_refused(tmp_path: Path, rows: object, message: str) -> None:
    data = UCR("Small", 0.3, 0, str(write_dataset(tmp_path, rows=30)))
    with pytest.raises(DataError, match=message):
        data.encode_rows(rows)
