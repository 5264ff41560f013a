"""The page of a search has its best command, the importance of keys, charts of the trials and their costs."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.search_records import make_search, make_trial
from trainer.report import search_charts, search_page, write_page
from trainer.report.parallel_coordinates import Coordinate, draw_parallel_coordinates
from trainer.utils.errors import ConfigError


def write_search(path: Path, search: dict[str, Any]) -> str:
    (path / "search.json").write_text(json.dumps(search))
    return write_page.render_page("search.html", search_page.make_search_page(path))


def test_the_page_names_the_best_configuration(tmp_path: Path) -> None:
    text = write_search(tmp_path, make_search())
    assert "train model=mlp optimizer.lr=0.001 model.activation=relu</code>" in text
    assert "validation accuracy 0.8500 ± 0.0707 over 2 seeds; test accuracy 0.7000 ± 0.0000" in text
    assert "loss is &lt;nan&gt;" in text
    assert "in <code>" not in text
    assert "Other &lt;rows&gt;." not in text
    assert "Other &lt;rows&gt;." in write_search(tmp_path, make_search() | {"rows_note": "other <rows>"})
    assert "in <code>/home/a &lt;b&gt;</code>" in write_search(tmp_path, make_search() | {"working_dir": "/home/a <b>"})


def test_failed_trials_and_seeds_have_their_reasons(tmp_path: Path) -> None:
    text = write_search(tmp_path, make_search())
    assert "3 configurations (1 failed)" in text
    assert '<td class="text short">failed</td><td class="text">loss is &lt;nan&gt;</td>' in text
    assert ">failed seeds<" not in text
    replicates = [
        make_trial(0, {}, [], 1, seed=seed, reason=reason) for seed, reason in ((1, "out of <memory>"), (2, None))
    ]
    search = make_search()
    search["finalists"][0] |= {"num_failed": 2, "replicates": replicates}
    text = write_search(tmp_path, search)
    assert "seed 1: out of &lt;memory&gt;; 1 seed: it has no score that is a number" in text
    search["finalists"][0]["replicates"] = [{"seed": "x", "reason": 5, "status": "failed"}]
    assert "2 seeds: it has no score" in write_search(tmp_path, search)


def test_a_search_without_a_failure_has_no_column_for_it(tmp_path: Path) -> None:
    search = make_search()
    search["trials"] = search["trials"][:2]
    text = write_search(tmp_path, search)
    assert "2 configurations, " in text
    assert ">reason<" not in text


def test_the_best_score_so_far_counts_each_step_once() -> None:
    by_steps, by_seconds = search_charts.make_progress_charts(make_search(), "accuracy")
    assert list(by_steps.lines[0].points)[:2] == [(10.0, 0.5), (20.0, 0.6)]
    assert by_steps.lines[0].points[-1] == (53.0, 0.9)
    assert by_seconds.lines[0].points[-1] == (pytest.approx(5.3), 0.9)


def test_lower_scores_may_be_better() -> None:
    chart, _ = search_charts.make_progress_charts(make_search() | {"higher_is_better": False}, "mse")
    assert chart.lines[0].points[-1][1] == 0.5


def test_slices_compare_the_first_scores() -> None:
    lr, activation = search_charts.make_slices(make_search(), "accuracy")
    assert (lr.title, lr.is_x_log, lr.lines[0].points) == ("optimizer.lr", True, [(0.001, 0.5), (0.1, 0.6)])
    assert (activation.x_names, activation.lines[0].points) == (["relu", "tanh"], [(0.0, 0.5), (1.0, 0.6)])


def test_a_line_skips_the_keys_that_a_trial_lacks() -> None:
    coordinates = [
        Coordinate("a", [1.0, 2.0, 3.0]),
        Coordinate("b", [0.0, math.nan, 1.0], ["x", "y"]),
        Coordinate("score", [0.1, 0.5, 0.9]),
    ]
    root = ET.fromstring(str(draw_parallel_coordinates(coordinates, [2, 1, 0], "three <trials>")))
    lines = [line.attrib for line in root.iter("polyline")]
    assert [line["class"] for line in lines] == ["other", "best"]
    assert all(len(line["points"].split()) == 3 for line in lines)
    assert root.attrib["aria-label"] == "three <trials>"


def test_a_search_without_a_trial_that_ended_has_a_page(tmp_path: Path) -> None:
    search = make_search() | {"finalists": [], "stages": [], "importance": None}
    search["trials"] = [make_trial(0, {}, [], 0)]
    assert "No configuration has been trained to the end yet." in write_search(tmp_path, search)


@pytest.mark.parametrize("text", ["{", "[]", '{"trials": 3}', "", '{"trials": [{}], "monitor": "nll"}'])
def test_a_damaged_record_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "search.json").write_text(text)
    with pytest.raises(ConfigError, match="not the record of a search"):
        search_page.make_search_page(tmp_path)


@pytest.mark.parametrize("is_reused", [False, True])
def test_the_page_of_a_trial_is_linked_from_wherever_the_page_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_reused: bool
) -> None:
    """Recorded paths are relative to the directory of the command; that of the search may have been moved."""
    (tmp_path / "elsewhere").mkdir()
    root, other = tmp_path / "moved", tmp_path / "work/outputs/5-lr=1"
    run = other if is_reused else root / "5-lr=1"
    root.mkdir()
    run.mkdir(parents=True)
    (run / write_page.REPORT_FILE).touch()
    search = make_search() | {"working_dir": str(tmp_path / "work")}
    search["trials"][0]["run_dir"] = "outputs/5-lr=1"
    monkeypatch.chdir(tmp_path / "elsewhere")
    link = "../work/outputs/5-lr%3D1/report.html" if is_reused else "5-lr%3D1/report.html"
    assert f'<a href="{link}">' in write_search(root, search)
