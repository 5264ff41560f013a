"""Gates, attention and mixed kernels, each against plain numpy, and what each can do that a convolution cannot."""

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


def network(name: str, height: int = 28, width: int = 28, **changes: Any) -> nn.Module:
    """The default of conf/model for one channel and ten classes, with changes."""
    options = configure(f"model={name}")["model"]
    options.pop("_target_")
    sizes = {"in_channels": 1, "height": height, "width": width, "out_features": 10}
    return CLASSES[name](**options | {key: size for key, size in sizes.items() if key in options} | changes)


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def window(conv: nn.Conv2d, x: Tensor) -> np.ndarray:
    """What a convolution gives of one image (C, H, W), in numpy."""
    assert conv.bias is not None
    weight, bias = conv.weight.detach().numpy(), conv.bias.detach().numpy()
    return ref_conv2d(x.numpy(), weight, bias, 1, conv.padding[0], 1)  # type: ignore[arg-type]


def close(found: Tensor, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=1e-5)


# Gates.


def test_a_gate_is_one_number_a_pixel_for_all_channels() -> None:
    layer = GatedConv(3, 8)
    assert sum(parameter.numel() for parameter in layer.parameters()) == 228
    x = numbers(2, 3, 5, 7)
    for image, found in zip(x, layer(x), strict=True):
        gate = 1 / (1 + np.exp(-window(layer.gate, image)))
        assert gate.shape == (1, 5, 7)
        close(found, window(layer.conv, image) * gate)
    ratio = layer(x) / layer.conv(x)
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio))


# Attention.


def ref_attention(layer: AttentionConv, image: Tensor) -> np.ndarray:
    """The branch of attention on one image (C, H, W), a pixel and a head at a time."""
    embedded = window(layer.embed, image)
    channels, height, width = embedded.shape
    pixels = embedded.reshape(channels, -1).T + make_position_grid(height, width, channels, image.device).numpy()
    attention = layer.attention
    weight, bias = (part.detach().numpy() for part in (attention.in_proj.weight, attention.in_proj.bias))
    q, k, v = ((pixels @ weight.T + bias)[:, i * channels : (i + 1) * channels] for i in range(3))
    gathered = np.zeros_like(pixels)
    size = channels // attention.heads
    for head in range(attention.heads):
        mine = slice(head * size, (head + 1) * size)
        for pixel in range(len(pixels)):
            scores = np.array([q[pixel, mine] @ other / size**0.5 for other in k[:, mine]])
            shares = np.exp(scores - scores.max())
            gathered[pixel, mine] = shares @ v[:, mine] / shares.sum()
    out = gathered @ attention.out_proj.weight.detach().numpy().T + attention.out_proj.bias.detach().numpy()
    return out.T.reshape(channels, height, width)


@pytest.mark.parametrize("size", [(3, 5), (4, 1)])
def test_attention_is_added_to_the_convolution(size: tuple[int, int]) -> None:
    layer = AttentionConv(2, 6, heads=3)
    x = numbers(2, 2, *size)
    for image, found in zip(x, layer(x), strict=True):
        close(found, window(layer.conv, image) + ref_attention(layer, image))


def test_a_pixel_learns_of_the_farthest_and_through_a_convolution_alone_does_not() -> None:
    layer = AttentionConv(1, 4, heads=2)

    def reach(f: nn.Module) -> Tensor:
        x = numbers(1, 1, 9, 9).requires_grad_()
        f(x)[0, :, 0, 0].sum().backward()
        assert x.grad is not None
        return x.grad[0, 0]

    assert reach(layer).ne(0).all()
    assert reach(layer.conv)[2:].eq(0).all()


def test_every_place_of_a_map_has_numbers_of_its_own_and_its_row_has_half_of_them() -> None:
    places = make_position_grid(5, 7, 9, torch.device("cpu"))
    apart = torch.cdist(places, places) + torch.eye(35)
    assert apart.min() > 0.1
    by_row = places.unflatten(0, (5, 7))
    assert torch.equal(by_row[:, :1, :5].expand(-1, 7, -1), by_row[..., :5])
    assert torch.equal(by_row[:1, :, 5:].expand(5, -1, -1), by_row[..., 5:])


