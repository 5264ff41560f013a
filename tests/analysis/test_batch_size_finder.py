"""The search for a batch size: it ends at the first size that does not fit, and suggests none that was not run."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from trainer.analysis import batch_size_finder
from trainer.analysis.batch_size_finder import Search, Throughput, search_batch_size
from trainer.analysis.find_setup import build_for_search
from trainer.config import compose
from trainer.config.run_config import Config
from trainer.utils.errors import ConfigError
from trainer.utils.signals import StopFlag


def configure(*overrides: str) -> Config:
    return compose.compose(["model=mlp", "data=moons", "data.rows=1000", "threads=1", *overrides])


@pytest.mark.parametrize(
    ("rates", "chosen"),
    [([10.0, 20.0, 40.0], 32), ([10.0, 39.0, 40.0], 16), ([40.0, 30.0, 20.0], 8), ([10.0, 38.0, 40.0, 39.0], 32)],
)
def test_the_smallest_size_that_is_nearly_the_fastest_is_chosen(rates: list[float], chosen: int) -> None:
    results = [Throughput(8 * 2**place, rate) for place, rate in enumerate(rates)]
    assert Search(results, "").chosen == chosen


@pytest.mark.slow
def test_a_size_without_memory_ends_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(config: Config, changes: dict[str, Any], *rest: Any) -> Any:
        if changes["batch_size"] > 32:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return build_for_search(config, changes, *rest)

    monkeypatch.setattr(batch_size_finder, "build_for_search", build)
    monkeypatch.setattr(batch_size_finder, "SECONDS", 0.0)
    monkeypatch.setattr(batch_size_finder, "PATIENCE", 99)
    search = search_batch_size(configure(), StopFlag())
    assert [result.batch_size for result in search.results] == [8, 16, 32]
    assert search.reason == "64 rows do not fit in memory"
    assert search.chosen <= 32


@pytest.mark.slow
def test_the_rows_bound_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_size_finder, "SECONDS", 0.0)
    monkeypatch.setattr(batch_size_finder, "PATIENCE", 99)
    search = search_batch_size(configure("data.rows=60"), StopFlag())
    assert (search.results[-1].batch_size, search.reason) == (32, "there are 36 training rows")


@pytest.mark.slow
def test_every_timed_step_has_a_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the last size that fits would seem many times faster, because its other batch has a few rows."""
    sizes: dict[int, set[int]] = {}

    def build(config: Config, changes: dict[str, Any], *rest: Any) -> Any:
        training = build_for_search(config, changes, *rest)
        batches = training.loaders["train"].iter_epoch(0)
        sizes[changes["batch_size"]] = {len(batch.require_target()) for batch in batches}
        return training

    monkeypatch.setattr(batch_size_finder, "build_for_search", build)
    monkeypatch.setattr(batch_size_finder, "SECONDS", 0.0)
    monkeypatch.setattr(batch_size_finder, "PATIENCE", 99)
    search_batch_size(configure("data.rows=60"), StopFlag())
    assert (sizes[16], sizes[32]) == ({16}, {32})


@pytest.mark.parametrize(
    ("overrides", "message"),
    [(("model=gcn", "data=sbm"), "is one whole graph"), (("model=gan", "data=ring"), "critic and generator in turn")],
)
def test_what_has_no_best_batch_size(overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        search_batch_size(compose.compose([*overrides, "threads=1"]), StopFlag())
