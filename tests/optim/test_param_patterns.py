"""Parameters chosen by patterns: what matches, who wins, what is frozen."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from trainer.optim.freeze import freeze_parameters
from trainer.optim.param_group_options import resolve_group_options
from trainer.optim.param_patterns import find_matches, name_parameters
from trainer.utils.errors import ConfigError


class Net(nn.Module):
    """A task: its model is called ``model``."""

    def __init__(self) -> None:
        super().__init__()
        trunk = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.BatchNorm1d(4, affine=False))
        self.model = nn.ModuleDict({"trunk": trunk, "norm": nn.BatchNorm1d(4), "head": nn.Linear(4, 2)})
        self.scale = nn.Parameter(torch.ones(()))


def resolve(*groups: dict[str, Any]) -> dict[str, Any]:
    net = Net()
    names = name_parameters(net)
    return {names[p][0]: options for p, options in resolve_group_options(names, groups).items()}


def test_a_former_name_is_tried_last() -> None:
    former = {"model.head.old": "model.head.new", "model.gone.old": "model.gone.new"}
    names = ["model.head.new", "model.head.oldest"]
    assert find_matches("freeze", ["head.old"], names, former) == ["model.head.new"]
    assert find_matches("freeze", ["head.old*"], names, former) == ["model.head.oldest"]
    with pytest.raises(ConfigError, match="matches no parameter"):
        find_matches("freeze", ["gone.old"], names, former)


def test_all_entries_that_match_count_and_the_later_one_wins() -> None:
    found = resolve(
        {"match": "trunk.*", "lr_scale": 0.1},
        {"match": ["*.bias", "scale"], "weight_decay": 0},
        {"match": "trunk.0.*", "lr_scale": 0.5},
    )
    assert found["model.trunk.0.bias"] == {"lr_scale": 0.5, "weight_decay": 0}
    assert found["model.trunk.1.bias"] == {"lr_scale": 0.1, "weight_decay": 0}
    assert found["model.trunk.1.weight"] == {"lr_scale": 0.1}
    assert found["model.head.bias"] == found["scale"] == {"weight_decay": 0}
    assert "model.head.weight" not in found


def test_a_name_may_be_given_with_the_model_in_front() -> None:
    assert resolve({"match": "model.head.*", "lr_scale": 2}) == resolve({"match": "head.*", "lr_scale": 2})


@pytest.mark.parametrize(
    ("pattern", "near"),
    [
        ("trnk.*", "did you mean trunk.*?"),
        ("head.weigt", "did you mean head.weight?"),
        ("*.bais", "did you mean *.bias?"),
    ],
)
def test_a_pattern_that_matches_nothing_is_refused_with_what_there_is(pattern: str, near: str) -> None:
    names = [name for own in name_parameters(Net()).values() for name in own]
    with pytest.raises(ConfigError) as refused:
        find_matches("freeze", [pattern], names)
    assert f"freeze: {pattern!r} matches no parameter; {near}" in str(refused.value)
    assert "head.weight" in str(refused.value)
    with pytest.raises(ConfigError, match=r"there are: a.\* \(20\), b"):
        find_matches("freeze", ["x"], [*(f"model.a.{i}" for i in range(20)), "model.b"])


def test_what_is_frozen_needs_no_gradient_and_its_norms_are_named() -> None:
    net = Net()
    norms = freeze_parameters(net, ["trunk.*"])
    assert {n for n, p in net.named_parameters() if p.requires_grad} == {
        *("scale", "model.norm.weight", "model.norm.bias", "model.head.weight", "model.head.bias"),
    }
    trunk = net.model["trunk"]
    assert norms == [trunk[1], trunk[3]]  # type: ignore[index]
    assert freeze_parameters(Net(), []) == []
    assert freeze_parameters(Net(), ["trunk.0.*"]) == []


def test_a_tied_parameter_is_found_under_each_of_its_names() -> None:
    model = nn.ModuleDict({"embedding": nn.Embedding(5, 3), "head": nn.Linear(3, 5, bias=False)})
    model["head"].weight = model["embedding"].weight
    freeze_parameters(model, ["head.*"])
    assert not model["embedding"].weight.requires_grad
