"""Runs with a budget: the bits of a run of as many steps, also when resumed."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.digest import digest
from tests.helpers.in_process import read_metrics, send_signal_at
from trainer.config import compose
from trainer.engine import checkpoint
from trainer.engine.budget import Rate
from trainer.runs import saved_run, train, training_setup
from trainer.runs.results import Result
from trainer.utils.errors import ConfigError, Interrupted

pytestmark = pytest.mark.usefixtures("in_tmp")
SMALL = ("model=mlp", "data=moons", "data.rows=300", "model.hidden=[4]", "threads=1", "draw=false")
RANDOM = ("model.dropout=0.3", "scheduler=onecycle", "ema=0.9")
"""Options by which every random number and the length of the schedule matter."""


def run(*overrides: str) -> Result:
    return train.run(compose.compose([*SMALL, *overrides]))


def read_state(result: Result) -> str:
    """Return a hash over the last state, without times."""
    state = checkpoint.load_checkpoint(Path(result.run_dir) / checkpoint.LAST)
    del state["running_totals"]["seconds"], state["run_metadata"]
    state["history"] = [{key: value for key, value in row.items() if key != "seconds"} for row in state["history"]]
    return digest({key: state[key] for key in ("task", "param_groups", "random", "position", "history")})


def allow_steps(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Let every budget last for a number of steps."""
    monkeypatch.setattr(Rate, "choose_steps", lambda *_: steps)


@pytest.mark.slow
def test_a_run_has_the_bits_of_one_with_as_many_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    allow_steps(monkeypatch, 13)
    timed, counted = run(*RANDOM, "budget=1s"), run(*RANDOM, "max_steps=13")
    assert (timed.steps, timed.identity) == (13, counted.identity)
    assert read_state(timed) == read_state(counted)
    assert read_metrics(Path(timed.run_dir)) == read_metrics(Path(counted.run_dir))
    assert timed.test == counted.test


@pytest.mark.slow
def test_the_comparison_would_see_a_measurement_that_leaves_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin that goes on with the weights of the measurement has other bits."""
    allow_steps(monkeypatch, 13)
    build, built = training_setup.build_objects, []

    def reuse(*arguments: Any) -> Any:
        built.append(build(*arguments))
        return replace(built[-1], task=built[0].task)

    counted = run(*RANDOM, "max_steps=13")
    monkeypatch.setattr(training_setup, "build_objects", reuse)
    assert read_state(run(*RANDOM, "budget=1s")) != read_state(counted)


@pytest.mark.slow
def test_the_steps_are_part_of_the_saved_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    allow_steps(monkeypatch, 7)
    result = run("budget=1s")
    config = saved_run.load(Path(result.run_dir))
    assert (config.settings.max_steps, config.settings.budget) == (7, "1s")
    saved = checkpoint.load_checkpoint(Path(result.run_dir) / checkpoint.LAST)["run_metadata"]
    assert (saved["config"]["max_steps"], saved["identity"]) == (7, result.identity)


@pytest.mark.slow
@pytest.mark.parametrize("resume", ["auto", "RUN"])
def test_a_stopped_run_continues_to_the_steps_of_its_budget(monkeypatch: pytest.MonkeyPatch, resume: str) -> None:
    allow_steps(monkeypatch, 13)
    with monkeypatch.context() as context:
        send_signal_at(context, 6, signal.SIGTERM)
        with pytest.raises(Interrupted):
            run(*RANDOM, "budget=1s")
    (path,) = {file.parent.resolve() for file in Path("outputs").rglob("last.pt")}
    allow_steps(monkeypatch, 99)  # a second measurement would find another number
    resumed = run(*RANDOM, "budget=1s", f"resume={'auto' if resume == 'auto' else path}")
    assert (Path(resumed.run_dir).resolve(), resumed.steps) == (path, 13)
    assert read_state(resumed) == read_state(run(*RANDOM, "max_steps=13"))
    assert Path(run(*RANDOM, "budget=1s", "resume=auto").run_dir).resolve() == path


@pytest.mark.slow
def test_a_resumed_run_keeps_its_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    allow_steps(monkeypatch, 7)
    path = run("budget=1s").run_dir
    with pytest.raises(ConfigError, match=r"budget: 2s given, but .* is a run of 7 steps with budget=1s; .* max_steps"):
        run("budget=2s", f"resume={path}")


@pytest.mark.parametrize("other", ["epochs=3", "max_steps=3"])
def test_a_run_has_one_length(other: str) -> None:
    with pytest.raises(ConfigError, match=f"{other[:6]}.* and budget: each sets the length of training; keep one"):
        compose.compose([*SMALL, "budget=1s", other])


@pytest.mark.parametrize(
    ("overrides", "steps", "budget"),
    [
        (["budget=10m"], None, "10m"),  # instead of the steps of a file
        (["max_steps=5"], 5, None),
    ],
)
def test_a_budget_replaces_the_steps_of_a_file(overrides: list[str], steps: int | None, budget: str | None) -> None:
    config = compose.compose(["model=diffusion", "data=ring", *overrides])
    assert (config.settings.max_steps, config.settings.budget) == (steps, budget)


@pytest.mark.parametrize("value", ["10", "0.5", "90s", "1h30m", "2d", "1.5h", "0.5h", "0.25m"])
def test_times_with_and_without_units(value: str) -> None:
    assert compose.compose([*SMALL, f"budget={value}"]).settings.budget is not None


@pytest.mark.parametrize("value", ["0", "10x", "m", "-5", "10 m", "nan", "1_000s", "0s", "0.0h0m"])
def test_other_values_are_refused(value: str) -> None:
    with pytest.raises(ConfigError, match="budget"):
        compose.compose([*SMALL, f"'budget={value}'" if " " in value else f"budget={value}"])


def test_a_budget_that_loading_uses_up_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"budget: 0\.000001s given, but loading and measuring take .*; at least \d+s"
    ):
        run("budget=0.000001")
    assert not list(Path().rglob("last.pt"))


@pytest.mark.slow
def test_all_processes_take_the_same_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    allow_steps(monkeypatch, 13)  # in process 0, from which the others get the number
    result = run("budget=1.5s", "devices=2", "device=cpu")
    counted = run("max_steps=13", "devices=2", "device=cpu")
    assert result.steps == 13
    assert read_state(result) == read_state(counted)
