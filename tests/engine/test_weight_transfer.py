"""Copying of weights that fit by name and shape, and the account of those that do not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from trainer.engine.weight_source import WeightSource, check_tensors
from trainer.engine.weight_transfer import transfer_weights
from trainer.utils.errors import ConfigError


class Wrapper(nn.Module):
    """A task: its model is an attribute of this name."""

    def __init__(self, width: int = 3, classes: int = 2):
        super().__init__()
        body = nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width))
        self.model = nn.ModuleDict({"body": body, "head": nn.Linear(width, classes)})


def source_of(module: nn.Module | dict[str, Tensor], prefix: str = "") -> WeightSource:
    weights = module if isinstance(module, dict) else module.state_dict()
    return WeightSource(Path("source"), "file", {name.removeprefix(prefix): value for name, value in weights.items()})


def copy_state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("prefix", ["", "model."], ids=["of a task", "of a model"])
def test_all_tensors_are_copied_with_or_without_the_prefix_of_the_task(prefix: str) -> None:
    other, task = Wrapper(), Wrapper()
    other.model["body"][1].running_mean.fill_(3)  # type: ignore[index]
    transfer = transfer_weights(task, source_of(other, prefix), {}, [])
    assert all(torch.equal(value, task.state_dict()[name]) for name, value in other.state_dict().items())
    assert transfer.num_copied == (sum(p.numel() for p in task.parameters()),) * 2
    assert transfer.describe() == ["copied 9 tensors, 100 % of all parameters"]


def test_tensors_that_do_not_fit_stay_as_they_are_and_are_listed() -> None:
    other, task = Wrapper(classes=5), Wrapper()
    weights = copy_state(other)
    weights["model.extra"] = weights.pop("model.body.1.weight")
    before = copy_state(task)
    transfer = transfer_weights(task, source_of(weights), {}, ["body.0.bias"])
    after = task.state_dict()
    fresh = {"model.head.weight", "model.head.bias", "model.body.1.weight", "model.body.0.bias"}
    assert {name for name in after if torch.equal(after[name], before[name])} >= fresh
    assert all(torch.equal(after[name], weights[name]) for name in after.keys() - fresh)
    assert transfer.describe() == [
        "copied 5 tensors, 51.7 % of all parameters",  # 12 + 3 of 29
        "fresh (init_skip): model.body.0.bias",
        "other shape: model.head.weight [2, 3] (source [5, 3]), model.head.bias [2] (source [5])",
        "not in the source: model.body.1.weight",
        "not in the model: model.extra",
    ]


def test_named_tensors_stay_fresh_with_their_reason() -> None:
    task, other = Wrapper(), Wrapper()
    before = copy_state(task)
    transfer = transfer_weights(task, source_of(other), {"model.head.bias": "other classes"}, ["*.head.weight"])
    assert transfer.describe()[1:] == ["fresh (init_skip): model.head.weight", "fresh (other classes): model.head.bias"]
    assert torch.equal(task.state_dict()["model.head.bias"], before["model.head.bias"])


def test_frozen_parameters_that_are_not_copied_are_listed() -> None:
    task = Wrapper()
    task.model["head"].requires_grad_(False)
    transfer = transfer_weights(task, source_of(Wrapper()), {}, ["head.bias"])
    assert transfer.describe()[-1] == "frozen as initialized, though not copied: model.head.bias"


def test_floats_are_converted_and_other_types_are_not() -> None:
    other, task = Wrapper(), Wrapper()
    weights = {name: value.double() for name, value in other.state_dict().items()}
    transfer = transfer_weights(task, source_of(weights), {}, [])
    assert torch.equal(task.state_dict()["model.head.weight"], other.state_dict()["model.head.weight"])
    assert transfer.mismatches == ["model.body.1.num_batches_tracked int64 (source float64)"]


@pytest.mark.parametrize(
    "weights",
    [
        {"other": torch.zeros(2)},
        {"model.head.bias": torch.zeros(7)},
        {"model.body.1.running_mean": torch.zeros(3), "model.body.1.num_batches_tracked": torch.tensor(1)},
    ],
    ids=["names", "shapes", "only buffers"],
)
def test_a_source_of_which_no_parameter_fits_is_refused_and_nothing_changes(weights: dict[str, Tensor]) -> None:
    task = Wrapper()
    before = copy_state(task)
    with pytest.raises(ConfigError, match="init_from: no parameter of the model fits source"):
        transfer_weights(task, source_of(weights), {}, [])
    assert all(torch.equal(value, before[name]) for name, value in task.state_dict().items())


def test_a_pattern_that_matches_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"init_skip: 'haed.\*' matches no parameter; did you mean head"):
        transfer_weights(Wrapper(), source_of(Wrapper()), {}, ["haed.*"])


def test_a_shared_parameter_is_copied_once() -> None:
    def make_tied() -> Wrapper:
        tied = Wrapper(width=2)
        tied.model["again"] = tied.model["head"]
        return tied

    other, task = make_tied(), make_tied()
    transfer_weights(task, source_of(other), {}, [])
    assert task.model["again"].weight is task.model["head"].weight
    assert torch.equal(task.model["again"].weight, other.model["head"].weight)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (None, "contains no weights"),
        ({}, "contains no weights"),
        ([torch.zeros(1)], "contains no weights"),
        ({"w": 1.0}, "w: not a tensor"),
        ({"w": torch.tensor([1.0, torch.nan])}, "w: contains values that are not finite"),
        ({"w": torch.tensor([torch.inf], dtype=torch.bfloat16)}, "w: contains values that are not finite"),
    ],
)
def test_contents_that_are_no_finite_tensors_are_refused(weights: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_tensors(weights, Path("file"))
