"""Image classifiers in tests: built from their YAML, counted, and fed odd images."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tests.helpers.lab import configure
from trainer.engine import factory

ODD = [(8, 8), (28, 28), (37, 21), (9, 64), (65, 224)]
"""Sizes that are neither square nor powers of two, and some that are."""


def network(model: str, height: int = 28, width: int = 28, **changes: Any) -> nn.Module:
    """Build the default of ``conf/model`` for one channel and ten classes, with changes."""
    sizes = {"in_channels": 1, "height": height, "width": width, "out_features": 10}
    options = configure(f"model={model}")["model"]
    filled = {key: sizes.get(key, value) for key, value in options.items()}
    return factory.instantiate_node(filled | changes, nn.Module)


def published(model: str, **changes: Any) -> int:
    """Count the parameters for RGB images of 224 pixels and 1000 classes."""
    sizes = {"in_channels": 3, "out_features": 1000}
    with torch.device("meta"):
        return count(network(model, 224, 224, **sizes, **changes))


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def shake_norms(model: nn.Module) -> None:
    """Randomize batch norms: initial ones are almost the identity and hide their position."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)


def copy_in_order(source: nn.Module, *targets: nn.Module) -> None:
    """Copy the state of a model into modules with the same layers in the same order."""
    values = iter(source.state_dict().values())
    for target in targets:
        target.load_state_dict({name: next(values) for name in target.state_dict()})
    assert next(values, None) is None, "the source has more layers"
