"""The leaderboard: a row per configuration, a table per data set, and its output."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.commands import write
from tests.helpers.finished_runs import make_config, read_leaderboard, write_run
from trainer.runs import leaderboard, sweep
from trainer.runs.finished_runs import read_runs
from trainer.runs.leaderboard_entries import Entry
from trainer.runs.sweep_job import Job
from trainer.utils.errors import SystemFault


def test_only_the_newest_run_of_a_seed_counts(tmp_path: Path) -> None:
    for number, (seed, score) in enumerate([(0, 0.1), (0, 0.2), (0, 0.9), (1, 0.7)]):
        write_run(tmp_path, str(number), make_config(seed), [f"seed={seed}"], test={"accuracy": score})
    (entry,) = read_leaderboard(tmp_path)
    assert (entry.runs, entry.test) == (2, pytest.approx(0.8))


def test_equivalent_configurations_are_one_row(tmp_path: Path) -> None:
    """Overrides in several spellings, a default, and an integer for a float."""
    spellings = (["optimizer.lr=0.01"], ["optimizer.lr=1e-2", "jobs=2"], [], ["+optimizer.lr=0.01"])
    for seed, overrides in enumerate(spellings):
        write_run(tmp_path, str(seed), make_config(seed) | {"jobs": seed}, overrides)
    write_run(tmp_path, "whole", make_config(9, lr=1), ["optimizer.lr=1"])
    write_run(tmp_path, "fraction", make_config(8, lr=1.0), ["optimizer.lr=1.0"])
    entries = read_leaderboard(tmp_path)
    assert sorted((entry.overrides, entry.runs) for entry in entries) == [
        ("optimizer.lr=0.01", 4),
        ("optimizer.lr=1", 2),
    ]


def test_different_sources_are_not_ranked_together(tmp_path: Path) -> None:
    write_run(tmp_path, "1", make_config(path="red.csv"), ["data.path=red.csv"])
    write_run(tmp_path, "2", make_config(path="./red.csv", seed=1), ["data.path=./red.csv"])
    write_run(tmp_path, "3", make_config(path="white.csv"), ["data.path=white.csv"])
    write_run(tmp_path, "4", {"data": {"name": "Coffee"}}, ["data.name=Coffee"], data="ucr")
    write_run(tmp_path, "5", {"data": {"name": "Beef"}}, ["data.name=Beef"], data="ucr")
    assert [(entry.data, entry.runs) for entry in read_leaderboard(tmp_path)] == [
        ("csv (path=red.csv, target=y)", 2),
        ("csv (path=white.csv, target=y)", 1),
        ("ucr (name=Beef)", 1),
        ("ucr (name=Coffee)", 1),
    ]


def test_data_options_that_change_the_rows_split_the_table(tmp_path: Path) -> None:
    write_run(tmp_path, "1", make_config(drop_columns=["aa"]), ["data.drop_columns=[aa]"])
    write_run(tmp_path, "2", make_config(drop_columns=["bb"]), ["data.drop_columns=[bb]"])
    write_run(tmp_path, "3", make_config(nan="drop"), ["data.nan=drop"], baseline={"accuracy": 0.6})
    found = read_leaderboard(tmp_path)
    assert len({entry.data for entry in found}) == 2
    assert {entry.overrides for entry in found if "nan=null" in entry.data or "nan" not in entry.data} == {
        "data.drop_columns=[aa]",
        "data.drop_columns=[bb]",
    }


def test_feature_extractors_of_runs_are_not_ranked(tmp_path: Path) -> None:
    write_run(tmp_path, "classifiers/cnn-digits-1", make_config(), [])
    write_run(tmp_path, "classifiers/of-mine", make_config(1), ["seed=1"])
    assert [entry.runs for entry in read_leaderboard(tmp_path)] == [1]


def test_a_yaml_alias_bomb_is_not_read(tmp_path: Path) -> None:
    write_run(tmp_path, "1", make_config(), ["optimizer.lr=0.5"])
    ten = ", ".join(f"k{number}: *a" for number in range(10))
    lines = ["a0: &a0 {x: 1}", *(f"a{n}: &a{n} {{{ten.replace('*a', f'*a{n - 1}')}}}" for n in range(1, 10))]
    write(tmp_path, {"1/config.yaml": "\n".join(lines)})
    (run,) = read_runs(tmp_path)
    assert run.config == {"optimizer.lr": 0.5}


def test_configurations_with_equal_overrides_are_distinguished(tmp_path: Path) -> None:
    write_run(tmp_path, "1", make_config(lr=0.1), [])
    write_run(tmp_path, "2", make_config(lr=0.2), [])
    assert {entry.overrides for entry in read_leaderboard(tmp_path)} == {
        "optimizer.lr=0.1",
        "optimizer.lr=0.2",
    }


def test_single_run_has_no_standard_deviation(tmp_path: Path) -> None:
    write_run(tmp_path, "1", make_config(), [])
    (entry,) = read_leaderboard(tmp_path)
    assert entry.std is None
    leaderboard.show_leaderboard(tmp_path)
    assert ",," in (tmp_path / "leaderboard.csv").read_text().splitlines()[1]


@pytest.mark.parametrize("changes", [{"val": 3}, {"test": {}}, {"params": "x"}, {"seconds": None}])
def test_malformed_results_are_left_out(changes: dict[str, Any], tmp_path: Path) -> None:
    write_run(tmp_path, "1", make_config(), [])
    write_run(tmp_path, "2", make_config(lr=3), [], **changes)
    assert len(read_leaderboard(tmp_path)) == 1


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_overrides_are_not_broken_at_any_width(
    width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("trainer.viz.console.console._width", width)
    for number in (1, 2):
        names = [f"column[{number}]", "[b]"]
        write_run(tmp_path, str(number), make_config(drop_columns=names), [f"data.drop_columns={names}"])
    leaderboard.show_leaderboard(tmp_path)
    text = capsys.readouterr().out
    for number in (1, 2):
        assert f"data.drop_columns=[column[{number}],[b]]" in text
    assert "f1 (macro)" in text
    assert max(map(len, text.splitlines()[:-1])) <= max(
        width, len("csv (path=a.csv, target=y): accuracy, baseline 0.5000")
    )
    assert r"\[column\[1\],\[b\]\]" in (tmp_path / "leaderboard.md").read_text()


def test_csv_columns_are_the_fields_of_an_entry(tmp_path: Path) -> None:
    write_run(tmp_path, "1", make_config(), [])
    leaderboard.show_leaderboard(tmp_path)
    assert (tmp_path / "leaderboard.csv").read_text().splitlines()[0].split(",") == [*Entry.__dataclass_fields__]


def test_runs_with_different_data_digests_are_separate_tables(tmp_path: Path) -> None:
    """Two seeds with one digest, one of the seeds with another, and a run without a digest."""
    write_run(tmp_path, "1", make_config(), [], data_digest="a" * 32, test={"accuracy": 0.1})
    write_run(tmp_path, "2", make_config(seed=1), [], data_digest="a" * 32, test={"accuracy": 0.2})
    write_run(tmp_path, "3", make_config(), [], data_digest="b" * 32, test={"accuracy": 0.9})
    write_run(tmp_path, "4", make_config(), [], test={"accuracy": 0.5})
    assert [(entry.data, entry.runs, entry.test) for entry in read_leaderboard(tmp_path)] == [
        ("csv (path=a.csv, target=y, contents aaaaaaaa)", 2, pytest.approx(0.15)),
        ("csv (path=a.csv, target=y, contents bbbbbbbb)", 1, 0.9),
        ("csv (path=a.csv, target=y, contents unknown)", 1, 0.5),
    ]


def test_data_digest_is_shown_only_if_a_path_has_several(tmp_path: Path) -> None:
    write_run(tmp_path, "1", make_config(), [], data_digest="a" * 32)
    write_run(tmp_path, "2", make_config(path="b.csv"), [], data_digest="b" * 32)
    assert [entry.data for entry in read_leaderboard(tmp_path)] == [
        "csv (path=a.csv, target=y)",
        "csv (path=b.csv, target=y)",
    ]


@pytest.mark.slow
def test_table_too_wide_for_the_console_is_stacked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every width, with a value shorter than its column."""
    for place, word in enumerate(("[aa,bb]", "[cc,dd]")):
        write_run(tmp_path, str(place), make_config(drop_columns=word), [f"data.drop_columns={word}"])
    for width in range(40, 110):
        monkeypatch.setattr("trainer.viz.console.console._width", width)
        leaderboard.show_leaderboard(tmp_path)
        assert "data.drop_columns=[aa,bb]" in capsys.readouterr().out, width


