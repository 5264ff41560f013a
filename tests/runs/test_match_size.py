"""``match=params target=...`` gives models the same size, and a run with widths as if they had been set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.helpers.in_process import read_metrics, run
from tests.helpers.pairs import MODELS, SMALL_MODELS, explain, first_dataset, overrides, uses_stand_in
from trainer.cli import main
from trainer.config import compose
from trainer.core.task import Task
from trainer.engine import factory, sanity_check
from trainer.engine.flop_count import count_flops_per_row
from trainer.runs import match_size
from trainer.utils import memory
from trainer.utils.errors import ConfigError

pytestmark = pytest.mark.usefixtures("in_tmp")
FIXED = ("dlinear", "efficientnet", "pretrained")
"""Models without a key that sets a width: linear, scaled by a compound key, and saved elsewhere."""


def count_parameters(words: list[str]) -> int:
    config = match_size.with_matched_size(compose.compose(words))
    task = factory.make_task(config.tree, factory.make_dataset(config.tree), config.names)
    return sum(parameter.numel() for parameter in task.parameters())


@pytest.mark.parametrize("model", ["mlp", "lstm", "gru", "transformer", "attention_rnn"])
def test_models_have_the_same_size(model: str) -> None:
    words = [f"model={model}", "data=adding", "data.rows=50", "match=params", "target=20k"]
    assert count_parameters(words) == pytest.approx(20_000, rel=0.02)


@pytest.mark.parametrize("model", ["mlp", "lstm", "transformer"])
def test_models_need_the_same_operations(model: str) -> None:
    words = [f"model={model}", "data=adding", "data.rows=50", "match=flops", "target=1M"]
    config = match_size.with_matched_size(compose.compose(words))
    task = factory.make_task(config.tree, data := factory.make_dataset(config.tree), config.names)
    train = factory.make_loaders(config.tree, data, config.settings, torch.device("cpu"))["train"]
    assert count_flops_per_row(task, sanity_check.make_small_batch(train)) == pytest.approx(1e6, rel=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("model", [model for model in MODELS if model not in FIXED][::3])
def test_models_with_widths_are_scaled(model: str) -> None:
    data = first_dataset(model)
    if uses_stand_in(data):
        pytest.skip(f"the files of {data} are not here")
    assert explain(model, data) is None
    small = [f"model.{key}={7 if value is None else value}" for key, value in SMALL_MODELS.get(model, {}).items()]
    words = [f"model={model}", *overrides(data), *(text.replace(" ", "") for text in small)]
    base = count_parameters(words)
    assert count_parameters([*words, "match=params", f"target={3 * base}"]) == pytest.approx(3 * base, rel=0.05)


@pytest.mark.slow
def test_the_run_is_that_of_the_widths(capsys: pytest.CaptureFixture[str]) -> None:
    matched = run("match=params", "target=3k")
    assert "match=params target=3k: model.hidden=[" in capsys.readouterr().out
    saved = yaml.safe_load(Path(matched.run_dir, "config.yaml").read_text())
    hidden = saved["model"]["hidden"]
    assert matched.params == pytest.approx(3000, rel=0.02)
    assert (saved["match"], saved["target"]) == (None, None)
    direct = run(f"model.hidden={hidden}".replace(" ", ""))
    assert direct.identity == matched.identity
    assert read_metrics(Path(direct.run_dir)) == read_metrics(Path(matched.run_dir))
    assert read_metrics(Path(run().run_dir)) != read_metrics(Path(matched.run_dir))


@pytest.mark.slow
def test_resume_auto_finds_a_run_of_equal_size(capsys: pytest.CaptureFixture[str]) -> None:
    run("match=params", "target=3k")
    capsys.readouterr()
    run("match=params", "target=3k", "resume=auto")
    assert "is finished; nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("model=dlinear", "data=sine_trend"), "match: model dlinear has no key that sets a width"),
        (
            ("model=mlp", "data=moons", "match_keys=[model.activation]"),
            "activation is relu; only positive numbers",
        ),
        (("model=mlp", "data=moons", "target=3"), "model mlp cannot have a size of 3; the closest is"),
    ],
)
def test_a_size_that_cannot_be_reached_is_refused(words: tuple[str, ...], message: str) -> None:
    words = (*words, *(["target=50k"] if not any(word.startswith("target") for word in words) else []))
    with pytest.raises(ConfigError, match=message):
        match_size.with_matched_size(compose.compose([*words, "match=params"]))


def test_parameters_are_counted_without_memory_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    devices: list[torch.device] = []

    def instantiate(*arguments: Any) -> Task:
        devices.append(torch.get_default_device())
        return instantiate_task(*arguments)

    instantiate_task = factory.instantiate_task
    monkeypatch.setattr(factory, "instantiate_task", instantiate)
    with pytest.raises(ConfigError, match=r"model mlp cannot have a size of 1e\+12; the closest is"):
        match_size.with_matched_size(compose.compose(["model=mlp", "data=moons", "match=params", "target=1e12"]))
    assert {device.type for device in devices} == {"meta"}


def test_models_that_do_not_fit_in_memory_are_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "count_machine_bytes", lambda: 1_000_000)
    words = ["model=mlp", "data=moons", "match=flops"]
    assert match_size.with_matched_size(compose.compose([*words, "target=50k"])).settings.match is None
    with pytest.raises(ConfigError, match="which is still too small, does not fit in memory"):
        match_size.with_matched_size(compose.compose([*words, "target=1e12"]))


def test_a_long_measurement_is_announced(capsys: pytest.CaptureFixture[str]) -> None:
    match_size._announce_measurement(2e-3)
    assert capsys.readouterr().out == ""
    match_size._announce_measurement(2.0)
    assert "about a hundred steps of 2 s are taken" in capsys.readouterr().out


def test_only_named_keys_are_scaled() -> None:
    words = ["model=attention_rnn", "data=adding", "match=params", "target=20k", "match_keys=[hidden_size]"]
    config = match_size.with_matched_size(compose.compose(words))
    base = compose.compose(words[:2]).tree["model"]
    changed = {key for key, value in config.tree["model"].items() if value != base[key]}
    assert changed == {"hidden_size"}


@pytest.mark.slow
def test_jobs_of_a_sweep_have_the_same_size(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["-m", "model=mlp,lstm", "data=adding", "data.rows=60", "epochs=1", "draw=false", "match=params"]
    assert main.run_command([*words, "target=3k"]) == 0
    sweep = next(Path("outputs/sweeps").glob("*/*"))
    results = [json.loads(file.read_text()) for file in sorted(sweep.glob("*/results.json"))]
    assert [item["params"] for item in results] == [pytest.approx(3000, rel=0.03)] * 2
    assert main.run_command([*words, "target=4k", "resume=auto"]) == 0  # other widths are another sweep
    assert len([*Path("outputs/sweeps").glob("*/*")]) == 2
    capsys.readouterr()
    assert main.run_command([*words, "target=4k", "resume=auto"]) == 0
    assert len([*Path("outputs/sweeps").glob("*/*")]) == 2


@pytest.mark.slow
def test_a_job_that_cannot_have_the_size_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    words = ["-m", "model=gru_forecaster,dlinear", "data=sine_trend", "epochs=1", "draw=false", "match=params"]
    main.run_command([*words, "target=3k"])
    assert "refused: 1-model=dlinear: match: model dlinear has no key that sets a width" in capfd.readouterr().err
