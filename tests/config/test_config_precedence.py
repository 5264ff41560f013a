"""Precedence of values: command line > experiment > model > data > default."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import option_files
from tests.helpers.commands import write
from tests.helpers.marks import mark_slow_after
from trainer.config import compose, registry, validation
from trainer.utils.errors import ConfigError


@pytest.fixture
def layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a model, a data set and an experiment that conflict in global keys, optimizer and task.

    Their compatibility is not checked.
    """
    monkeypatch.setattr(validation, "check_compatibility", lambda *_: [])
    package = "# @package _global_\n# one layer\n"
    override = "defaults:\n  - override /task@_global_.task: "
    mlp = (
        "model:\n  _target_: trainer.models.tabular.mlp.MLP\n  flat_features: ???\n  out_features: ???\n  hidden: [3]\n"
    )
    mlp += "  activation: relu\n  dropout: 0.0\n"
    moons = "data:\n  _target_: trainer.data.datasets.tabular.synthetic.Moons\n  rows: 100\n  noise: 0.2\n  seed: 0\n"
    flat = "epochs: {0}\nbatch_size: {1}\naccumulate: {2}\noptimizer:\n  lr: {3}\n"
    return write(
        tmp_path,
        {
            "data/low.yaml": package + override + "regression\n" + flat.format(51, 51, 51, 0.51) + moons,
            "data/plain.yaml": "# nothing chosen\n" + moons.replace("data:\n", "").replace("  ", ""),
            "model/middle.yaml": package + override + "classification\nepochs: 52\nbatch_size: 52\n" + mlp,
            "model/particular.yaml": package + override + "diffusion\nmonitor: frechet\n" + mlp,
            "model/modest.yaml": package + "epochs: 52\n" + mlp,
            "experiment/high.yaml": package + "defaults:\n  - override /model@_global_.model: middle\n"
            "  - override /data@_global_.data: low\nepochs: 53\n",
            "experiment/chooser.yaml": package + override + "regression\n",
        },
    )


def compose_from(folder: Path, *overrides: str) -> compose.Config:
    return compose.compose(overrides, [folder])


def test_data_wins_over_the_default(layers: Path) -> None:
    default = compose.compose()
    config = compose_from(layers, "data=low", "model=middle")
    assert config.tree["accumulate"] == 51 != default.tree["accumulate"]
    assert config.tree["optimizer"]["lr"] == 0.51 != default.tree["optimizer"]["lr"]


def test_model_wins_over_data(layers: Path) -> None:
    config = compose_from(layers, "data=low", "model=middle")
    assert config.names["task"] == "classification"
    assert (config.tree["epochs"], config.tree["batch_size"]) == (52, 52)


def test_model_without_a_value_leaves_that_of_the_data(layers: Path) -> None:
    config = compose_from(layers, "data=low", "model=modest")
    assert config.names["task"] == "regression"
    assert (config.tree["epochs"], config.tree["batch_size"]) == (52, 51)


def test_an_experiment_wins_over_the_model(layers: Path) -> None:
    config = compose_from(layers, "experiment=high")
    assert (config.names["model"], config.names["data"]) == ("middle", "low")
    assert (config.tree["epochs"], config.tree["batch_size"], config.tree["accumulate"]) == (53, 52, 51)


def test_an_experiment_wins_over_the_task_of_a_model(layers: Path) -> None:
    assert compose_from(layers, "experiment=chooser", "data=low", "model=middle").names["task"] == "regression"


def test_the_command_line_wins_over_all(layers: Path) -> None:
    config = compose_from(layers, "experiment=high", "epochs=54", "batch_size=54", "optimizer.lr=0.54", "model=modest")
    assert (config.tree["epochs"], config.tree["batch_size"], config.tree["optimizer"]["lr"]) == (54, 54, 0.54)
    assert config.names["model"] == "modest"


@pytest.mark.parametrize(
    "choices", [("data=low", "model=middle"), ("data=low", "model=modest"), ("experiment=chooser", "model=middle")]
)
@pytest.mark.parametrize("task", mark_slow_after(1, ["classification", "regression"]))
def test_a_task_on_the_command_line_wins_over_every_choice(layers: Path, choices: tuple[str, ...], task: str) -> None:
    data = () if choices[0].startswith("data") else ("data=low",)
    assert compose_from(layers, *data, *choices, f"task={task}").names["task"] == task
    assert compose_from(layers, f"task={task}", *data, *choices).names["task"] == task


@pytest.mark.parametrize(
    ("words", "epochs", "max_steps"),
    [
        (("model=diffusion", "data=wine"), 60, 3000),
        (("model=diffusion", "data=wine", "epochs=2"), 2, None),
        (("model=diffusion", "data=wine", "max_steps=7"), 60, 7),
        (("model=diffusion", "data=wine", "epochs=2", "max_steps=null"), 2, None),
        (("model=real_nvp", "data=chickenpox"), 30, None),
        (("experiment=mnist_diffusion", "epochs=2"), 2, None),
    ],
)
def test_the_last_run_length_override_wins(words: tuple[str, ...], epochs: int, max_steps: int | None) -> None:
    settings = compose.compose(words).settings
    assert (settings.epochs, settings.max_steps) == (epochs, max_steps)


def test_epochs_together_with_max_steps_are_refused() -> None:
    with pytest.raises(ConfigError, match="epochs and max_steps: each sets the length of training; keep one"):
        compose.compose(["epochs=2", "max_steps=7"])


