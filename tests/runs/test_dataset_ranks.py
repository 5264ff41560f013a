"""Ranks of settings over data sets."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.helpers.compared_runs import write_seeds
from tests.helpers.finished_runs import make_config, write_run
from trainer.runs import leaderboard
from trainer.runs.dataset_ranks import DatasetRanks, describe_ranks, rank_settings
from trainer.runs.finished_runs import read_runs
from trainer.runs.leaderboard_entries import build_tables

SCORES = {0.1: 0.9, 0.2: 0.8, 0.3: 0.7}


def write_sweep(root: Path, datasets: int, scores: dict[float, float]) -> None:
    for number in range(datasets):
        for lr, score in scores.items():
            write_seeds(root, f"{number}/{lr}", [score - 0.01 * number], lr=lr, path=f"{number}.csv")


def rank(root: Path) -> DatasetRanks | None:
    return rank_settings([table.settings for table in build_tables(read_runs(root))])


def test_settings_are_ranked_over_data_sets(tmp_path: Path) -> None:
    write_sweep(tmp_path, 6, SCORES)
    ranked = rank(tmp_path)
    assert ranked is not None
    ranks = dict(zip(ranked.labels, ranked.comparison.ranks, strict=True))
    assert ranks == {"optimizer.lr=0.1": 1, "optimizer.lr=0.2": 2, "optimizer.lr=0.3": 3}
    assert describe_ranks(ranked) == "optimizer.lr=0.1: better than optimizer.lr=0.3 (critical difference 1.35)"


def test_two_data_sets_show_nothing(tmp_path: Path) -> None:
    write_sweep(tmp_path, 2, SCORES)
    ranked = rank(tmp_path)
    assert ranked is not None
    assert describe_ranks(ranked).startswith("no difference shown over these data sets")


def test_lower_is_better_for_an_error(tmp_path: Path) -> None:
    for number in range(2):
        for lr, error in SCORES.items():
            scores = {"test": {"nll": error}, "val": {"nll": error}}
            write_seeds(tmp_path, f"{number}/{lr}", [0.0], lr=lr, path=f"{number}.csv", monitor="nll", **scores)
    ranked = rank(tmp_path)
    assert ranked is not None
    assert ranked.labels[ranked.comparison.ranks.index(1)] == "optimizer.lr=0.3"


def test_models_are_settings_too(tmp_path: Path) -> None:
    for number in range(2):
        for model in ("mlp", "resmlp"):
            config = make_config(path=f"{number}.csv")
            write_run(tmp_path, f"{number}/{model}", config, [f"data.path={number}.csv"], model=model)
    ranked = rank(tmp_path)
    assert ranked is not None
    assert ranked.labels == ["model=mlp", "model=resmlp"]


def test_nothing_is_ranked_without_common_settings(tmp_path: Path) -> None:
    write_sweep(tmp_path / "one", 1, SCORES)
    assert rank(tmp_path / "one") is None
    write_seeds(tmp_path / "other", "0", [0.5], lr=0.1, path="x.csv")
    write_seeds(tmp_path / "other", "1", [0.5], lr=0.2, path="y.csv")
    assert rank(tmp_path / "other") is None


@pytest.mark.slow
def test_the_diagram_is_saved_beside_the_leaderboard(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_sweep(tmp_path, 6, SCORES | {number: 0.6 / number for number in range(1, 20)})
    leaderboard.show_leaderboard(tmp_path)
    assert "ranks over 6 data sets" in capsys.readouterr().out
    with Image.open(tmp_path / "ranks.png") as image:
        assert image.width > 600
        assert image.convert("L").getextrema() == (0, 255)


def test_settings_with_seeds_that_failed_are_not_ranked(tmp_path: Path) -> None:
    write_sweep(tmp_path, 6, SCORES)
    config, overrides = make_config(9, lr=0.1, path="3.csv"), ["data.path=3.csv", "optimizer.lr=0.1", "seed=9"]
    write_run(tmp_path, "failed", config, overrides, status="failed", val={}, test={})
    ranked = rank(tmp_path)
    assert ranked is not None
    assert sorted(ranked.labels) == ["optimizer.lr=0.2", "optimizer.lr=0.3"]
