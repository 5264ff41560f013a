"""Lengths of runs: measured once for each data set, by a child process whose end is reported if it is killed."""

from __future__ import annotations

import os
import signal

import pytest

from trainer.config import compose
from trainer.config.run_config import Config
from trainer.runs import match_size
from trainer.search import run_length
from trainer.utils.errors import SystemFault

pytestmark = pytest.mark.usefixtures("in_tmp")


def die(_: object) -> list[int]:
    os.kill(os.getpid(), signal.SIGKILL)
    return []


@pytest.fixture(scope="module")
def config() -> Config:
    return compose.compose(["model=mlp", "data=moons", "data.rows=320", "batch_size=16", "epochs=3"])


def test_callers_name_the_data(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_length, "_measure_data", die)
    monkeypatch.setattr(match_size, "_match_all", die)
    with pytest.raises(SystemFault, match="data moons"):
        run_length.measure_lengths([config])
    with pytest.raises(SystemFault, match="data moons"):
        match_size.match_jobs([config])


def test_data_is_loaded_once(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    known: dict[str, run_length.LoadedData] = {}
    (first,) = run_length.measure_lengths([config], known)
    assert first.steps == 3 * first.steps_per_epoch
    monkeypatch.setattr(run_length, "_measure_data", die)
    assert run_length.measure_lengths([config, config], known) == [first, first]


@pytest.mark.parametrize(
    ("word", "is_same"), [("data.rows=360", False), ("data.seed=1", False), ("batch_size=8", True)]
)
def test_data_with_other_validation_rows_is_told_apart(config: Config, word: str, is_same: bool) -> None:
    other = compose.compose([*config.overrides, word])
    known: dict[str, run_length.LoadedData] = {}
    run_length.measure_lengths([config, other], known)
    assert len(known) == 2
    assert (len({data.scored_rows for data in known.values()}) == 1) is is_same
