"""The sanity check reports incompatibilities before the first step and changes no state."""

from __future__ import annotations

import pytest
import torch

from tests.helpers.lab import lab
from tests.helpers.pairs import make_pair
from trainer.engine import sanity_check
from trainer.utils.errors import ConfigError

NORMED = (
    *("model=cnn", "model.norm=batch", "model.channels=[4,4]", "model.dilations=[1]"),
    *("data=gratings", "data.rows=50"),
)


@pytest.mark.slow
def test_batch_norm_over_single_values_raises_before_training() -> None:
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
    sanity_check.run_sanity_check(made.task, made.loaders["train"], {})
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, before[name]) for name, value in made.task.state_dict().items())


def test_a_layer_without_half_precision_raises_with_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_pair("lstm", "synthetic_seq")

    def raise_error(**_: object) -> None:
        raise RuntimeError("could not create a primitive. Set VERBOSE=all\nmore")

    monkeypatch.setattr(made.task.model, "forward", raise_error)
    batch = sanity_check.make_small_batch(made.loaders["train"])
    with pytest.raises(ConfigError) as caught:
        sanity_check._compute_gradients(made.task, batch, "fp16")
    assert str(caught.value) == (
        "precision: RNN cannot be trained in fp16 on cpu (could not create a primitive); use precision=32, or another"
        " device"
    )


def test_the_sanity_check_in_half_precision_changes_nothing() -> None:
    made = make_pair("cnn", "gratings", "model.norm=batch", "model.dropout=0.5")
    before = {name: value.clone() for name, value in made.task.state_dict().items()}
    random = torch.get_rng_state()
    sanity_check.run_sanity_check(made.task, made.loaders["train"], {}, precision="bf16")
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, before[name]) for name, value in made.task.state_dict().items())
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in made.task.parameters())


@pytest.mark.parametrize("method", ["score", "metrics", "loss"])
def test_an_error_of_the_task_itself_keeps_its_type(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    made = make_pair("lstm", "synthetic_seq")
    made.loaders["train"].batch_size = 1

    def fail(*_: object) -> None:
        raise (ValueError if method == "loss" else KeyError)("typo")

    monkeypatch.setattr(made.task, method, fail)
    with pytest.raises((KeyError, ValueError), match="typo") as caught:
        sanity_check.run_sanity_check(made.task, made.loaders["train"], {"typo": 1})
    assert caught.value.__cause__ is None


def test_an_error_of_the_model_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_pair("lstm", "synthetic_seq")

    def fail(**_: object) -> None:
        raise KeyError("sound")

    monkeypatch.setattr(made.task.model, "forward", fail)
    with pytest.raises(ConfigError, match=r"^model: forward\(\*\*_\) cannot take this data \(x .*\): 'sound'"):
        sanity_check.run_sanity_check(made.task, made.loaders["train"], {})
