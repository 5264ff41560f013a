"""Finalists: those without failures first, then those with more seeds, then by the mean score."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from trainer.search.finalists import Finalist, describe_order, rank_finalists, read_finalist
from trainer.search.rungs import RunLength
from trainer.search.trial import Trial


def make_run(folder: Path, number: int, score: float | None, seed: int = 0, reason: str = "") -> Trial:
    """Return a trial with a finished run; one that has failed with a reason; or one that has not started."""
    path = folder / f"{number}-{seed}"
    path.mkdir()
    if score is not None:
        scores = {"loss": None if math.isnan(score) else score}
        results = {"status": "finished", "monitor": "loss", "val": scores, "test": scores}
        (path / "results.json").write_text(json.dumps(results))
    return Trial(number, {}, {}, None, path, RunLength(9, 3, 1), reason=reason, scores=[score])


def rank(finalists: list[Finalist]) -> list[int]:
    return [item.trial.number for item in rank_finalists(finalists, higher_is_better=False)]


@pytest.mark.parametrize("failed", [None, math.nan])
def test_setting_whose_replicate_fails_comes_last(tmp_path: Path, failed: float | None) -> None:
    fragile = read_finalist(
        make_run(tmp_path, 0, 0.1), [make_run(tmp_path, 0, failed, 1, reason="diverged")], monitor="loss"
    )
    robust = read_finalist(make_run(tmp_path, 1, 0.2), [make_run(tmp_path, 1, 0.3, 1)], monitor="loss")
    assert rank([fragile, robust]) == [1, 0]
    assert (fragile.val, fragile.num_failed, robust.num_failed) == ([0.1], 1, 0)
    assert describe_order([fragile, robust]) == "fewest failed seeds, then best mean validation score first"


def test_selected_seed_alone_comes_after_means_of_several_seeds(tmp_path: Path) -> None:
    alone = read_finalist(make_run(tmp_path, 0, 0.1), [make_run(tmp_path, 0, None, 1)], monitor="loss")
    several = read_finalist(make_run(tmp_path, 1, 0.2), [make_run(tmp_path, 1, 0.3, 1)], monitor="loss")
    worse = read_finalist(make_run(tmp_path, 2, 0.2), [make_run(tmp_path, 2, 0.4, 1)], monitor="loss")
    assert rank([alone, worse, several]) == [1, 2, 0]
    assert describe_order([alone, several]) == "most seeds, then best mean validation score first"
    assert describe_order([worse, several]) == "best mean validation score first"
