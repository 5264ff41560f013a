"""Scores of a classical model are computed once for a run; what keeps them from being computed is said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.helpers.table_runs import BASE, SETTINGS, make_rows, write_rows
from trainer.analysis.run_record import read_record
from trainer.config import compose
from trainer.inference import classical_scores
from trainer.report import score_rows, write_report
from trainer.runs import train

pytestmark = pytest.mark.usefixtures("in_tmp")
RESULTS = {"data_digest": "abc", "test": {"accuracy": 0.5}}
SAVED = {
    "data_digest": "abc",
    "test_metrics": ["accuracy"],
    "model": "random forest",
    "rows": 5,
    "scores": {"accuracy": 1},
}


@pytest.mark.slow
def test_the_page_of_a_run_computes_them_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows(Path("train.csv"), make_rows(120, 1))
    write_rows(Path("test.csv"), make_rows(60, 2))
    path = Path(
        train.run(compose.compose([*BASE, "data.target=label", "data.drop_columns=[price]", *SETTINGS])).run_dir
    )
    shutil.move("train.csv", "hidden.csv")
    write_report.write_report(path)
    assert not (path / classical_scores.FILE).exists()
    text = (path / "report.html").read_text()
    assert "No classical model beside these scores" in text
    assert "train.csv" in text
    shutil.move("hidden.csv", "train.csv")
    write_report.write_report(path)
    saved = json.loads((path / classical_scores.FILE).read_text())
    text = (path / "report.html").read_text()
    assert "Random forest of scikit-learn with its usual options, on " in text
    assert f"{saved['scores']['accuracy']:.4f}" in text
    monkeypatch.setattr(classical_scores, "_compute", lambda _: pytest.fail("computed again"))
    capsys.readouterr()
    write_report.write_report(path)
    assert "fitting" not in capsys.readouterr().out
    assert (path / "report.html").read_text() == text


@pytest.mark.slow
def test_a_model_that_takes_too_long_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    write_rows(Path("train.csv"), make_rows(60, 1))
    write_rows(Path("test.csv"), make_rows(20, 2))
    path = Path(train.run(compose.compose([*BASE, "data.target=label", *SETTINGS, "epochs=1"])).run_dir)
    monkeypatch.setattr(classical_scores, "TIME_LIMIT", 0.01)
    results = read_record(path).results
    found = classical_scores.find_or_compute_scores(path, results)
    assert "it takes more than" in found.problem
    assert classical_scores.read_scores(path, results) == found  # a second page does not wait again


@pytest.mark.parametrize(
    "changes",
    [
        {"data_digest": "other"},
        {"test_metrics": ["nll"]},
        {"rows": "five"},
        {"scores": {"accuracy": "x"}},
        {"model": None},
    ],
)
def test_scores_of_other_data_or_of_wrong_types_are_not_used(changes: dict[str, object]) -> None:
    Path(classical_scores.FILE).write_text(json.dumps(SAVED))
    assert classical_scores.read_scores(Path(), RESULTS) is not None
    Path(classical_scores.FILE).write_text(json.dumps(SAVED | changes))
    assert classical_scores.read_scores(Path(), RESULTS) is None


@pytest.mark.parametrize("text", ["", "[]", "{", "\x00"])
def test_a_damaged_file_is_not_used(text: str) -> None:
    Path(classical_scores.FILE).write_text(text)
    assert classical_scores.read_scores(Path(), RESULTS) is None


def test_data_without_such_a_model_needs_no_note() -> None:
    assert score_rows.describe_classical(classical_scores.SavedScores()) is None
    assert score_rows.describe_classical(None) is None


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("trainer.tasks.classification.Classification", True),
        ("trainer.tasks.gan.Adversarial", False),
        ("trainer.tasks.vae.VariationalInference", False),
        ("plugin.of_the_user.Task", True),
        (None, True),
    ],
)
def test_tasks_that_train_no_such_model_need_no_process(target: str | None, expected: bool) -> None:
    assert classical_scores.may_have_scores(target) == expected


def test_what_will_not_change_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    reports = iter([({"problem": "one class"}, True)])
    monkeypatch.setattr(classical_scores, "_compute", lambda _: next(reports))
    for _ in range(2):
        assert classical_scores.find_or_compute_scores(Path(), RESULTS).problem == "one class"


def test_a_page_is_written_where_no_process_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(classical_scores, "_compute", refuse)
    assert classical_scores.find_or_compute_scores(Path(), RESULTS).problem == "no space left on device"
    assert not Path(classical_scores.FILE).exists()
