"""CNN against numpy references, parameter counts, shift equivariance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.helpers.lab import configure
from tests.helpers.reference_convs import ref_adaptive2d, ref_conv2d, ref_pool2d
from trainer.models.vision.cnn import CNN

SIZES = [(7, 7), (9, 5), (5, 12)]


def make_cnn(height: int = 28, width: int = 28, **changes: Any) -> CNN:
    """Build the default of conf/model/cnn.yaml for one channel and ten classes, with changes."""
    options = configure("model=cnn")["model"]
    options.pop("_target_")
    sizes = {"in_channels": 1, "height": height, "width": width, "out_features": 10}
    return CNN(**options | sizes | changes).eval()


def trunk_and_reference(model: CNN, x: Tensor, **conv_options: int) -> tuple[np.ndarray, np.ndarray]:
    convolution = model.trunk[0]
    assert isinstance(convolution, torch.nn.Conv2d)
    assert convolution.bias is not None
    w, b = convolution.weight.detach().numpy(), convolution.bias.detach().numpy()
    expected = [np.maximum(ref_conv2d(image, w, b, **conv_options), 0) for image in x.numpy()]
    return model.trunk(x).detach().numpy(), np.stack(expected)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("stride", "padding", "dilation"), [(1, 0, 1), (2, 0, 1), (1, 2, 1), (2, 3, 2), (3, 1, 1)])
def test_convolution_matches_a_reference_loop(size: tuple[int, int], stride: int, padding: int, dilation: int) -> None:
    conv_options = {"stride": stride, "padding": padding}
    lists = {"channels": [4], "dilations": [dilation], "pools": ["none"]}
    model = make_cnn(*size, in_channels=2, adaptive="none", **conv_options, **lists)
    x = torch.randn(3, 2, *size)
    found, expected = trunk_and_reference(model, x, dilation=dilation, **conv_options)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert model(x).shape == (3, 10)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["max", "avg"])
def test_pools_match_a_reference_loop(size: tuple[int, int], kind: str) -> None:
    model = make_cnn(*size, channels=[4], dilations=[1], pools=[kind], adaptive=kind, adaptive_size=2)
    x = torch.randn(1, 1, *size)
    plain = make_cnn(*size, channels=[4], dilations=[1], pools=["none"], adaptive="none")
    plain.trunk[0].load_state_dict(model.trunk[0].state_dict())
    _, before = trunk_and_reference(plain, x, stride=1, padding=1, dilation=1)
    expected = ref_adaptive2d(ref_pool2d(before[0], kind), kind, 2)
    np.testing.assert_allclose(model.trunk(x)[0].detach().numpy(), expected, atol=1e-5)


def count_parameters(model: CNN) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_parameter_counts_match_references() -> None:
    assert count_parameters(make_cnn()) == 163402
    lenet = {"channels": [16, 32], "dilations": [1], "pools": ["max"], "adaptive": "none", "hidden": [128]}
    assert count_parameters(make_cnn(32, 32, in_channels=3, **lenet)) == 268650
    small = {"channels": [16, 32], "dilations": [1], "pools": ["max", "none"], "adaptive": "avg", "adaptive_size": 1}
    model = make_cnn(30, 20, in_channels=3, hidden=[], **small)
    assert count_parameters(model) - count_head_parameters(model) == 5088
    assert model.trunk(torch.randn(2, 3, 30, 20)).shape == (2, 32, 1, 1)


def count_head_parameters(model: CNN) -> int:
    return sum(parameter.numel() for parameter in model.head.parameters())


def test_no_bias_precedes_a_norm() -> None:
    model = make_cnn(norm="batch")
    assert all(layer.bias is None for layer in model.trunk if isinstance(layer, torch.nn.Conv2d))


@pytest.mark.parametrize(("pools", "step"), [(["none"], 1), (["max", "avg", "none"], 4)])
def test_trunk_is_shift_equivariant(pools: list[str], step: int) -> None:
    model = make_cnn(80, 80, pools=pools, adaptive="none")
    x = torch.zeros(1, 1, 80, 80)
    x[..., 32:44, 32:44] = torch.randn(12, 12)
    shifted = x.roll((2 * step, step), dims=(2, 3))
    # The feature map of an empty image is subtracted, as padding causes edges.
    background = model.trunk(torch.zeros_like(x))
    expected = (model.trunk(x) - background).roll((2, 1), dims=(2, 3))
    torch.testing.assert_close(model.trunk(shifted) - background, expected, atol=1e-5, rtol=0)
    assert expected.abs().max() > 0.01


def test_adaptive_pool_fits_any_image_and_invalid_options_raise() -> None:
    assert make_cnn(11, 45)(torch.randn(2, 1, 11, 45)).shape == (2, 10)
    with pytest.raises(ValueError, match="a 3 x 45 image has no pixels left after convolution 2"):
        make_cnn(3, 45)
    with pytest.raises(ValueError, match="pools needs 1 value or one for each of the 2 channels; got 3"):
        make_cnn(channels=[8, 16], dilations=[1])
    with pytest.raises(ValueError, match="stride must be 1, not 2"):
        make_cnn(stride=2)
