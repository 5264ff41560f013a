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
    monkeypatch.setattr(run_length, "_count_batches", die)
    monkeypatch.setattr(match_size, "_match_all", die)
    with pytest.raises(SystemFault, match="data moons"):
        run_length.measure_lengths([config])
    with pytest.raises(SystemFault, match="data moons"):
        match_size.match_jobs([config])


def test_data_is_loaded_once(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    known: dict[str, int] = {}
    (first,) = run_length.measure_lengths([config], known)
    assert first.steps == 3 * first.steps_per_epoch
    monkeypatch.setattr(run_length, "_count_batches", die)
    assert run_length.measure_lengths([config, config], known) == [first, first]
