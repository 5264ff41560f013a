"""Predictions of tables: the reported scores, the same rows in other batches and places, identifiers, other rows."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.commands import argv
from tests.helpers.in_process import call_main, run_main
from tests.helpers.marks import mark_slow_after
from tests.helpers.table_runs import make_rows, read_rows, train_on_table, write_rows
from trainer.cli import main
from trainer.data.readers import delimited
from trainer.viz.console import console


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a run of classes, one of numbers, and the test rows; the training rows are deleted."""
    path = tmp_path_factory.mktemp("tables")
    with pytest.MonkeyPatch.context() as patch:
        for target in ("label", "price"):
            (path / "before" / target).mkdir(parents=True)
            patch.chdir(path / "before" / target)
            train_on_table(target, *(["task=regression"] if target == "price" else []))
            shutil.move("run", path / target)
        shutil.move("test.csv", path / "test.csv")
    shutil.rmtree(path / "before")
    return path


def predict(folder: Path, run: str, *arguments: str, name: str = "p.csv") -> list[dict[str, str]]:
    file = folder / name
    assert main.run_command(["predict", str(folder / run), f"output={file}", *arguments]) == 0
    return read_rows(file)


def read_numbers(rows: list[dict[str, str]]) -> np.ndarray:
    names = [name for name in rows[0] if name.startswith("p_") or name == "value"]
    return np.array([[float(row[name]) for name in names] for row in rows])


@pytest.fixture(scope="module")
def labels(folder: Path) -> list[dict[str, str]]:
    return predict(folder, "label", f"input={folder / 'test.csv'}")


@pytest.mark.slow
def test_scikit_learn_computes_the_reported_scores_of_classes(folder: Path, labels: list[dict[str, str]]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    reported = json.loads((folder / "label" / "results.json").read_text())["test"]
    truth, predicted = [row["label"] for row in read_rows(folder / "test.csv")], [row["label"] for row in labels]
    assert list(labels[0]) == ["row", "label", "p_high", "p_low", "p_mid"]
    assert metrics.accuracy_score(truth, predicted) == reported["accuracy"]
    assert metrics.f1_score(truth, predicted, average="macro") == pytest.approx(reported["f1"], rel=1e-15)
    assert metrics.log_loss(truth, read_numbers(labels)) == pytest.approx(reported["nll"], rel=1e-6)


@pytest.mark.slow
def test_scikit_learn_computes_the_reported_scores_of_numbers(folder: Path) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    reported = json.loads((folder / "price" / "results.json").read_text())["test"]
    rows = predict(folder, "price", f"input={folder / 'test.csv'}")
    truth = [float(row["price"]) for row in read_rows(folder / "test.csv")]
    values = [float(row["value"]) for row in rows]
    assert metrics.mean_absolute_error(truth, values) == pytest.approx(reported["mae"], rel=1e-6)
    assert metrics.mean_squared_error(truth, values) == pytest.approx(reported["mse"], rel=1e-6)
    assert metrics.r2_score(truth, values) == pytest.approx(reported["r2"], rel=1e-6)
    assert 800 < np.mean(values) < 1200


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 7, 64])
@pytest.mark.parametrize("run", ["label", "price"])
def test_predictions_do_not_depend_on_the_batch_size(folder: Path, run: str, size: int) -> None:
    expected = read_numbers(predict(folder, run, f"input={folder / 'test.csv'}"))
    found = read_numbers(predict(folder, run, f"input={folder / 'test.csv'}", f"batch_size={size}"))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.slow