@pytest.mark.slow
def test_the_monitor_of_a_data_set_applies_to_its_own_task(layers: Path) -> None:
    def monitor(*words: str) -> object:
        return compose_from(layers, *words).tree["monitor"]

    assert monitor("model=mlp", "data=wine") == "nll"
    assert monitor("model=diffusion", "data=wine") is None
    assert monitor("model=diffusion", "data=wine", "monitor=energy_distance") == "energy_distance"
    assert monitor("model=particular", "data=wine") == "frechet"
    assert monitor("model=mlp", "data=wine", "task=regression") is None


def test_task_scores_reset_the_monitor_of_the_data_set() -> None:
    """The monitor of a file may not be among the scores."""

    def monitor(*words: str) -> object:
        return compose.compose(["model=mlp", "data=wine", *words]).tree["monitor"]

    assert monitor() == "nll"
    assert monitor("task.scores=[f1,accuracy]") is None
    assert monitor("task.scores=[f1,accuracy]", "monitor=accuracy") == "accuracy"


USER_DATA_SETS = {
    **{"edge_list": "cora", "tu": "tu_mutag", "parcel_series": "simulated_bold", "text_folder": "review_polarity"},
    **{"image_folder": "digits", "pairs": "multi30k", "click_file": "clicks", "triples": "kinship"},
}
"""Data sets of user files, with a built-in one of the same kind and size."""


@pytest.mark.parametrize("name", USER_DATA_SETS)
def test_user_data_trains_like_the_built_in_data_set(name: str) -> None:
    """Monitor, weight decay, learning rate and gradient clipping are the same."""

    def read_training_keys(data: str) -> list[object]:
        tree = option_files.read_tree(registry.list_options("data")[data])
        optimizer = tree.get("optimizer", {})
        return [tree.get("monitor"), optimizer.get("weight_decay"), optimizer.get("lr"), tree.get("grad_clip")]

    assert read_training_keys(name) == read_training_keys(USER_DATA_SETS[name])


GANS = [
    name
    for name in registry.list_options("model")
    if "betas" in registry.list_options("model")[name].keys_set_in("optimizer")
]


@cache
def compose_optimizer(*overrides: str) -> dict[str, Any]:
    """Return the optimizer's keys; cached, because each model is composed with each optimizer."""
    return compose.compose(overrides).tree["optimizer"]


@pytest.mark.parametrize("model", mark_slow_after(1, GANS))
@pytest.mark.parametrize("optimizer", mark_slow_after(4, sorted(registry.list_options("optimizer"))))
def test_optimizer_defaults_of_a_model_work_with_every_optimizer(model: str, optimizer: str) -> None:
    data = "ring" if "flat_features" in registry.list_options("model")[model].get_descriptions() else "digits"
    combined = compose_optimizer(f"model={model}", f"data={data}", f"optimizer={optimizer}")
    default = compose_optimizer(f"model={model}", f"data={data}")
    plain = compose_optimizer(f"optimizer={optimizer}")
    assert combined.keys() == plain.keys()
    assert combined["lr"] == default["lr"], "a key of both"
    assert combined.get("betas") in (None, default["betas"])


def test_unknown_optimizer_key_names_optimizers_that_have_it() -> None:
    with pytest.raises(ConfigError, match=r"optimizer.betas: unknown key; .*\(betas is a key of adam, adamax, adamw\)"):
        compose.compose(["model=wgan_gp", "data=ring", "optimizer=sgd", "optimizer.betas=[0.5,0.9]"])


@pytest.fixture
def schedule_layers(tmp_path: Path) -> Path:
    """Write a model that sets its schedule, one that inherits it, and experiments that replace it."""
    package = "# @package _global_\n# one layer\n"
    mlp = (
        "model:\n  _target_: trainer.models.tabular.mlp.MLP\n  flat_features: ???\n  out_features: ???\n  hidden: [3]\n"
    )
    mlp += "  activation: relu\n  dropout: 0.0\n"
    schedule = "defaults:\n  - override /scheduler@_global_.scheduler: {0}\n"
    return write(
        tmp_path,
        {
            "model/cycled.yaml": package + schedule.format("onecycle") + "scheduler:\n  pct_start: 0.2\n  warmup: 3\n"
            "optimizer:\n  betas: [0.5, 0.9]\n" + mlp,
            "model/heir.yaml": package + "defaults:\n  - cycled\nepochs: 2\n",
            "experiment/falling.yaml": package + schedule.format("step") + "scheduler:\n  gamma: 0.25\n",
            "experiment/plain.yaml": package + "defaults:\n  - override /optimizer@_global_.optimizer: sgd\n",
        },
    )


@pytest.mark.slow
@pytest.mark.parametrize("model", ["cycled", "heir"])
def test_keys_apply_only_to_the_option_their_file_selects(schedule_layers: Path, model: str) -> None:
    default = compose_from(schedule_layers, f"model={model}", "data=moons").tree
    assert (default["scheduler"]["pct_start"], default["optimizer"]["betas"]) == (0.2, [0.5, 0.9])
    other = compose_from(schedule_layers, f"model={model}", "data=moons", "scheduler=cosine", "optimizer=rmsprop").tree
    assert other["scheduler"] == compose.compose(["scheduler=cosine"]).tree["scheduler"] | {"warmup": 3}
    assert "betas" not in other["optimizer"]
    scheduler = compose_from(schedule_layers, f"model={model}", "data=moons", "experiment=falling").tree["scheduler"]
    assert scheduler == compose.compose(["scheduler=step"]).tree["scheduler"] | {"warmup": 3, "gamma": 0.25}
    assert (
        "betas"
        not in compose_from(schedule_layers, f"model={model}", "data=moons", "experiment=plain").tree["optimizer"]
    )
    assert compose_from(schedule_layers, f"model={model}", "data=moons", "scheduler=onecycle").tree == default
