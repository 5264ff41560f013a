"""Steps of models are timed in turn, and widths with the time of the target are those of the run."""

from __future__ import annotations

import statistics
from collections.abc import Generator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.helpers.in_process import run
from tests.helpers.tiny import losses_of, rows, tiny
from trainer.config import compose
from trainer.config.run_config import Config
from trainer.engine import dataset_loading
from trainer.runs import match_size, step_time
from trainer.runs.step_time import StepTime, iter_step_seconds, time_in_turn
from trainer.utils.errors import ConfigError

SECONDS_PER_UNIT = 1e-5


def test_a_step_is_that_of_training() -> None:
    """Its losses are those of a run, in the order of the rows, epoch after epoch."""
    ticks = iter(range(1000))
    expected = tiny(train=rows(12), epochs=3)
    losses: list[float] = []
    trainer = tiny(train=rows(12), epochs=3)
    inner = trainer.loss_fn

    def record_loss(*arguments: Any) -> torch.Tensor:
        loss = inner(*arguments)
        losses.append(loss.item())
        return loss

    trainer.loss_fn = record_loss
    with closing(iter_step_seconds(trainer, lambda: float(next(ticks)))) as steps:
        assert [*islice(steps, 9)] == [1.0] * 9
    assert losses == losses_of(expected)


def test_runs_take_their_steps_in_turn() -> None:
    calls: list[int] = []

    def take_steps(number: int, seconds: Sequence[float]) -> Generator[float, None, None]:
        for index in range(10_000):
            calls.append(number)
            yield seconds[index % len(seconds)]

    runs = [take_steps(0, [0.1]), take_steps(1, [0.2, 0.2, 0.2, 0.2, 9.0])]
    assert time_in_turn(runs, statistics.median) == [0.1, 0.2]  # the slow step of another program does not count
    assert calls == [0, 1] * (len(calls) // 2)
    assert len(calls) >= 2 * (step_time.WARMUP_STEPS + step_time.MIN_STEPS)


def test_real_steps_of_wider_models_take_longer() -> None:
    config = compose.compose(["model=mlp", "data=synthetic_tabular", "batch_size=64", "device=cpu", "threads=1"])
    measured = StepTime(config, dataset_loading.load_dataset(config))
    narrow, wide = measured.measure_together([{"hidden": [4]}, {"hidden": [3000, 3000]}])
    assert 0 < narrow < wide / 2
    assert measured.measure({"hidden": [4]}) > 0


def simulate(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Replace the measurement by the sum of the widths; return the list of what is measured."""
    measured: list[Any] = []

    def measure_together(_: StepTime, candidates: Sequence[Any]) -> list[float]:
        measured.extend(candidates)
        return [SECONDS_PER_UNIT * sum(widths["hidden"]) for widths in candidates]

    monkeypatch.setattr(StepTime, "measure_together", measure_together)
    return measured


@pytest.mark.parametrize(("target", "total"), [("2ms", 200), ("500us", 50), ("0.01", 1000), ("0.004s", 400)])
def test_widths_have_the_time_of_the_target(target: str, total: int, monkeypatch: pytest.MonkeyPatch) -> None:
    simulate(monkeypatch)
    config = compose.compose(["model=mlp", "data=moons", "match=seconds", f"target={target}"])
    hidden = match_size.with_matched_size(config).tree["model"]["hidden"]
    assert sum(hidden) == pytest.approx(total, rel=0.1)


def test_a_time_that_cannot_be_reached_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    simulate(monkeypatch)
    config = compose.compose(["model=mlp", "data=moons", "match=seconds", "target=1us"])
    with pytest.raises(ConfigError, match=r"cannot have a size of 1us; the closest is 0\.02 ms a step"):
        match_size.with_matched_size(config)


@pytest.mark.slow
@pytest.mark.usefixtures("in_tmp")
def test_the_widths_are_saved_and_not_measured_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = simulate(monkeypatch)
    matched = run("match=seconds", "target=1ms")
    assert "ms a step" in capsys.readouterr().out
    saved = yaml.safe_load(Path(matched.run_dir, "config.yaml").read_text())
    assert sum(saved["model"]["hidden"]) == pytest.approx(100, rel=0.1)
    assert (saved["match"], saved["target"]) == (None, None)
    count = len(measured)
    hidden = str(saved["model"]["hidden"]).replace(" ", "")
    assert run(f"model.hidden={hidden}").identity == matched.identity
    assert len(measured) == count


def test_jobs_that_differ_in_numbers_have_the_widths_of_one_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[Any] = []

    def measure_together(_: StepTime, candidates: Sequence[Any]) -> list[float]:
        measured.extend(candidates)
        drift = 1 + len(measured) / 100  # a later measurement would give other widths
        return [SECONDS_PER_UNIT * drift * sum(widths["hidden"]) for widths in candidates]

    monkeypatch.setattr(StepTime, "measure_together", measure_together)
    monkeypatch.setattr(match_size.forked_call, "call_in_fork", lambda function, argument, _: function(argument))
    common = ("model=mlp", "data=moons", "match=seconds", "target=2ms")
    changes = ("seed=0", "seed=1", "optimizer.lr=0.1", "batch_size=8")
    jobs = [match_size.match_jobs([compose.compose([*common, change])])[0] for change in ("seed=0", "seed=1")]
    assert len({str(job.tree["model"]["hidden"]) for job in jobs if isinstance(job, Config)}) == 2
    matched = match_size.match_jobs([compose.compose([*common, change]) for change in changes])
    hidden = [str(job.tree["model"]["hidden"]) for job in matched if isinstance(job, Config)]
    assert hidden[0] == hidden[1] == hidden[2] != hidden[3]
    assert [job.settings.seed for job in matched if isinstance(job, Config)] == [0, 1, 0, 0]