def test_large_and_small_scores_have_exponents(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path, "1", make_config(), [], val={"accuracy": 15303297058.2212}, test={"accuracy": 2e-5})
    leaderboard.show_leaderboard(tmp_path)
    output = capsys.readouterr().out
    assert "1.53e+10" in output
    assert "2e-05" in output
    assert "15303297058.2212" in (tmp_path / "leaderboard.csv").read_text()


def test_table_is_printed_before_a_write_error_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def raise_permission_error(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    write_run(tmp_path, "a", make_config(), [])
    monkeypatch.setattr(os, "replace", raise_permission_error)
    with pytest.raises(SystemFault, match=r"cannot write .*leaderboard\.csv: Permission denied"):
        leaderboard.show_leaderboard(tmp_path)
    output = capsys.readouterr().out
    assert "mlp" in output
    assert "saved in" not in output


def test_job_outcomes_are_reported_before_a_table_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def raise_fault(*_: object) -> None:
        raise SystemFault("no room")

    monkeypatch.setattr(leaderboard, "show_leaderboard", raise_fault)
    with pytest.raises(SystemFault):
        sweep._summarize([Job(None, tmp_path / "0-a=1", "failed", "on purpose")], tmp_path, "scheduler", None)
    assert capsys.readouterr().err == "failed: 0-a=1: on purpose\n"


@pytest.mark.parametrize("higher", [True, False])
def test_plugin_metric_is_ranked_in_its_direction(tmp_path: Path, higher: bool) -> None:
    for value in (0.2, 0.9, 0.5):
        scores = {"val": {"pinball": value}, "test": {"pinball": value}, "baseline": {}}
        monitor = {"monitor": "pinball", "higher_is_better": {"pinball": higher}}
        write_run(tmp_path, str(value), make_config(lr=value), [f"optimizer.lr={value}"], **monitor, **scores)
    found = [entry.val for entry in read_leaderboard(tmp_path)]
    assert found == sorted([0.2, 0.9, 0.5], reverse=higher)


def test_an_option_named_like_a_runtime_key_distinguishes_settings(tmp_path: Path) -> None:
    """Only a key that repeats the global one, as ``data.data_dir`` does, is a detail of the machine."""
    for seed in (0, 1):
        config = make_config(seed, data_dir=f"/{seed}")
        config |= {"data_dir": f"/{seed}", "draw": True, "model": {"draw": False}}
        write_run(tmp_path, str(seed), config, [f"seed={seed}"])
    write_run(tmp_path, "2", config | {"seed": 2, "model": {"draw": 3}}, ["seed=2", "model.draw=3"])
    entries = read_leaderboard(tmp_path)
    assert sorted((entry.overrides, entry.runs) for entry in entries) == [("model.draw=3", 1), ("model.draw=false", 2)]


def test_other_metrics_have_labels_on_the_console_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path, "1", make_config(), [], test={"accuracy": 0.7, "f1": 0.6, "auc": 0.5})
    (entry,) = read_leaderboard(tmp_path)
    assert entry.other_metrics == {"f1": 0.6, "auc": 0.5}
    leaderboard.show_leaderboard(tmp_path)
    assert "f1 (macro) 0.6000" in capsys.readouterr().out
    assert (tmp_path / "leaderboard.csv").read_text().splitlines()[1].endswith(',"f1 0.6000, auc 0.5000",,,,,0,')
    assert (
        (tmp_path / "leaderboard.md")
        .read_text()
        .splitlines()[2]
        .endswith("| f1 0.6000, auc 0.5000 |  |  |  |  | 0 |  |")
    )
