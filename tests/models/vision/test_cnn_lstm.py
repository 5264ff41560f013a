"""CNN-LSTM. No score can tell an ordered feature map from a scrambled one, so the order itself is tested."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.lab import configure
from trainer.models.vision.cnn_lstm import CNNLSTM


def make_model(height: int = 28, width: int = 28, **changes: Any) -> CNNLSTM:
    """Build the default of conf/model/cnn_lstm.yaml for one channel and ten classes, with changes."""
    options = configure("model=cnn_lstm")["model"]
    options.pop("_target_")
    return CNNLSTM(**options | {"in_channels": 1, "height": height, "width": width, "out_features": 10} | changes)


def make_coded_maps(channels: int = 3, height: int = 4, width: int = 5) -> Tensor:
    """Return maps (2, C, H, W) whose values encode image, row, column and channel."""
    sides = torch.meshgrid(*(torch.arange(n) for n in (2, channels, height, width)), indexing="ij")
    image, channel, row, column = sides
    return (1000 * image + 100 * row + 10 * column + channel).float()


def to_sequence(order: str, x: Tensor) -> Tensor:
    return make_model(order=order).to_sequence(x)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_step_contains_all_channels_of_pixel_or_row(layout: torch.memory_format) -> None:
    x = make_coded_maps().to(memory_format=layout)
    pixels, rows = to_sequence("pixels", x), to_sequence("rows", x)
    assert pixels.shape == (2, 20, 3)
    assert rows.shape == (2, 4, 15)
    for image in range(2):
        for t in range(20):
            row, column = divmod(t, 5)
            assert pixels[image, t].tolist() == [1000 * image + 100 * row + 10 * column + c for c in range(3)]
        for t in range(4):
            expected_row = [1000 * image + 100 * t + 10 * column + c for c in range(3) for column in range(5)]
            assert rows[image, t].tolist() == expected_row


def test_plain_view_scrambles_pixels_and_channels() -> None:
    """A plain view makes each step from one channel of neighboring pixels."""
    x = make_coded_maps()
    scrambled = x.view(2, 4 * 5, 3)
    assert scrambled.shape == to_sequence("pixels", x).shape
    assert (scrambled == to_sequence("pixels", x)).all(-1).sum() == 0
    assert (scrambled[0, 0] % 10 == 0).all(), "channel 0 alone"
    with pytest.raises(RuntimeError, match="view"):
        x.to(memory_format=torch.channels_last).view(2, 4 * 5, 3)


@pytest.mark.parametrize("order", ["pixels", "rows"])
def test_memory_format_does_not_change_output(order: str) -> None:
    model = make_model(13, 9, order=order, in_channels=3)
    x = torch.randn(2, 3, 13, 9)
    torch.testing.assert_close(model(x.to(memory_format=torch.channels_last)), model(x))


@pytest.mark.parametrize("activation", ["none", "relu"])
def test_parameter_count_matches_reference(activation: str) -> None:
    model = make_model(order="pixels", activation=activation)
    assert sum(parameter.numel() for parameter in model.parameters()) == 6890
    assert any(isinstance(layer, nn.ReLU) for layer in model.trunk) == (activation == "relu")


def first_row_gradient_ratio(**changes: Any) -> float:
    """Return the gradient at the first image row relative to the last."""
    torch.manual_seed(0)
    model = make_model(**changes).double()
    x = torch.randn(8, 1, 28, 28, dtype=torch.float64, requires_grad=True)
    model(x).sum().backward()
    assert x.grad is not None
    return float(x.grad[:, :, 0].abs().mean() / x.grad[:, :, -1].abs().mean())


def test_gradient_reaches_first_row_with_open_forget_gate() -> None:
    """Over 196 pixels it vanishes unless the forget gate is open; over 14 rows it does not."""
    default_gate, open_gate = (first_row_gradient_ratio(order="pixels", forget_bias=bias) for bias in (None, 3.0))
    assert 0 < default_gate < 1e-20
    assert open_gate > 0.1
    assert first_row_gradient_ratio(order="rows", forget_bias=None) > 1e-3


@pytest.mark.parametrize("size", [(2, 2), (7, 12), (30, 5)])
@pytest.mark.parametrize("order", ["pixels", "rows"])
def test_any_image_size(order: str, size: tuple[int, int]) -> None:
    assert make_model(*size, order=order)(torch.randn(3, 1, *size)).shape == (3, 10)


def test_one_pixel_high_image_raises() -> None:
    with pytest.raises(ValueError, match="2 x 2 or more, not 1 x 28"):
        make_model(1, 28)
