"""What is told before the first step, and that looking leaves no trace."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.helpers.lab import lab
from tests.helpers.pairs import make_pair
from trainer.config import compose
from trainer.engine import factory
from trainer.utils.errors import ConfigError, SystemFault

NORMED = (
    *("model=cnn", "model.norm=batch", "model.channels=[4,4]", "model.dilations=[1]"),
    *("data=gratings", "data.rows=50"),
)


def test_a_norm_over_single_numbers_is_refused_before_the_first_step() -> None:
    one_pixel = (*NORMED, "data.size=2", "model.pools=[max,none]")
    with pytest.raises(ConfigError, match="batch_size: the model cannot train on batches of one row: Expected more"):
        lab(*one_pixel, "batch_size=1")
    lab(*one_pixel, "batch_size=2")
    lab(*NORMED, "data.size=4", "model.pools=[max,none]", "batch_size=1")  # four numbers a map


def test_the_sanity_check_changes_nothing() -> None:
    made = make_pair("cnn", "gratings", "model.norm=batch", "model.dropout=0.5", "augment=slides")
    made.loaders["train"].batch_size = 1
    before = {name: value.clone() for name, value in made.task.state_dict().items()}
    random = torch.get_rng_state()
    factory.run_sanity_check(made.task, made.loaders["train"], {})
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, before[name]) for name, value in made.task.state_dict().items())


def test_shapes_of_the_inputs_are_known_by_name() -> None:
    assert make_pair("lstm", "var_len_sum").data.input_shapes()["lengths"] == []
    assert make_pair("cnn", "gratings").data.input_shapes() == {"x": [1, 28, 28]}


def test_an_unlistable_folder_is_a_system_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = compose.compose(["model=gcn", "data=edge_list", "data.path=closed/graph", "data.target=label"])

    def closed(path: str, _: str) -> Path:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("trainer.data.readers.edge_tables.check_folder", closed)
    with pytest.raises(SystemFault, match=r"^data: cannot read closed/graph: Permission denied$"):
        factory.make_dataset(chosen.tree)


# Turns, and numbers of half the width.


@pytest.mark.parametrize("steps", [0, 1, 7, 1000, 1003, 10**12])
def test_active_steps_are_counted_without_iterating(steps: int) -> None:
    task = make_pair("wgan_gp", "ring", "task.critic_steps=3").task
    assert factory.count_updates(task, steps) == {"critic": steps, "generator": steps // 3}
    if steps < 2000:
        listed = [name for step in range(steps) for name in task.active_groups(step)]
        assert factory.count_updates(task, steps) == {name: listed.count(name) for name in ("critic", "generator")}


def test_a_task_that_miscounts_its_active_steps_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    task = make_pair("mlp", "moons").task
    monkeypatch.setattr(task, "active_groups", lambda step: ("model",) if step % 2 else ())
    with pytest.raises(ConfigError, match=r"count_active_steps\(10\) counts other turns"):
        factory.count_updates(task, 10)


def test_a_layer_without_half_precision_raises_with_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_pair("lstm", "synthetic_seq")

    def refuses(**_: object) -> None:
        raise RuntimeError("could not create a primitive. Set VERBOSE=all\nmore")

    monkeypatch.setattr(made.task.model, "forward", refuses)
    batch = factory.make_small_batch(made.loaders["train"])
    with pytest.raises(ConfigError) as caught:
        factory._train_in_half_precision(made.task, batch, "fp16")
    assert str(caught.value) == (
        "precision: RNN cannot be trained in fp16 on cpu (could not create a primitive); use precision=32, or another"
        " device"
    )


def test_the_sanity_check_in_half_precision_changes_nothing() -> None:
    made = make_pair("cnn", "gratings", "model.norm=batch", "model.dropout=0.5")
    before = {name: value.clone() for name, value in made.task.state_dict().items()}
    random = torch.get_rng_state()
    factory.run_sanity_check(made.task, made.loaders["train"], {}, half="bf16")
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, before[name]) for name, value in made.task.state_dict().items())
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in made.task.parameters())
