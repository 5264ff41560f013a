"""Rows of the leaderboard are configurations, and its tables are rows that were scored."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from tests.helpers.commands import write
from trainer.runs import leaderboard, sweep
from trainer.runs.finished_runs import read_runs
from trainer.runs.leaderboard import Entry
from trainer.runs.sweep_job import Job
from trainer.utils.errors import SystemFault


def put(root: Path, name: str, config: dict[str, Any], overrides: list[str], **changes: Any) -> None:
    """A run folder; numbers are those of a run of ``accuracy`` unless they are changed."""
    results = {
        "status": "finished",
        "model": "mlp",
        "data": "csv",
        "monitor": "accuracy",
        "params": 5,
        "seconds": 1.0,
        "val": {"accuracy": 0.8},
        "test": {"accuracy": 0.7, "f1": 0.6},
        "baseline": {"accuracy": 0.5},
        "best_possible": {},
        "seed": config.get("seed", 0),
        "overrides": overrides,
    }
    write(root, {f"{name}/results.json": json.dumps(results | changes)})
    write(root, {f"{name}/config.yaml": OmegaConf.to_yaml(OmegaConf.create(config))})
    stamp = 1_700_000_000 + len(list(root.glob("**/results.json")))
    os.utime(root / name / "results.json", (stamp, stamp))


def tree(seed: int = 0, lr: float = 0.01, path: str = "a.csv", **data: Any) -> dict[str, Any]:
    return {
        "seed": seed,
        "jobs": None,
        "optimizer": {"_target_": "trainer.optim.optimizers.Adam", "lr": lr},
        "data": {
            "_target_": "trainer.data.datasets.tabular.csv_table.CSV",
            "path": path,
            "target": "y",
            "drop_columns": [],
        }
        | data,
    }


def test_reruns_of_a_seed_count_once_and_the_newest_counts(tmp_path: Path) -> None:
    for number, (seed, score) in enumerate([(0, 0.1), (0, 0.2), (0, 0.9), (1, 0.7)]):
        put(tmp_path, str(number), tree(seed), [f"seed={seed}"], test={"accuracy": score})
    (entry,) = leaderboard.collect_entries(tmp_path)
    assert (entry.runs, entry.test) == (2, pytest.approx(0.8))


def test_a_configuration_is_one_row_however_it_was_written(tmp_path: Path) -> None:
    """By an override, by another, by a default, and with a whole number for a fraction."""
    ways = (["optimizer.lr=0.01"], ["optimizer.lr=1e-2", "jobs=2"], [], ["+optimizer.lr=0.01"])
    for seed, overrides in enumerate(ways):
        put(tmp_path, str(seed), tree(seed) | {"jobs": seed}, overrides)
    put(tmp_path, "whole", tree(9, lr=1), ["optimizer.lr=1"])
    put(tmp_path, "fraction", tree(8, lr=1.0), ["optimizer.lr=1.0"])
    entries = leaderboard.collect_entries(tmp_path)
    assert sorted((entry.overrides, entry.runs) for entry in entries) == [
        ("optimizer.lr=0.01", 4),
        ("optimizer.lr=1", 2),
    ]


def test_different_sources_are_not_ranked_together(tmp_path: Path) -> None:
    put(tmp_path, "1", tree(path="red.csv"), ["data.path=red.csv"])
    put(tmp_path, "2", tree(path="./red.csv", seed=1), ["data.path=./red.csv"])
    put(tmp_path, "3", tree(path="white.csv"), ["data.path=white.csv"])
    put(tmp_path, "4", {"data": {"name": "Coffee"}}, ["data.name=Coffee"], data="ucr")
    put(tmp_path, "5", {"data": {"name": "Beef"}}, ["data.name=Beef"], data="ucr")
    assert [(entry.data, entry.runs) for entry in leaderboard.collect_entries(tmp_path)] == [
        ("csv (path=red.csv, target=y)", 2),
        ("csv (path=white.csv, target=y)", 1),
        ("ucr (name=Beef)", 1),
        ("ucr (name=Coffee)", 1),
    ]


def test_options_of_data_that_change_the_rows_make_a_table_and_others_a_row(tmp_path: Path) -> None:
    put(tmp_path, "1", tree(drop_columns=["aa"]), ["data.drop_columns=[aa]"])
    put(tmp_path, "2", tree(drop_columns=["bb"]), ["data.drop_columns=[bb]"])
    put(tmp_path, "3", tree(nan="drop"), ["data.nan=drop"], baseline={"accuracy": 0.6})
    found = leaderboard.collect_entries(tmp_path)
    assert len({entry.data for entry in found}) == 2
    assert {entry.overrides for entry in found if "nan=null" in entry.data or "nan" not in entry.data} == {
        "data.drop_columns=[aa]",
        "data.drop_columns=[bb]",
    }


def test_a_classifier_that_a_run_trained_for_itself_is_nobodys_run(tmp_path: Path) -> None:
    put(tmp_path, "classifiers/cnn-digits-1", tree(), [])
    put(tmp_path, "classifiers/of-mine", tree(1), ["seed=1"])
    assert [entry.runs for entry in leaderboard.collect_entries(tmp_path)] == [1]


def test_a_configuration_whose_aliases_would_fill_the_memory_is_not_read(tmp_path: Path) -> None:
    put(tmp_path, "1", tree(), ["optimizer.lr=0.5"])
    ten = ", ".join(f"k{number}: *a" for number in range(10))
    lines = ["a0: &a0 {x: 1}", *(f"a{n}: &a{n} {{{ten.replace('*a', f'*a{n - 1}')}}}" for n in range(1, 10))]
    write(tmp_path, {"1/config.yaml": "\n".join(lines)})
    (run,) = read_runs(tmp_path)
    assert run.config == {"optimizer.lr": 0.5}


def test_settings_that_differ_in_no_override_are_told_apart(tmp_path: Path) -> None:
    put(tmp_path, "1", tree(lr=0.1), [])
    put(tmp_path, "2", tree(lr=0.2), [])
    assert {entry.overrides for entry in leaderboard.collect_entries(tmp_path)} == {
        "optimizer.lr=0.1",
        "optimizer.lr=0.2",
    }


def test_a_single_run_has_no_deviation(tmp_path: Path) -> None:
    put(tmp_path, "1", tree(), [])
    (entry,) = leaderboard.collect_entries(tmp_path)
    assert entry.std is None
    leaderboard.show_leaderboard(tmp_path)
    assert ",," in (tmp_path / "leaderboard.csv").read_text().splitlines()[1]


@pytest.mark.parametrize("changes", [{"val": 3}, {"test": {}}, {"params": "x"}, {"seconds": None}])
def test_results_of_another_kind_are_left_out(changes: dict[str, Any], tmp_path: Path) -> None:
    put(tmp_path, "1", tree(), [])
    put(tmp_path, "2", tree(lr=3), [], **changes)
    assert len(leaderboard.collect_entries(tmp_path)) == 1


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_every_setting_is_read_whole_at_any_width(
    width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("trainer.viz.console.console._width", width)
    for number in (1, 2):
        names = [f"column[{number}]", "[b]"]
        put(tmp_path, str(number), tree(drop_columns=names), [f"data.drop_columns={names}"])
    leaderboard.show_leaderboard(tmp_path)
    text = capsys.readouterr().out
    for number in (1, 2):
        assert f"data.drop_columns=[column[{number}],[b]]" in text
    assert "f1 (macro)" in text
    assert max(map(len, text.splitlines()[:-1])) <= max(
        width, len("csv (path=a.csv, target=y): accuracy, baseline 0.5000")
    )
    assert r"\[column\[1\],\[b\]\]" in (tmp_path / "leaderboard.md").read_text()


def test_fields_of_a_row_are_columns_of_the_table(tmp_path: Path) -> None:
    put(tmp_path, "1", tree(), [])
    leaderboard.show_leaderboard(tmp_path)
    assert (tmp_path / "leaderboard.csv").read_text().splitlines()[0].split(",") == [*Entry.__dataclass_fields__]


def test_the_same_path_with_other_contents_is_other_data(tmp_path: Path) -> None:
    """A seed of each, the same seed of both, and a run that does not say what it read."""
    put(tmp_path, "1", tree(), [], data_digest="a" * 32, test={"accuracy": 0.1})
    put(tmp_path, "2", tree(seed=1), [], data_digest="a" * 32, test={"accuracy": 0.2})
    put(tmp_path, "3", tree(), [], data_digest="b" * 32, test={"accuracy": 0.9})
    put(tmp_path, "4", tree(), [], test={"accuracy": 0.5})
    assert [(entry.data, entry.runs, entry.test) for entry in leaderboard.collect_entries(tmp_path)] == [
        ("csv (path=a.csv, target=y, contents aaaaaaaa)", 2, pytest.approx(0.15)),
        ("csv (path=a.csv, target=y, contents bbbbbbbb)", 1, 0.9),
        ("csv (path=a.csv, target=y, contents unknown)", 1, 0.5),
    ]


def test_contents_are_named_only_where_they_differ(tmp_path: Path) -> None:
    put(tmp_path, "1", tree(), [], data_digest="a" * 32)
    put(tmp_path, "2", tree(path="b.csv"), [], data_digest="b" * 32)
    assert [entry.data for entry in leaderboard.collect_entries(tmp_path)] == [
        "csv (path=a.csv, target=y)",
        "csv (path=b.csv, target=y)",
    ]


def test_a_table_that_would_break_a_word_is_stacked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every width, with a name shorter than its column."""
    for place, word in enumerate(("[aa,bb]", "[cc,dd]")):
        put(tmp_path, str(place), tree(drop_columns=word), [f"data.drop_columns={word}"])
    for width in range(40, 110):
        monkeypatch.setattr("trainer.viz.console.console._width", width)
        leaderboard.show_leaderboard(tmp_path)
        assert "data.drop_columns=[aa,bb]" in capsys.readouterr().out, width