def test_without_places_attention_would_be_blind_to_where_pixels_stand() -> None:
    layer = AttentionConv(2, 8, heads=2)
    nn.init.zeros_(layer.conv.weight)
    x = numbers(1, 2, 4, 4)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))

    def moved(image: Tensor) -> Tensor:
        return image.flatten(2)[..., order].unflatten(2, (4, 4))

    assert not torch.allclose(layer(moved(x)), moved(layer(x)), atol=1e-3)
    with patch("trainer.models.vision.attention_convs.make_position_grid", lambda *_: torch.zeros(1)):
        torch.testing.assert_close(layer(moved(x)), moved(layer(x)), atol=1e-5, rtol=0)


def test_too_many_pixels_are_refused_and_another_plain_convolution_helps() -> None:
    with pytest.raises(ValueError, match=r"self-attention over 56 x 56 pixels; at most 1024 are allowed"):
        network("attention_cnn", 224, 224)
    big = network("attention_cnn", 224, 224, channels=[4, 4, 4, 4], plain=3)
    assert big(numbers(1, 1, 224, 224)).shape == (1, 10)
    with pytest.raises(ValueError, match="64 channels are not divisible by 5 heads"):
        network("attention_cnn", heads=5)


# Mixed kernels.


@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_mixing_kernels_is_mixing_what_they_give(rows: int, layout: torch.memory_format) -> None:
    layer = DynamicConv(3, 4, kernels=5, temperature=0.2).to(memory_format=layout)
    x = numbers(rows, 3, 6, 5).contiguous(memory_format=layout)
    shares = layer.compute_kernel_weights(x).detach().numpy()
    assert rows == 1 or np.ptp(shares, 0).max() > 0.05, "each image has its own"
    for image, mine, found in zip(x, shares, layer(x), strict=True):
        each = window(layer.conv, image).reshape(5, 4, 6, 5)
        close(found, np.einsum("k,kchw->chw", mine, each))


def test_a_batch_is_one_convolution() -> None:
    layer = DynamicConv(3, 4, kernels=5, temperature=1.0)
    with patch("trainer.models.vision.attention_convs.F.conv2d", wraps=F.conv2d) as called:
        layer(numbers(7, 3, 6, 5))
    assert called.call_count == 1
    assert called.call_args.kwargs["groups"] == 7


def test_heat_maps_share_one_color_scale() -> None:
    x = 9 * numbers(4, 3, 6, 5)
    hot, cold = (DynamicConv(3, 4, 5, temperature).compute_kernel_weights(x) for temperature in (1e4, 1e-4))
    torch.testing.assert_close(hot, torch.full((4, 5), 0.2), atol=1e-3, rtol=0)
    assert cold.amax(1).min() > 0.99


# All three.


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("size", [(28, 28), (13, 30), (1, 7)])
def test_any_size_and_an_image_does_not_depend_on_its_batch(name: str, size: tuple[int, int]) -> None:
    model = network(name, *size).eval()
    x = numbers(3, 1, *size)
    whole = model(x)
    assert whole.shape == (3, 10)
    torch.testing.assert_close(torch.cat([model(row[None]) for row in x]), whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", CLASSES)
def test_a_network_without_its_convolution_raises(name: str) -> None:
    with pytest.raises(ValueError, match=r"channels needs more than 3 entries, the number of plain convolutions"):
        network(name, plain=3)


@pytest.mark.parametrize("name", CLASSES)
def test_no_bias_precedes_a_norm(name: str) -> None:
    model = network(name, 8, 8, plain=0)
    F.cross_entropy(model(numbers(16, 1, 8, 8)), torch.arange(16) % 10).backward()
    biases = [layer.bias for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    assert min(float(bias.grad.abs().max()) for bias in biases) > 1e-5  # type: ignore[union-attr]
    behind = nn.Sequential(biased := nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    behind(numbers(16, 1, 8, 8)).square().sum().backward()
    assert biased.bias is not None
    assert biased.bias.grad is not None
    assert biased.bias.grad.abs().max() < 1e-4 * biased.weight.grad.abs().max()  # type: ignore[union-attr]


@pytest.mark.slow
@pytest.mark.parametrize("name", CLASSES)
def test_it_classifies_digits(name: str) -> None:
    small = ("model.channels=[8, 16, 32]", "data.size=12", "augment=none", "epochs=8", "optimizer.lr=1e-2")
    assert lab(f"model={name}", "data=digits", *small).test()["accuracy"] > 0.93
