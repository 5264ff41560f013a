"""Depthwise separable convolutions against numpy, and MobileNet against transformers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.helpers.image_nets import ODD, copy_in_order, count, network, published, shake_norms
from tests.helpers.lab import lab
from trainer.models.layers.conv.separable_conv import adapt_strides, make_separable_conv


def ref_separable(x: np.ndarray, depthwise: Any, pointwise: Any, stride: int) -> np.ndarray:
    """Apply a 3x3 filter per channel of x (B, C, H, W), then mix channels; both are clipped to [0, 6]."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))[:, :, ::stride, ::stride]
    (w, b), (v, c) = depthwise, pointwise
    y = np.einsum("bchwij,cij->bchw", windows, w[:, 0]) + b[:, None, None]
    y = np.einsum("bchw,oc->bohw", y.clip(0, 6), v[:, :, 0, 0]) + c[:, None, None]
    return y.clip(0, 6)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(7, 7), (9, 4)])
def test_separable_conv_matches_reference(size: tuple[int, int], stride: int) -> None:
    layer = make_separable_conv(3, 5, stride, norm=False)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=2)
    values = [parameter.detach().numpy() for parameter in layer.parameters()]
    x = torch.randn(2, 3, *size)
    expected = ref_separable(x.numpy(), values[:2], values[2:], stride)
    assert (expected == 6).any(), "the bound is not reached"
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, atol=1e-5)


def test_parameter_counts() -> None:
    assert count(make_separable_conv(32, 64, 1, norm=False)) == 2432
    assert count(make_separable_conv(32, 64, 1)) == 2432 - 96 + 2 * 96
    assert published("mobilenet", width_multiplier=1.0) == 4231976


def test_adapt_strides_keeps_last_strides() -> None:
    published_strides = [2, 1, 2, 1, 2, 2, 2]
    assert (
        adapt_strides(published_strides, (224, 224)) == adapt_strides(published_strides, (300, 64)) == published_strides
    )
    assert adapt_strides(published_strides, (28, 28)) == [1, 1, 2, 1, 2, 2, 2]
    assert adapt_strides(published_strides, (28, 8)) == [1, 1, 1, 1, 1, 2, 2]
    assert adapt_strides(published_strides, (1, 28)) == [1] * 7


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.slow
def test_feature_maps_match_transformers(train: bool) -> None:
    from transformers import MobileNetV1Config, MobileNetV1Model

    ours: Any = network("mobilenet", 70, 96, in_channels=3, width_multiplier=0.25)
    config = MobileNetV1Config(depth_multiplier=0.25, min_depth=1, tf_padding=False, layer_norm_eps=1e-5)
    theirs = MobileNetV1Model(config)
    shake_norms(theirs)
    copy_in_order(theirs, ours.stem, ours.blocks)
    x = torch.randn(2, 3, 70, 96)
    with torch.no_grad():
        expected = theirs.train(train)(x).last_hidden_state
        ours.train(train)
        found = ours.blocks(ours.stem(x))
    assert found.shape[2:] == (3, 3)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", ODD)
@pytest.mark.parametrize("norm", ["batch", "none"])
def test_any_image_fits(size: tuple[int, int], norm: str) -> None:
    model = network("mobilenet", *size, norm=norm)
    assert model(torch.randn(2, 1, *size)).shape == (2, 10)
    biases = [layer.bias is not None for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    assert biases == [norm == "none"] * 27


@pytest.mark.slow
def test_learns_digits() -> None:
    small = ("data.size=8", "augment=none", "epochs=6", "batch_size=64", "optimizer.lr=1e-2")
    assert lab("model=mobilenet", "data=digits", *small).test()["accuracy"] > 0.6