def test_large_scores_are_shown_as_everywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(tmp_path, "1", tree(), [], val={"accuracy": 15303297058.2212}, test={"accuracy": 2e-5})
    leaderboard.show_leaderboard(tmp_path)
    shown = capsys.readouterr().out
    assert "1.53e+10" in shown
    assert "2e-05" in shown
    assert "15303297058.2212" in (tmp_path / "leaderboard.csv").read_text()


def test_a_table_that_cannot_be_saved_is_shown_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def read_only(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    put(tmp_path, "a", tree(), [])
    monkeypatch.setattr(os, "replace", read_only)
    with pytest.raises(SystemFault, match=r"cannot write .*leaderboard\.csv: Permission denied"):
        leaderboard.show_leaderboard(tmp_path)
    said = capsys.readouterr().out
    assert "mlp" in said
    assert "saved in" not in said


def test_how_jobs_ended_is_told_though_the_table_cannot_be_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise SystemFault("no room")

    monkeypatch.setattr(leaderboard, "show_leaderboard", full)
    with pytest.raises(SystemFault):
        sweep._summarize([Job(None, tmp_path / "0-a=1", "failed", "on purpose")], tmp_path, None)
    assert capsys.readouterr().err == "failed: 0-a=1: on purpose\n"


@pytest.mark.parametrize("higher", [True, False])
def test_a_metric_that_only_the_run_knows_is_ranked_in_its_direction(tmp_path: Path, higher: bool) -> None:
    for value in (0.2, 0.9, 0.5):
        scores = {"val": {"pinball": value}, "test": {"pinball": value}, "baseline": {}}
        known = {"monitor": "pinball", "higher_is_better": {"pinball": higher}}
        put(tmp_path, str(value), tree(lr=value), [f"optimizer.lr={value}"], **known, **scores)
    found = [entry.val for entry in leaderboard.collect_entries(tmp_path)]
    assert found == sorted([0.2, 0.9, 0.5], reverse=higher)


def test_an_option_named_like_a_runtime_key_distinguishes_settings(tmp_path: Path) -> None:
    """Only a key that repeats the global one, as ``data.data_dir`` does, is a detail of the machine."""
    for seed in (0, 1):
        config = tree(seed, data_dir=f"/{seed}") | {"data_dir": f"/{seed}", "draw": True, "model": {"draw": False}}
        put(tmp_path, str(seed), config, [f"seed={seed}"])
    put(tmp_path, "2", config | {"seed": 2, "model": {"draw": 3}}, ["seed=2", "model.draw=3"])
    entries = leaderboard.collect_entries(tmp_path)
    assert sorted((entry.overrides, entry.runs) for entry in entries) == [("model.draw=3", 1), ("model.draw=false", 2)]


def test_other_metrics_are_text_in_the_saved_tables_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(tmp_path, "1", tree(), [], test={"accuracy": 0.7, "f1": 0.6, "auc": 0.5})
    (entry,) = leaderboard.collect_entries(tmp_path)
    assert entry.other_metrics == {"f1": 0.6, "auc": 0.5}
    leaderboard.show_leaderboard(tmp_path)
    assert "f1 (macro) 0.6000" in capsys.readouterr().out
    assert (tmp_path / "leaderboard.csv").read_text().splitlines()[1].endswith(',"f1 0.6000, auc 0.5000"')
    assert (tmp_path / "leaderboard.md").read_text().splitlines()[2].endswith("| f1 0.6000, auc 0.5000 |")
