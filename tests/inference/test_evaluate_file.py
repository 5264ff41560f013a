"""``train evaluate RUN input=PATH``: the reported scores and those of scikit-learn, with intervals, in a JSON file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.in_process import call_main, run_main
from tests.helpers.own_runs import train_run
from tests.helpers.table_runs import make_rows, read_rows, train_on_table, write_rows
from trainer.cli import main
from trainer.config import registry
from trainer.data.readers import delimited
from trainer.inference import evaluate_file, method_options
from trainer.runs import saved_run
from trainer.runs.commands import OUTPUT_OPTIONS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tables")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        train_on_table("label").rename("label")
        train_on_table("price", "task=regression").rename("price")
    return path


def evaluate(folder: Path, run: str, path: Path, **options: Any) -> dict[str, Any]:
    file = evaluate_file.evaluate_file(saved_run.load(folder / run), str(path), **{"resamples": 20} | options)
    return dict(json.loads(file.read_text(), parse_constant=lambda text: pytest.fail(f"{text} is not JSON")))


@pytest.mark.parametrize("run", ["label", "price"])
def test_scores_of_the_test_rows_are_the_reported_ones(folder: Path, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reported = json.loads((folder / run / "results.json").read_text())["test"]
    found = evaluate(folder, run, folder / "test.csv")
    assert {name: found["scores"][name]["value"] for name in reported} == reported
    assert all(score["low"] < score["value"] < score["high"] for score in found["scores"].values())
    monkeypatch.setattr(delimited, "CHUNK_CELLS", 60)
    monkeypatch.setattr(delimited, "SAMPLE_ROWS", 5)
    chunks = evaluate(folder, run, folder / "test.csv")["scores"]
    assert {name: chunks[name]["value"] for name in reported} == pytest.approx(reported)


def test_class_scores_are_those_of_scikit_learn(folder: Path) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    main.run_command(["predict", str(folder / "label"), f"input={folder / 'test.csv'}", f"output={folder / 'p.csv'}"])
    truth = [row["label"] for row in read_rows(folder / "test.csv")]
    expected = metrics.classification_report(
        truth, [row["label"] for row in read_rows(folder / "p.csv")], output_dict=True, zero_division=0
    )
    found = evaluate(folder, "label", folder / "test.csv")
    names = {"precision": "precision", "recall": "recall", "f1": "f1-score"}
    assert [row["name"] for row in found["classes"]] == ["high", "low", "mid"]
    for row in found["classes"]:
        assert row["rows"] == expected[row["name"]]["support"]
        for name in names.keys() & row.keys():
            assert row[name]["value"] == pytest.approx(expected[row["name"]][names[name]])
            assert row[name]["low"] <= row[name]["value"] <= row[name]["high"]
    assert (found["rows"], found["level"], found["resamples"]) == (70, 0.95, 20)


def test_every_metric_is_reported_once(folder: Path) -> None:
    found = evaluate(folder, "label", folder / "test.csv", resamples=0)["scores"]
    assert {"accuracy", "nll", "f1", "auc", "perplexity"} <= found.keys()
    assert "pixel_accuracy" not in found
    assert found["auc"]["low"] is None


def test_tables_fit_60_columns(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.chdir(folder)
    arguments = ("evaluate", "label", "input=test.csv", "resamples=10", "output=e.json")
    code, out, err = call_main(capsys, monkeypatch, *arguments)
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 60
    assert out.splitlines()[-1] == "70 rows evaluated, written to e.json"
    assert "95 % interval" in out
    assert json.loads(Path("e.json").read_text())["run"] == str(folder / "label")


def test_rows_with_unknown_labels_can_be_left_out(folder: Path, tmp_path: Path) -> None:
    rows = make_rows(40, 5)
    rows[3][3], rows[7][3], rows[9][0] = "hihg", "", "x"
    path = write_rows(tmp_path / "rows.csv", rows)
    found = evaluate(folder, "label", path, read_options={"on_error": "skip"}, output=str(tmp_path / "e.json"))
    assert found["rows"] == 37


def test_evaluations_are_numbered_in_the_run_directory(folder: Path) -> None:
    shutil.copytree(folder / "label", folder / "other")
    for name in ("evaluation.json", "evaluation-2.json"):
        evaluate(folder, "other", folder / "test.csv")
        assert (folder / "other" / name).exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("output=e.json",), "evaluate output: it is about the file that input=PATH names, which is missing"),
        (("input=test.csv", "output=e.csv"), "the suffix must be .json"),
        (("input=test.csv", "output=label/results.json"), "results.json exists in the run directory"),
        (("input=test.csv", "resamples=-1"), "evaluate resamples: '-1' given; it must be a whole number >= 0"),
        (("input=test.csv", "id_column=size"), "evaluate id_column: unknown key"),
        (("input=nope.csv",), "nope.csv does not exist"),
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
    code, err = run_main(capsys, monkeypatch, "evaluate", "label", *arguments)
    assert code == 2
    assert message in err
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_options_without_effect_on_scores_are_not_taken() -> None:
    targets = [option.class_path for option in registry.list_options("data").values() if option.class_path]
    keys = {key for target in targets for key in method_options.find_read_options(target)}
    assert keys >= OUTPUT_OPTIONS
    assert keys - OUTPUT_OPTIONS == {"stride", "gaps", "on_error", "window", "overlap", "labels"}


@pytest.mark.slow
@pytest.mark.usefixtures("in_tmp")
def test_other_files_with_targets_are_evaluated() -> None:
    run = train_run("image_folder")
    found = evaluate(Path(), str(run), next(Path("files").iterdir()))
    assert found["rows"] > 1
    assert found["scores"]["accuracy"]["low"] <= found["scores"]["accuracy"]["value"]
