"""Errors for region tables, labels and graphs: file, row and column."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.region_tables import NAMES, read_error, read_tables, write_table, write_tables

VALUES = np.arange(30.0).reshape(6, 5) ** 1.5


def test_a_table_with_other_regions_is_reported(tmp_path: Path) -> None:
    path = write_tables(tmp_path) / "wild" / "3.csv"
    write_table(path, VALUES[:, :4], NAMES[:4])
    assert f"{path} has 4 regions; {tmp_path / 'calm' / '0.csv'} has 5" in read_error(tmp_path)
    write_table(path, VALUES, ("left", "right", "front", "bakc", "side"))
    assert f"{path} has regions that are not in {tmp_path / 'calm' / '0.csv'}: bakc" in read_error(tmp_path)


def test_a_missing_value_is_reported(tmp_path: Path) -> None:
    values = VALUES.copy()
    values[2, 3] = np.nan
    path = write_tables(tmp_path) / "wild" / "3.csv"
    write_table(path, values)
    assert f"{path}: row 3 (line 4), column 'back': missing value ('nan')" in read_error(tmp_path)
    assert "fill them in the file, or exclude their regions by data.columns" in read_error(tmp_path)
    path.unlink()
    write_table(path.with_suffix(".npy"), values)
    assert f"{path.with_suffix('.npy')}: row 3, column 3: nan is not a valid measurement; 1 such values" in read_error(
        tmp_path
    )
    assert "fill them in the file" in read_error(tmp_path)


def test_missing_value_codes_apply_to_arrays(tmp_path: Path) -> None:
    values = VALUES.copy()
    values[2, 3] = -9999
    path = write_tables(tmp_path) / "wild" / "3.csv"
    write_table(path, values)
    assert f"{path}: row 3 (line 4), column 'back': missing value ('-9" in read_error(tmp_path, missing=["-9999.00"])
    path.unlink()
    write_table(path.with_suffix(".npy"), values)
    assert f"{path.with_suffix('.npy')}: row 3, column 3: -9999" in read_error(tmp_path, missing=["-9999.00"])


@pytest.mark.parametrize("number", [1.7976931348623157e308, -3.4028234663852886e38])
@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_a_sentinel_value_is_reported(tmp_path: Path, number: float, kind: type) -> None:
    values = VALUES.copy()
    values[2, 3] = number
    path = write_tables(tmp_path) / "wild" / "3.csv"
    path.write_text("\n".join(",".join(map(repr, row)) for row in [*values.tolist()]))
    assert f"{path}: row 3 (line 3), column 'column 3': '{number!r}' is" in (message := read_error(tmp_path))
    assert "is it a code for data.missing?" in message
    path.unlink()
    with np.errstate(over="ignore"):
        np.save(path.with_suffix(".npy"), values.astype(kind))
    assert f"{path.with_suffix('.npy')}: row 3, column 3: " in read_error(tmp_path)


def test_non_numeric_cell_is_reported(tmp_path: Path) -> None:
    path = write_tables(tmp_path) / "wild" / "3.csv"
    path.write_text("left,right,front,back,side\n1,2,3,4,5\n1,2,x,4,5\n2,3,4,5,6\n")
    assert f"{path}: row 2 (line 3), column 'front': 'x' is not a finite number" in read_error(tmp_path)


@pytest.mark.parametrize("first", ["0,1,2,3,4", "1,2,3,4,5", ",0,1,2,3"])
def test_an_ambiguous_numeric_header_raises(tmp_path: Path, first: str) -> None:
    path = write_tables(tmp_path) / "calm" / "0.csv"
    path.write_text("\n".join([first, *(",".join(str(round(10 * v) + 50) for v in row) for row in VALUES)]))
    assert f"the first row of {path} may be a header or numbers" in read_error(tmp_path)


def test_only_the_first_of_many_invalid_columns_are_listed(tmp_path: Path) -> None:
    path = write_tables(tmp_path) / "wild" / "3.csv"
    path.write_text("\n".join([";".join(f"r{n}" for n in range(90))] + [";".join(["1,5"] * 90)] * 3))
    message = read_error(tmp_path)
    assert "column 'r0' holds numbers such as '1,5': data.decimal=comma reads it as 1.5" in message
    assert "and 84 more lines like these" in message
    assert len(message.splitlines()) < 9


def test_a_single_step_is_refused(tmp_path: Path) -> None:
    path = write_tables(tmp_path) / "wild" / "3.csv"
    write_table(path, VALUES[:1])
    assert f"{path} has 1 step" in read_error(tmp_path)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([[1, "x"]], dtype=object), "is not an array of numbers: Object arrays cannot be loaded"),
        (np.zeros((3, 4, 5)), r"contains float64 (3, 4, 5); it must be numbers (steps, regions)"),
        (np.array([["a", "b"]]), "it must be numbers (steps, regions)"),
    ],
)
def test_array_of_wrong_type_or_dimensions_raises(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(write_tables(tmp_path, ".npy") / "wild" / "3.npy", array, allow_pickle=array.dtype == object)
    assert message in read_error(tmp_path)


def test_invalid_npy_file_raises(tmp_path: Path) -> None:
    path = write_tables(tmp_path, ".npy") / "wild" / "3.npy"
    path.write_bytes(path.read_bytes()[:150])
    assert f"{path} is not an array of numbers" in read_error(tmp_path)
    for header in (b"hello (world what", b"{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999, 9), }\n"):
        path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
        assert f"{path} is not an array of numbers" in read_error(tmp_path)
    path.write_text("0.1,0.2\n0.3,0.4\n")
    assert f"{path} is not an array of numbers" in read_error(tmp_path)
    with path.open("wb") as file:
        np.savez(file, a=VALUES)
    assert f"{path} is not an array of numbers" in read_error(tmp_path)
    write_table(path, VALUES)
    assert "no column 'left'" in read_error(tmp_path, columns=["left"])
    assert "no column 7" in read_error(tmp_path, columns=[7])


def test_folders_without_labels_or_with_one_class_are_refused(tmp_path: Path) -> None:
    assert "only one class, 'calm'" in read_error(write_tables(tmp_path / "one", kinds=("calm",)))
    assert "has tables but no labels.csv" in read_error(tmp_path / "one" / "calm")
    (write_tables(tmp_path / "none") / "wild2").mkdir()
    assert "wild2 has no .csv/.tsv/.npy files (it is empty)" in read_error(tmp_path / "none")
    assert "does not exist" in read_error(tmp_path / "nowhere")
    assert "none of them in the val split" in read_error(write_tables(tmp_path / "few", count=1))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("file,label\ncalm/0.csv,x\ncalm/1.csv,x", "has a single label, 'x'"),
        ("file,label\ncalm/0.csv,x\ncalm/0.csv,y", "row 2 (line 3), column 'file': duplicate file 'calm/0.csv'"),
        ("file,label\ncalm/0.csv,x\ncalm/1.csv,", "row 2 (line 3), column 'label': missing value"),
        ("file,label\ncalm/0.csv,x\ncalm/77.csv,y", "77.csv does not exist"),
        ("path,label\ncalm/0.csv,x\ncalm/1.csv,y", "no column 'file'"),
    ],
)
def test_invalid_labels_file_raises(tmp_path: Path, labels: str, message: str) -> None:
    (write_tables(tmp_path) / "labels.csv").write_text(labels)
    assert message in read_error(tmp_path)


@pytest.mark.parametrize("name", ["../other/r0.csv", "calm/../../other/r0.csv", "/etc/hostname", "{0}/other/r0.csv"])
def test_a_table_outside_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    write_table(tmp_path / "other" / "r0.csv", VALUES)
    folder, name = write_tables(tmp_path / "tables"), name.format(tmp_path)
    (folder / "labels.csv").write_text(f"file,label\ncalm/0.csv,x\n{name},y")
    message = read_error(folder)
    assert f"{folder}/labels.csv: row 2 (line 3), column 'file': {name!r} is outside of {folder}" in message
    assert "move or link it there, or set data.path to a parent folder" in message


def test_relative_and_absolute_table_paths_are_equivalent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"{kind}/{number}.csv,{kind}" for kind in ("calm", "wild") for number in range(10)]
    labels = write_tables(tmp_path / "tables") / "labels.csv"
    labels.write_text("\n".join(["file,label", *rows]))
    relative = read_tables(Path("tables")).fitted
    labels.write_text("\n".join(["file,label", *(f"{labels.parent}/{row}" for row in rows)]))
    absolute = read_tables(Path("tables")).fitted
    assert relative is not None
    assert absolute is not None
    assert all(torch.equal(keys, absolute.values["split"][part]) for part, keys in relative.values["split"].items())
    labels.write_text("\n".join(["file,label", *rows, f"{labels.parent}/{rows[0]}"]))
    assert "row 21 (line 22), column 'file'" in read_error(Path("tables"))
    assert "duplicate file" in read_error(Path("tables"))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones((5, 4)), "is 5 x 4; it must be square"),
        (np.ones((4, 4)), "has 4 regions"),
        (np.array(np.corrcoef(np.random.default_rng(0).normal(size=(5, 9)))), "weights must be >= 0 (for signed"),
        (np.full((5, 5), np.nan), "row 1, column 0: nan is not a valid measurement; 25 such values"),
    ],
)
def test_invalid_graph_file_raises(tmp_path: Path, weights: np.ndarray, message: str) -> None:
    write_table(tmp_path / "graph.npy", weights)
    assert message in read_error(write_tables(tmp_path / "runs"), graph=str(tmp_path / "graph.npy"))
    assert read_error(tmp_path / "runs", graph=str(tmp_path / "other.npy")).startswith("graph: ")
