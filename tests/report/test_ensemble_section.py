"""The page of an ensemble shows its members, the gain over them and their diversity."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.in_process import run
from trainer.analysis import run_record
from trainer.report import run_page, write_page
from trainer.report.ensemble_section import EnsembleSection, make_ensemble_section
from trainer.viz.score_tables import format_number

pytestmark = [pytest.mark.usefixtures("in_tmp"), pytest.mark.slow]


def make_section(path: Path) -> EnsembleSection:
    section = make_ensemble_section(run_record.read_record(path))
    assert section is not None
    return section


def test_members_gain_and_diversity_are_shown() -> None:
    result = run("ensemble=2")
    path = Path(result.run_dir)
    section = make_section(path)
    assert section.metrics[0] == "accuracy"
    rows = {label: cells[0] for label, cells in section.rows}
    assert rows.pop("ensemble") == format_number(result.test["accuracy"])
    assert rows.pop("gain over the mean") == format_number(result.ensemble["gain"]["accuracy"])
    assert [*rows] == ["mean of the members", "best member", "members/0, seed 0", "members/1, seed 1"]
    member = json.loads((path / "members/1/results.json").read_text())
    assert rows["members/1, seed 1"] == format_number(member["test"]["accuracy"])
    assert len(section.sentences) == 2
    page = write_page.render_page("run.html", run_page.make_run_page(run_record.read_record(path)))
    assert 'id="members"' in page
    assert f"{result.ensemble['diversity']['disagreement']:.1%} of the test targets" in page


def test_an_ensemble_that_is_not_scored_has_its_members() -> None:
    path = Path(run("ensemble=2").run_dir)
    results = json.loads((path / "results.json").read_text())
    for key in ("test", "val", "ensemble"):
        results.pop(key)
    (path / "results.json").write_text(json.dumps(results | {"test": {}, "val": {}, "status": "interrupted"}))
    (path / "members/1/results.json").unlink()
    section = make_section(path)
    assert [label for label, _ in section.rows] == ["members/0, seed 0", "members/1, not started"]
    assert not section.sentences


def test_a_run_of_one_model_has_no_members() -> None:
    record = run_record.read_record(Path(run().run_dir))
    assert make_ensemble_section(record) is None
    assert 'id="members"' not in write_page.render_page("run.html", run_page.make_run_page(record))
