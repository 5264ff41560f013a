"""Comparison of runs: verdicts, intervals, refusals, and the printed and JSON forms."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from tests.helpers.compared_runs import write_rows, write_scored_rows, write_seeds
from tests.helpers.finished_runs import make_config, write_run
from trainer.analysis.compare import compare_runs
from trainer.analysis.compare_report import describe_difference, describe_verdict, format_json, show_comparison
from trainer.stats.paired_comparison import ALPHA, Verdict
from trainer.utils.errors import ConfigError

GOOD = (0.90, 0.92, 0.91, 0.93, 0.90)
BAD = (0.80, 0.83, 0.80, 0.82, 0.81)


def test_seeds_decide_and_rows_have_intervals(tmp_path: Path) -> None:
    paths = [write_seeds(tmp_path, "good", GOOD, lr=0.1), write_seeds(tmp_path, "bad", BAD, lr=0.2)]
    write_scored_rows(tmp_path)
    comparison = compare_runs(paths)
    first, second = comparison.settings
    assert (first.label, second.label) == ("optimizer.lr=0.1", "optimizer.lr=0.2")
    assert first.test == pytest.approx(np.mean(GOOD))
    assert first.std == pytest.approx(np.std(GOOD, ddof=1))
    assert first.seeds == ["0", "1", "2", "3", "4"]
    (difference,) = comparison.differences
    assert difference.pair.conclusion is not None
    assert difference.pair.conclusion.verdict is Verdict.BETTER
    expected = stats.ttest_rel(GOOD, BAD).confidence_interval(1 - ALPHA)
    assert difference.pair.seeds is not None
    assert difference.pair.seeds.interval == pytest.approx(tuple(expected))
    assert difference.over_rows is not None
    assert difference.over_rows[0] < np.mean(GOOD) - np.mean(BAD) < difference.over_rows[1]
    assert comparison.num_rows == 200
    assert comparison.without_rows == ""


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_three_seeds_never_claim(seeds: int, tmp_path: Path) -> None:
    paths = [write_seeds(tmp_path, "a", [1.0] * seeds, lr=0.1), write_seeds(tmp_path, "b", [0.0] * seeds, lr=0.2)]
    (difference,) = compare_runs(paths).differences
    assert describe_verdict(difference).startswith("undecided")
    assert "of each needed" in describe_verdict(difference)


def test_single_runs_speak_of_the_test_rows_only(tmp_path: Path) -> None:
    paths = [write_seeds(tmp_path, "a", [0.95], lr=0.1), write_seeds(tmp_path, "b", [0.60], lr=0.2)]
    write_scored_rows(tmp_path)
    comparison = compare_runs([path / "0" for path in paths])
    first, second = describe_difference(comparison, comparison.differences[0])
    assert first == (
        "A against B: undecided: one seed shows differences of the test rows, not of the settings; about 3 more seeds"
        " of each needed"
    )
    assert second.startswith("  over 200 test rows: A - B in +0.2")
    assert second.endswith(" at 95 %")


def test_old_runs_without_rows_are_compared_by_seeds(tmp_path: Path) -> None:
    paths = [write_seeds(tmp_path, "a", GOOD, lr=0.1), write_seeds(tmp_path, "b", BAD, lr=0.2)]
    comparison = compare_runs(paths)
    assert comparison.differences[0].over_rows is None
    assert comparison.without_rows == "no run has test_rows.npz, with what each test row contributes to its scores"
    write_scored_rows(paths[0])
    comparison = compare_runs(paths)
    assert comparison.settings[0].over_rows is not None
    assert comparison.settings[1].over_rows is None
    assert comparison.without_rows == f"{paths[1]}: a run without test_rows.npz"


def test_rows_of_other_data_or_results_are_left_out(tmp_path: Path) -> None:
    paths = [write_seeds(tmp_path, "a", [0.5], lr=0.1), write_seeds(tmp_path, "b", [0.5], lr=0.2)]
    correct = np.arange(10) < 5
    write_rows(paths[0] / "0", correct)
    write_rows(paths[1] / "0", correct, targets=np.arange(10.0))
    assert "other test rows, such as those of another seed or fold" in compare_runs(paths).without_rows
    write_rows(paths[1] / "0", np.arange(10) < 9)
    assert "test_rows.npz belongs to other results" in compare_runs(paths).without_rows


def test_incomparable_runs_are_refused(tmp_path: Path) -> None:
    first = write_seeds(tmp_path, "a", GOOD)
    cases = {
        "scores of different metrics": write_seeds(
            tmp_path, "metric", GOOD, monitor="nll", test={"nll": 1.0}, val={"nll": 1.0}
        ),
        "csv (path=a.csv, target=y) and": write_seeds(tmp_path, "data", GOOD, path="b.csv"),
        "has the data csv and": write_seeds(tmp_path, "other", GOOD, data="moons"),
        "no directory": tmp_path / "missing",
        "given twice": first,
    }
    for reason, path in cases.items():
        with pytest.raises(ConfigError, match="compare: ") as caught:
            compare_runs([first, path])
        assert reason in str(caught.value)
    with pytest.raises(ConfigError, match="two or more runs are needed"):
        compare_runs([first])


def test_a_directory_with_several_settings_is_refused(tmp_path: Path) -> None:
    write_seeds(tmp_path, "all/a", GOOD, lr=0.1)
    write_seeds(tmp_path, "all/b", GOOD, lr=0.2)
    with pytest.raises(ConfigError, match="all has runs of 2 settings"):
        compare_runs([tmp_path / "all", tmp_path / "all/a"])


@pytest.mark.parametrize("content", ["", "{", '{"status": "running"}', "[1]"])
def test_broken_and_unfinished_runs_are_refused(content: str, tmp_path: Path) -> None:
    first = write_seeds(tmp_path, "a", GOOD)
    write_run(tmp_path, "b", make_config(), [])
    (tmp_path / "b" / "results.json").write_text(content)
    reason = "its run is running" if "running" in content else "no finished run with test scores"
    with pytest.raises(ConfigError, match=reason):
        compare_runs([first, tmp_path / "b"])


def test_runs_with_scores_that_are_not_finite_are_compared(tmp_path: Path) -> None:
    first = write_seeds(tmp_path, "a", GOOD, lr=0.1)
    second = write_seeds(tmp_path, "b", [0.5], lr=0.2, test={"accuracy": None})
    comparison = compare_runs([first, second])
    assert describe_verdict(comparison.differences[0]) == "a setting has no finite test score"
    plain = json.loads(format_json(comparison))["settings"]
    assert plain[1]["test"] is None
    assert [setting["missing_scores"] for setting in plain] == [0, 1]


def test_several_settings_are_corrected_by_holm(tmp_path: Path) -> None:
    scores = {"a": GOOD, "b": (0.90, 0.91, 0.905, 0.91, 0.895), "c": BAD}
    paths = [write_seeds(tmp_path, name, values, lr=i) for i, (name, values) in enumerate(scores.items(), 1)]
    comparison = compare_runs(paths)
    assert [(d.pair.first, d.pair.second) for d in comparison.differences] == [(0, 1), (0, 2), (1, 2)]
    values = json.loads(format_json(comparison))
    assert (values["level"], values["difference_level"], values["alpha"]) == (0.95, 0.96, 0.04)
    plain = values["differences"]
    p_values = sorted(difference["p_value"] for difference in plain)
    assert min(d["adjusted_p_value"] for d in plain) == pytest.approx(3 * p_values[0])


@pytest.mark.parametrize("width", [60, 120])
def test_the_report_fits_the_terminal(
    width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("trainer.viz.console.console._width", width)
    write_seeds(tmp_path, "good [x]", GOOD, lr=0.1)
    write_seeds(tmp_path, "bad", BAD, lr=0.2)
    write_scored_rows(tmp_path)
    show_comparison(compare_runs([Path("good [x]"), Path("bad")]))
    text = capsys.readouterr().out
    assert "A  mlp optimizer.lr=0.1  (good [x])" in text
    assert "A against B: better" in text
    assert "at 96 %, 5 pairs of the same seed" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= width
