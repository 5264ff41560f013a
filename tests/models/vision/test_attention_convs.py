"""Gated, attention and dynamic convolutions against numpy, and differences from a plain convolution."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.helpers.lab import configure, lab
from tests.helpers.reference_convs import ref_conv2d
from trainer.models.vision.attention_convs import (
    AttentionCNN,
    AttentionConv,
    DynamicCNN,
    DynamicConv,
    GatedCNN,
    GatedConv,
    make_position_grid,
)

CLASSES: dict[str, type[nn.Module]] = {
    "gated_cnn": GatedCNN,
    "attention_cnn": AttentionCNN,
    "dynamic_cnn": DynamicCNN,
}


def make_network(name: str, height: int = 28, width: int = 28, **changes: Any) -> nn.Module:
    """Build the default of conf/model for one channel and ten classes, with changes."""
    options = configure(f"model={name}")["model"]
    options.pop("_target_")
    sizes = {"in_channels": 1, "height": height, "width": width, "out_features": 10}
    return CLASSES[name](**options | {key: size for key, size in sizes.items() if key in options} | changes)


def random_images(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def reference_conv(conv: nn.Conv2d, x: Tensor) -> np.ndarray:
    """Convolve one image (C, H, W) in numpy."""
    assert conv.bias is not None
    weight, bias = conv.weight.detach().numpy(), conv.bias.detach().numpy()
    return ref_conv2d(x.numpy(), weight, bias, 1, conv.padding[0], 1)  # type: ignore[arg-type]


def assert_close(found: Tensor, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=1e-5)


# Gates.


def test_gate_is_one_value_per_pixel() -> None:
    layer = GatedConv(3, 8)
    assert sum(parameter.numel() for parameter in layer.parameters()) == 228
    x = random_images(2, 3, 5, 7)
    for image, found in zip(x, layer(x), strict=True):
        gate = 1 / (1 + np.exp(-reference_conv(layer.gate, image)))
        assert gate.shape == (1, 5, 7)
        assert_close(found, reference_conv(layer.conv, image) * gate)
    ratio = layer(x) / layer.conv(x)
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio))


# Attention.


def reference_attention(layer: AttentionConv, image: Tensor) -> np.ndarray:
    """Compute the attention branch of one image (C, H, W) pixel by pixel and head by head."""
    embedded = reference_conv(layer.embed, image)
    channels, height, width = embedded.shape
    pixels = embedded.reshape(channels, -1).T + make_position_grid(height, width, channels, image.device).numpy()
    attention = layer.attention
    weight, bias = (part.detach().numpy() for part in (attention.in_proj.weight, attention.in_proj.bias))
    q, k, v = ((pixels @ weight.T + bias)[:, i * channels : (i + 1) * channels] for i in range(3))
    gathered = np.zeros_like(pixels)
    size = channels // attention.heads
    for head in range(attention.heads):
        head_slice = slice(head * size, (head + 1) * size)
        for pixel in range(len(pixels)):
            scores = np.array([q[pixel, head_slice] @ other / size**0.5 for other in k[:, head_slice]])
            weights = np.exp(scores - scores.max())
            gathered[pixel, head_slice] = weights @ v[:, head_slice] / weights.sum()
    out = gathered @ attention.out_proj.weight.detach().numpy().T + attention.out_proj.bias.detach().numpy()
    return out.T.reshape(channels, height, width)


@pytest.mark.parametrize("size", [(3, 5), (4, 1)])
def test_attention_is_added_to_the_convolution(size: tuple[int, int]) -> None:
    layer = AttentionConv(2, 6, heads=3)
    x = random_images(2, 2, *size)
    for image, found in zip(x, layer(x), strict=True):
        assert_close(found, reference_conv(layer.conv, image) + reference_attention(layer, image))


def test_attention_reaches_every_pixel_and_convolution_does_not() -> None:
    layer = AttentionConv(1, 4, heads=2)

    def input_gradient(f: nn.Module) -> Tensor:
        x = random_images(1, 1, 9, 9).requires_grad_()
        f(x)[0, :, 0, 0].sum().backward()
        assert x.grad is not None
        return x.grad[0, 0]

    assert input_gradient(layer).ne(0).all()
    assert input_gradient(layer.conv)[2:].eq(0).all()


def test_position_grid_encodes_rows_and_columns() -> None:
    positions = make_position_grid(5, 7, 9, torch.device("cpu"))
    distances = torch.cdist(positions, positions) + torch.eye(35)
    assert distances.min() > 0.1
    by_row = positions.unflatten(0, (5, 7))
    assert torch.equal(by_row[:, :1, :5].expand(-1, 7, -1), by_row[..., :5])
    assert torch.equal(by_row[:1, :, 5:].expand(5, -1, -1), by_row[..., 5:])


def test_attention_without_positions_is_permutation_equivariant() -> None:
    layer = AttentionConv(2, 8, heads=2)
    nn.init.zeros_(layer.conv.weight)
    x = random_images(1, 2, 4, 4)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))

    def permute(image: Tensor) -> Tensor:
        return image.flatten(2)[..., order].unflatten(2, (4, 4))

    assert not torch.allclose(layer(permute(x)), permute(layer(x)), atol=1e-3)
    with patch("trainer.models.vision.attention_convs.make_position_grid", lambda *_: torch.zeros(1)):
        torch.testing.assert_close(layer(permute(x)), permute(layer(x)), atol=1e-5, rtol=0)


def test_too_many_pixels_for_attention_raise() -> None:
    with pytest.raises(ValueError, match=r"self-attention over 56 x 56 pixels; at most 1024 are allowed"):
        make_network("attention_cnn", 224, 224)
    big = make_network("attention_cnn", 224, 224, channels=[4, 4, 4, 4], plain=3)
    assert big(random_images(1, 1, 224, 224)).shape == (1, 10)
    with pytest.raises(ValueError, match="64 channels are not divisible by 5 heads"):
        make_network("attention_cnn", heads=5)


# Dynamic kernels.


@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_dynamic_conv_equals_weighted_sum_of_kernels(rows: int, layout: torch.memory_format) -> None:
    layer = DynamicConv(3, 4, kernels=5, temperature=0.2).to(memory_format=layout)
    x = random_images(rows, 3, 6, 5).contiguous(memory_format=layout)
    kernel_weights = layer.compute_kernel_weights(x).detach().numpy()
    assert rows == 1 or np.ptp(kernel_weights, 0).max() > 0.05, "each image has its own weights"
    for image, image_weights, found in zip(x, kernel_weights, layer(x), strict=True):
        kernel_outputs = reference_conv(layer.conv, image).reshape(5, 4, 6, 5)
        assert_close(found, np.einsum("k,kchw->chw", image_weights, kernel_outputs))


def test_batch_is_one_grouped_convolution() -> None:
    layer = DynamicConv(3, 4, kernels=5, temperature=1.0)
    with patch("trainer.models.vision.attention_convs.F.conv2d", wraps=F.conv2d) as called:
        layer(random_images(7, 3, 6, 5))
    assert called.call_count == 1
    assert called.call_args.kwargs["groups"] == 7


def test_temperature_controls_kernel_weights() -> None:
    x = 9 * random_images(4, 3, 6, 5)
    hot, cold = (DynamicConv(3, 4, 5, temperature).compute_kernel_weights(x) for temperature in (1e4, 1e-4))
    torch.testing.assert_close(hot, torch.full((4, 5), 0.2), atol=1e-3, rtol=0)
    assert cold.amax(1).min() > 0.99


# All three models.


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("size", [(28, 28), (13, 30), (1, 7)])
def test_output_for_any_size_is_independent_of_batch(name: str, size: tuple[int, int]) -> None:
    model = make_network(name, *size).eval()
    x = random_images(3, 1, *size)
    batch_output = model(x)
    assert batch_output.shape == (3, 10)
    torch.testing.assert_close(torch.cat([model(row[None]) for row in x]), batch_output, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", CLASSES)
def test_too_many_plain_convolutions_raise(name: str) -> None:
    with pytest.raises(ValueError, match=r"channels needs more than 3 entries, the number of plain convolutions"):
        make_network(name, plain=3)


@pytest.mark.parametrize("name", CLASSES)
def test_no_bias_precedes_a_norm(name: str) -> None:
    model = make_network(name, 8, 8, plain=0)
    F.cross_entropy(model(random_images(16, 1, 8, 8)), torch.arange(16) % 10).backward()
    biases = [layer.bias for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    assert min(float(bias.grad.abs().max()) for bias in biases) > 1e-5  # type: ignore[union-attr]
    normalized = nn.Sequential(biased := nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    normalized(random_images(16, 1, 8, 8)).square().sum().backward()
    assert biased.bias is not None
    assert biased.bias.grad is not None
    assert biased.bias.grad.abs().max() < 1e-4 * biased.weight.grad.abs().max()  # type: ignore[union-attr]


@pytest.mark.slow
@pytest.mark.parametrize("name", CLASSES)
def test_classifies_digits(name: str) -> None:
    small = ("model.channels=[8, 16, 32]", "data.size=12", "augment=none", "epochs=8", "optimizer.lr=1e-2")
    assert lab(f"model={name}", "data=digits", *small).test()["accuracy"] > 0.93