def test_predictions_do_not_depend_on_the_order_and_the_chunks_of_rows(
    folder: Path, labels: list[dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [list(row.values()) for row in read_rows(folder / "test.csv")]
    order = random.Random(0).sample(range(len(rows)), len(rows))
    columns = ("weight", "label", "price", "size", "colour", "name")
    shuffled = [[row[2], "", "", row[0], row[1], str(place)] for place in order for row in [rows[place]]]
    write_rows(tmp_path / "rows.csv", shuffled, columns)
    monkeypatch.setattr(delimited, "CHUNK_CELLS", 60)
    monkeypatch.setattr(delimited, "SAMPLE_ROWS", 5)
    found = predict(folder, "label", f"input={tmp_path / 'rows.csv'}", "id_column=name")
    assert [int(row["name"]) for row in found] == order
    np.testing.assert_allclose(read_numbers(found), read_numbers(labels)[order], atol=1e-6)


@pytest.mark.slow
def test_another_process_and_a_moved_run_predict_the_same(
    folder: Path, labels: list[dict[str, str]], tmp_path: Path
) -> None:
    shutil.copytree(folder / "label", tmp_path / "moved")
    command = argv("predict", "moved", f"input={folder / 'test.csv'}", "output=p.csv")
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert read_rows(tmp_path / "p.csv") == labels


def test_identifier_with_the_name_of_a_prediction_is_renamed(folder: Path) -> None:
    rows = predict(folder, "label", f"input={folder / 'test.csv'}", "id_column=3")
    assert list(rows[0])[:2] == ["label (input)", "label"]
    assert [row["label (input)"] for row in rows] == [row["label"] for row in read_rows(folder / "test.csv")]


def test_rows_that_cannot_be_read_are_left_out(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = make_rows(9, 3)
    rows[2][0], rows[5][2], rows[6][1] = "big", "", "pink"
    write_rows(tmp_path / "rows.csv", rows)
    file = tmp_path / "p.csv"
    arguments = ("predict", str(folder / "label"), f"input={tmp_path / 'rows.csv'}", f"output={file}")
    code, out, err = call_main(capsys, monkeypatch, *arguments, "on_error=skip")
    assert code == 0
    assert [row["row"] for row in read_rows(file)] == ["1", "2", "4", "5", "7", "8", "9"]
    assert "7 rows predicted, written to" in out
    lines = [line.replace(f"{tmp_path}/", "") for line in err.splitlines()]
    assert lines == [
        "warning: rows.csv: categories in column 'colour' that no training row has: pink (1 row)",
        "warning: left out: rows.csv: row 3 (line 4), column 'size': 'big' is not a finite number",
        "warning: left out: rows.csv: row 6 (line 7), column 'weight': missing value ('')",
    ]


def test_preview_fits_the_terminal(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "_width", 36)
    arguments = ("predict", str(folder / "label"), f"input={folder / 'test.csv'}", f"output={folder / 'q.csv'}")
    _, out, _ = call_main(capsys, monkeypatch, *arguments)
    *table, last = out.splitlines()
    assert max(map(len, table)) <= 36
    assert [line.split()[:1] for line in table[2:7]] == [["1"], ["2"], ["3"], ["4"], ["5"]]
    assert "and 1 more column" in out
    assert last == f"70 rows predicted, written to {folder / 'q.csv'}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("on_error=skip",), "predict on_error: it is about the file that input=PATH names, which is missing"),
        (("input=test.csv", "on_error=ignore"), "predict on_error: 'ignore' given; it must be one of error, skip"),
        (("input=test.csv", "id_column=nmae"), "id_column: no column 'nmae' in test.csv"),
        (("input=test.csv", "output=test.csv"), "test.csv is a file that is read; give another name"),
        (("input=test.csv", "output=label/metrics.csv"), "metrics.csv exists in the run directory"),
        (("input=test.csv", "output=p.xlsx"), "the suffix must be one of .csv, .parquet, .jsonl, .npz"),
        (("inptu=test.csv",), "predict inptu: unknown key; did you mean input?"),
        (("test.csv",), "predict takes one run directory and keys; did you mean input=test.csv? as in: "),
        (("--input", "test.csv"), "did you mean input=test.csv?"),
    ],
)
def test_wrong_arguments_are_refused(
    folder: Path,
    arguments: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    code, err = run_main(capsys, monkeypatch, "predict", "label", *arguments)
    assert code == 2
    assert message in err
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


@pytest.mark.slow
@pytest.mark.usefixtures("in_tmp")
@pytest.mark.parametrize("data", mark_slow_after(1, ["wine", "diabetes"]))
def test_built_in_tables_predict_their_test_rows(data: str) -> None:
    from trainer.config import compose
    from trainer.runs import train

    overrides = ["model=mlp", f"data={data}", "epochs=2", "threads=1", "draw=false", "hydra.run.dir=run"]
    result = train.run(compose.compose(overrides))
    assert main.run_command(["predict", "run"]) == main.run_command(["predict", "run"]) == 0
    rows = read_rows(Path("run/predictions.csv"))
    assert rows == read_rows(Path("run/predictions-2.csv"))
    assert [int(row["row"]) for row in rows] == list(range(len(rows)))
    if data == "wine":
        assert np.mean([row["label"] == row["target"] for row in rows]) == result.test["accuracy"]
    else:
        errors = [abs(float(row["value"]) - float(row["target"])) for row in rows]
        assert np.mean(errors) == pytest.approx(result.test["mae"], rel=1e-6)


@pytest.mark.slow
@pytest.mark.usefixtures("in_tmp")
def test_run_without_targets_names_the_commands_that_it_has(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainer.config import compose
    from trainer.runs import train

    write_rows(Path("t.csv"), [row[:3] for row in make_rows(90, 0)], ("size", "colour", "weight"))
    overrides: list[Any] = ["model=real_nvp", "data=csv", "data.path=t.csv", "data.target=null", "max_steps=2"]
    train.run(compose.compose([*overrides, "val_every=9", "threads=1", "draw=false", "hydra.run.dir=run"]))
    code, err = run_main(capsys, monkeypatch, "predict", "run", "input=t.csv")
    assert code == 2
    assert "the task of this run cannot predict" in err
