"""LeNet, AlexNet and VGG: published parameter counts, functional references, other image sizes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.helpers.image_nets import ODD, count, network, published
from tests.helpers.lab import lab

FULL = {"width_multiplier": 1.0}


def test_parameter_counts_match_the_papers() -> None:
    assert count(network("lenet", 32, 32)) == count(network("lenet", 28, 28)) == 61706
    assert published("alexnet", **FULL) == 61100840
    plain = [published("vgg", depth=depth, norm="none", **FULL) for depth in (11, 13, 16, 19)]
    assert plain == [132863336, 133047848, 138357544, 143667240]


def layer_parameters(model: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Return weight and bias of each layer."""
    values = list(model.parameters())
    return list(zip(values[::2], values[1::2], strict=True))


@pytest.mark.parametrize(("side", "padding"), [(28, 2), (32, 0)])
def test_lenet_matches_functional_reference(side: int, padding: int) -> None:
    model = network("lenet", side, side)
    x = torch.randn(3, 1, side, side)
    conv1, conv2, fc1, fc2, fc3 = layer_parameters(model)
    y = F.avg_pool2d(torch.tanh(F.conv2d(x, *conv1, padding=padding)), 2)
    y = F.avg_pool2d(torch.tanh(F.conv2d(y, *conv2)), 2)
    assert y.shape == (3, 16, 5, 5)
    y = torch.tanh(F.linear(torch.tanh(F.linear(y.flatten(1), *fc1)), *fc2))
    torch.testing.assert_close(model(x), F.linear(y, *fc3), atol=1e-5, rtol=0)


def classify(y: Tensor, layers: list[tuple[Tensor, Tensor]]) -> Tensor:
    y = F.relu(F.linear(y.flatten(1), *layers[0]))
    return F.linear(F.relu(F.linear(y, *layers[1])), *layers[2])


@pytest.mark.parametrize(("side", "last"), [(224, 6), (28, 2)])
def test_alexnet_matches_functional_reference(side: int, last: int) -> None:
    model = network("alexnet", side, side, width_multiplier=0.03).eval()
    x = torch.randn(2, 1, side, side)
    layers = layer_parameters(model)
    first = {"stride": 4, "padding": 2} if side == 224 else {"padding": 1}
    y = F.max_pool2d(F.relu(F.conv2d(x, *layers[0], **first)), 3, 2)
    y = F.max_pool2d(F.relu(F.conv2d(y, *layers[1], padding=2)), 3, 2)
    for layer in layers[2:5]:
        y = F.relu(F.conv2d(y, *layer, padding=1))
    y = F.max_pool2d(y, 3, 2)
    assert y.shape[2:] == (last, last)
    torch.testing.assert_close(model(x), classify(y, layers[5:]), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("size", "pools", "last"), [((224, 224), 5, (7, 7)), ((9, 20), 3, (1, 2))])
def test_vgg_matches_functional_reference(size: tuple[int, int], pools: int, last: tuple[int, int]) -> None:
    model = network("vgg", *size, depth=16, norm="none", width_multiplier=0.04).eval()
    x = y = torch.randn(2, 1, *size)
    layers = layer_parameters(model)
    convolutions = iter(layers)
    for group, num_convs in enumerate((2, 2, 3, 3, 3)):
        for _ in range(num_convs):
            y = F.relu(F.conv2d(y, *next(convolutions), padding=1))
        if group < pools:
            y = F.max_pool2d(y, 2)
    assert y.shape[2:] == last
    torch.testing.assert_close(model(x), classify(y, layers[13:]), atol=1e-5, rtol=0)


def test_vgg_has_no_bias_before_a_norm() -> None:
    convolutions = [layer for layer in network("vgg").modules() if isinstance(layer, nn.Conv2d)]
    assert [layer.bias for layer in convolutions] == [None] * 8


@pytest.mark.parametrize("size", ODD)
@pytest.mark.parametrize("model", ["lenet", "alexnet", "vgg"])
def test_any_image_fits(model: str, size: tuple[int, int]) -> None:
    assert network(model, *size)(torch.randn(2, 1, *size)).shape == (2, 10)


@pytest.mark.parametrize("model", ["lenet", "alexnet", "vgg"])
def test_larger_image_keeps_parameter_count(model: str) -> None:
    assert count(network(model, 400, 300)) == count(network(model, 224, 224))


def test_lenet_with_too_small_image_raises() -> None:
    assert network("lenet", 4, 9)(torch.randn(2, 1, 4, 9)).shape == (2, 10)
    with pytest.raises(ValueError, match="4 x 4 or more, not 3 x 28"):
        network("lenet", 3, 28)


def accuracy(model: str, *keys: str) -> float:
    return lab(f"model={model}", "data=digits", "augment=none", *keys).test()["accuracy"]


@pytest.mark.slow
def test_lenet_and_alexnet_learn_digits() -> None:
    assert accuracy("lenet", "data.size=12", "epochs=15", "batch_size=64", "optimizer.lr=1e-2") > 0.85
    small = ("model.width_multiplier=0.1", "model.dropout=0.0", "data.size=12", "epochs=15")
    assert accuracy("alexnet", *small) > 0.8


@pytest.mark.slow
def test_deep_vgg_learns_only_with_norms() -> None:
    small = ("model.width_multiplier=0.1", "model.dropout=0.0", "data.size=8", "epochs=10", "batch_size=64")
    assert accuracy("vgg", "model.depth=16", *small) > 0.7
    assert accuracy("vgg", "model.depth=16", "model.norm=none", *small) < 0.3
