"""Parameters selected by patterns: matches, precedence and freezing."""

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


def resolve_options(*groups: dict[str, Any]) -> dict[str, Any]:
    net = Net()
    names = name_parameters(net)
    return {names[p][0]: options for p, options in resolve_group_options(names, groups).items()}


def test_former_name_matches_only_without_another_match() -> None:
    former = {"model.head.old": "model.head.new", "model.gone.old": "model.gone.new"}
    names = ["model.head.new", "model.head.oldest"]
    assert find_matches("freeze", ["head.old"], names, former) == ["model.head.new"]
    assert find_matches("freeze", ["head.old*"], names, former) == ["model.head.oldest"]
    with pytest.raises(ConfigError, match="matches no parameter"):
        find_matches("freeze", ["gone.old"], names, former)


def test_matching_entries_are_merged_and_the_later_wins() -> None:
    options = resolve_options(
        {"match": "trunk.*", "lr_scale": 0.1},
        {"match": ["*.bias", "scale"], "weight_decay": 0},
        {"match": "trunk.0.*", "lr_scale": 0.5},
    )
    assert options["model.trunk.0.bias"] == {"lr_scale": 0.5, "weight_decay": 0}
    assert options["model.trunk.1.bias"] == {"lr_scale": 0.1, "weight_decay": 0}
    assert options["model.trunk.1.weight"] == {"lr_scale": 0.1}
    assert options["model.head.bias"] == options["scale"] == {"weight_decay": 0}
    assert "model.head.weight" not in options


def test_pattern_may_begin_with_model() -> None:
    assert resolve_options({"match": "model.head.*", "lr_scale": 2}) == resolve_options(
        {"match": "head.*", "lr_scale": 2}
    )


@pytest.mark.parametrize(
    ("pattern", "suggestion"),
    [
        ("trnk.*", "did you mean trunk.*?"),
        ("head.weigt", "did you mean head.weight?"),
        ("*.bais", "did you mean *.bias?"),
    ],
)
def test_pattern_without_a_match_raises_with_suggestion(pattern: str, suggestion: str) -> None:
    names = [name for own in name_parameters(Net()).values() for name in own]
    with pytest.raises(ConfigError) as excinfo:
        find_matches("freeze", [pattern], names)
    assert f"freeze: {pattern!r} matches no parameter; {suggestion}" in str(excinfo.value)
    assert "head.weight" in str(excinfo.value)
    with pytest.raises(ConfigError, match=r"there are: a.\* \(20\), b"):
        find_matches("freeze", ["x"], [*(f"model.a.{i}" for i in range(20)), "model.b"])


def test_freezing_disables_gradients_and_returns_norm_layers() -> None:
    net = Net()
    norms = freeze_parameters(net, ["trunk.*"])
    assert {n for n, p in net.named_parameters() if p.requires_grad} == {
        *("scale", "model.norm.weight", "model.norm.bias", "model.head.weight", "model.head.bias"),
    }
    trunk = net.model["trunk"]
    assert norms == [trunk[1], trunk[3]]  # type: ignore[index]
    assert freeze_parameters(Net(), []) == []
    assert freeze_parameters(Net(), ["trunk.0.*"]) == []
    adapted = Net()
    frozen = adapted.model["trunk"].requires_grad_(False)  # by the model itself, as by low-rank adapters
    assert freeze_parameters(adapted, []) == [frozen[1], frozen[3]]  # type: ignore[index]


def test_tied_parameter_matches_each_of_its_names() -> None:
    model = nn.ModuleDict({"embedding": nn.Embedding(5, 3), "head": nn.Linear(3, 5, bias=False)})
    model["head"].weight = model["embedding"].weight
    freeze_parameters(model, ["head.*"])
    assert not model["embedding"].weight.requires_grad
