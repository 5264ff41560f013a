"""The page of a run has the findings that follow from its records, without loading or training anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.finished_runs import make_config, write_run
from trainer.analysis import run_record
from trainer.analysis.diagnosis import live_run
from trainer.report import run_page, write_page
from trainer.report.findings import list_findings

OVERFITTED = [(1, 1), (0.8, 0.8), (0.6, 0.7), (0.4, 0.8), (0.2, 0.9), (0.1, 0.95)]
HEALTHY = [(1, 1), (0.5, 0.5), (0.3, 0.3), *[(0.25, 0.25)] * 7]


def make_record(path: Path, losses: list[tuple[float, float]], **changes: object) -> run_record.RunRecord:
    needed = {"identity": "0123", "options": {}, "task": "classification", "higher_is_better": {"accuracy": True}}
    write_run(path, "run", make_config(), [], **needed, **changes)
    lines = [f"{epoch},{epoch},{train},{val},{1 - val / 2}" for epoch, (train, val) in enumerate(losses, 1)]
    text = "\n".join(["epoch,step,train_loss,val_loss,val_accuracy", *lines, ""])
    (path / "run/metrics.csv").write_text(text)
    return run_record.read_record(path / "run")


def render(record: run_record.RunRecord) -> str:
    return write_page.render_page("run.html", run_page.make_run_page(record))


def test_a_finding_is_shown_with_evidence_and_overrides(tmp_path: Path) -> None:
    record = make_record(tmp_path, OVERFITTED)
    found = list_findings(record)
    assert found is not None
    assert [(row.rule, row.is_fault) for row in found] == [("over-fitting", False)]
    assert ("best val loss", "0.7") in found[0].evidence
    text = render(record)
    assert "It over-fits since epoch 3" in text
    assert f"train why {tmp_path / 'run'}" in text
    assert "Nothing unusual" not in text


def test_a_healthy_run_has_no_finding_and_its_objects_are_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the run was loaded")

    monkeypatch.setattr(live_run.LiveRun, "__init__", refuse)
    record = make_record(tmp_path, HEALTHY)
    assert list_findings(record) == []
    assert "Nothing unusual in what this run has recorded" in render(record)


@pytest.mark.parametrize("changes", [{"debug": "fast"}, {"status": "running"}])
def test_a_run_without_records_or_of_one_step_is_not_judged(tmp_path: Path, changes: dict[str, object]) -> None:
    record = make_record(tmp_path, HEALTHY if "debug" in changes else [], **changes)
    if "status" in changes:
        record.__dict__["status"] = "running"
    assert list_findings(record) is None
    assert 'id="findings"' not in render(record)


def test_a_score_that_is_not_known_is_no_gain(tmp_path: Path) -> None:
    record = make_record(tmp_path, HEALTHY, test={"accuracy": None}, baseline={"accuracy": None})
    assert list_findings(record) == []


def test_a_failed_run_names_what_was_not_finite(tmp_path: Path) -> None:
    reason = "NonFiniteError: loss nan, gradient norm nan"
    found = list_findings(make_record(tmp_path, HEALTHY[:3], status="failed", reason=reason))
    assert found is not None
    assert [row.rule for row in found] == ["NaN"]
