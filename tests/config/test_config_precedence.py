"""Command line > experiment > model > data > default."""

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
    """A model, a data set and an experiment that disagree about the flat keys, the optimizer and the task.

    Whether they fit each other is not the question here.
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


def composed(folder: Path, *overrides: str) -> compose.Config:
    return compose.compose(overrides, [folder])


def test_data_wins_over_the_default(layers: Path) -> None:
    default = compose.compose()
    found = composed(layers, "data=low", "model=middle")
    assert found.tree["accumulate"] == 51 != default.tree["accumulate"]
    assert found.tree["optimizer"]["lr"] == 0.51 != default.tree["optimizer"]["lr"]


def test_model_wins_over_data(layers: Path) -> None:
    found = composed(layers, "data=low", "model=middle")
    assert found.names["task"] == "classification"
    assert (found.tree["epochs"], found.tree["batch_size"]) == (52, 52)


def test_a_model_without_a_choice_leaves_that_of_the_data(layers: Path) -> None:
    found = composed(layers, "data=low", "model=modest")
    assert found.names["task"] == "regression"
    assert (found.tree["epochs"], found.tree["batch_size"]) == (52, 51)


def test_an_experiment_wins_over_the_model(layers: Path) -> None:
    found = composed(layers, "experiment=high")
    assert (found.names["model"], found.names["data"]) == ("middle", "low")
    assert (found.tree["epochs"], found.tree["batch_size"], found.tree["accumulate"]) == (53, 52, 51)


def test_an_experiment_wins_over_the_task_of_a_model(layers: Path) -> None:
    assert composed(layers, "experiment=chooser", "data=low", "model=middle").names["task"] == "regression"


def test_the_command_line_wins_over_all(layers: Path) -> None:
    found = composed(layers, "experiment=high", "epochs=54", "batch_size=54", "optimizer.lr=0.54", "model=modest")
    assert (found.tree["epochs"], found.tree["batch_size"], found.tree["optimizer"]["lr"]) == (54, 54, 0.54)
    assert found.names["model"] == "modest"


@pytest.mark.parametrize(
    "chosen", [("data=low", "model=middle"), ("data=low", "model=modest"), ("experiment=chooser", "model=middle")]
)
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_task_on_the_command_line_wins_over_every_choice(layers: Path, chosen: tuple[str, ...], task: str) -> None:
    data = () if chosen[0].startswith("data") else ("data=low",)
    assert composed(layers, *data, *chosen, f"task={task}").names["task"] == task
    assert composed(layers, f"task={task}", *data, *chosen).names["task"] == task


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
    found = compose.compose(words).settings
    assert (found.epochs, found.max_steps) == (epochs, max_steps)


def test_two_lengths_on_the_command_line_are_refused() -> None:
    with pytest.raises(ConfigError, match="epochs and max_steps: each sets the length of training; keep one"):
        compose.compose(["epochs=2", "max_steps=7"])


def test_the_monitor_of_a_data_set_applies_to_its_own_task(layers: Path) -> None:
    def monitor(*words: str) -> object:
        return composed(layers, *words).tree["monitor"]

    assert monitor("model=mlp", "data=wine") == "nll"
    assert monitor("model=diffusion", "data=wine") is None
    assert monitor("model=diffusion", "data=wine", "monitor=energy_distance") == "energy_distance"
    assert monitor("model=particular", "data=wine") == "frechet"
    assert monitor("model=mlp", "data=wine", "task=regression") is None


def test_scores_that_are_asked_for_choose_the_weights_unless_another_does() -> None:
    """The score by which a file chooses may not be among them."""

    def monitor(*words: str) -> object:
        return compose.compose(["model=mlp", "data=wine", *words]).tree["monitor"]

    assert monitor() == "nll"
    assert monitor("task.scores=[f1,accuracy]") is None
    assert monitor("task.scores=[f1,accuracy]", "monitor=accuracy") == "accuracy"


OWN = {
    **{"edge_list": "cora", "tu": "tu_mutag", "parcel_series": "simulated_bold", "text_folder": "review_polarity"},
    **{"image_folder": "digits", "pairs": "multi30k", "click_file": "clicks", "triples": "kinship"},
}
"""A user's data, and the built-in set of its kind and size."""


@pytest.mark.parametrize("own", OWN)
def test_user_data_trains_like_the_built_in_data_set(own: str) -> None:
    """What chooses the weights, how they are decayed and how fast they learn is not a matter of who has the rows."""

    def choices(data: str) -> list[object]:
        tree = option_files.read_tree(registry.list_options("data")[data])
        optimizer = tree.get("optimizer", {})
        return [tree.get("monitor"), optimizer.get("weight_decay"), optimizer.get("lr"), tree.get("grad_clip")]

    assert choices(own) == choices(OWN[own])


GANS = [
    name
    for name in registry.list_options("model")
    if "betas" in registry.list_options("model")[name].keys_set_in("optimizer")
]


@cache
def composed_optimizer(*overrides: str) -> dict[str, Any]:
    """The optimizer's keys; cached, because each model is composed with each optimizer."""
    return compose.compose(overrides).tree["optimizer"]


@pytest.mark.parametrize("model", mark_slow_after(1, GANS))
@pytest.mark.parametrize("optimizer", sorted(registry.list_options("optimizer")))
def test_optimizer_defaults_of_a_model_work_with_every_optimizer(model: str, optimizer: str) -> None:
    data = "ring" if "flat_features" in registry.list_options("model")[model].get_descriptions() else "digits"
    found = composed_optimizer(f"model={model}", f"data={data}", f"optimizer={optimizer}")
    usual = composed_optimizer(f"model={model}", f"data={data}")
    own = composed_optimizer(f"optimizer={optimizer}")
    assert found.keys() == own.keys()
    assert found["lr"] == usual["lr"], "what both have"
    assert found.get("betas") in (None, usual["betas"])


def test_an_unknown_key_of_the_user_is_still_reported() -> None:
    with pytest.raises(ConfigError, match=r"optimizer.betas: unknown key; .*\(betas is a key of adam, adamax, adamw\)"):
        compose.compose(["model=wgan_gp", "data=ring", "optimizer=sgd", "optimizer.betas=[0.5,0.9]"])


@pytest.fixture
def choosers(tmp_path: Path) -> Path:
    """A model for a schedule of its own, one that goes on from it, and experiments that choose another."""
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


@pytest.mark.parametrize("model", ["cycled", "heir"])
def test_keys_hold_for_the_option_that_their_file_was_written_for(choosers: Path, model: str) -> None:
    usual = composed(choosers, f"model={model}", "data=moons").tree
    assert (usual["scheduler"]["pct_start"], usual["optimizer"]["betas"]) == (0.2, [0.5, 0.9])
    other = composed(choosers, f"model={model}", "data=moons", "scheduler=cosine", "optimizer=rmsprop").tree
    assert other["scheduler"] == compose.compose(["scheduler=cosine"]).tree["scheduler"] | {"warmup": 3}
    assert "betas" not in other["optimizer"]
    above = composed(choosers, f"model={model}", "data=moons", "experiment=falling").tree["scheduler"]
    assert above == compose.compose(["scheduler=step"]).tree["scheduler"] | {"warmup": 3, "gamma": 0.25}
    assert "betas" not in composed(choosers, f"model={model}", "data=moons", "experiment=plain").tree["optimizer"]
    assert composed(choosers, f"model={model}", "data=moons", "scheduler=onecycle").tree == usual
