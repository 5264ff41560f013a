"""A convolution and an LSTM: as no score can tell a map in order from a scrambled one, the order itself is tested."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.lab import configure
from trainer.models.vision.cnn_lstm import CNNLSTM


def network(height: int = 28, width: int = 28, **changes: Any) -> CNNLSTM:
    """The default of conf/model/cnn_lstm.yaml for one channel and ten classes, with changes."""
    options = configure("model=cnn_lstm")["model"]
    options.pop("_target_")
    return CNNLSTM(**options | {"in_channels": 1, "height": height, "width": width, "out_features": 10} | changes)


def coded(channels: int = 3, height: int = 4, width: int = 5) -> Tensor:
    """Maps (2, C, H, W) in which every number says where it stands: image, row, column, channel."""
    sides = torch.meshgrid(*(torch.arange(n) for n in (2, channels, height, width)), indexing="ij")
    image, channel, row, column = sides
    return (1000 * image + 100 * row + 10 * column + channel).float()


def as_read(order: str, x: Tensor) -> Tensor:
    return network(order=order).to_sequence(x)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_step_holds_all_channels_of_its_pixel_or_its_row(layout: torch.memory_format) -> None:
    x = coded().to(memory_format=layout)
    pixels, rows = as_read("pixels", x), as_read("rows", x)
    assert pixels.shape == (2, 20, 3)
    assert rows.shape == (2, 4, 15)
    for image in range(2):
        for t in range(20):
            row, column = divmod(t, 5)
            assert pixels[image, t].tolist() == [1000 * image + 100 * row + 10 * column + c for c in range(3)]
        for t in range(4):
            of_row = [1000 * image + 100 * t + 10 * column + c for c in range(3) for column in range(5)]
            assert rows[image, t].tolist() == of_row


def test_laying_the_same_numbers_out_anew_is_another_order() -> None:
    """The source's: a step is one channel of neighbouring pixels, and the channels come one after the other."""
    x = coded()
    scrambled = x.view(2, 4 * 5, 3)
    assert scrambled.shape == as_read("pixels", x).shape
    assert (scrambled == as_read("pixels", x)).all(-1).sum() == 0
    assert (scrambled[0, 0] % 10 == 0).all(), "channel 0 alone"
    with pytest.raises(RuntimeError, match="view"):
        x.to(memory_format=torch.channels_last).view(2, 4 * 5, 3)


@pytest.mark.parametrize("order", ["pixels", "rows"])
def test_the_layout_in_memory_changes_nothing(order: str) -> None:
    model = network(13, 9, order=order, in_channels=3)
    x = torch.randn(2, 3, 13, 9)
    torch.testing.assert_close(model(x.to(memory_format=torch.channels_last)), model(x))


@pytest.mark.parametrize("activation", ["none", "relu"])
def test_the_parameter_count_matches_the_source(activation: str) -> None:
    model = network(order="pixels", activation=activation)
    assert sum(parameter.numel() for parameter in model.parameters()) == 6890
    assert any(isinstance(layer, nn.ReLU) for layer in model.trunk) == (activation == "relu")


def first_row_share(**changes: Any) -> float:
    """How much of the gradient arrives at the image's first row, set against its last."""
    torch.manual_seed(0)
    model = network(**changes).double()
    x = torch.randn(8, 1, 28, 28, dtype=torch.float64, requires_grad=True)
    model(x).sum().backward()
    assert x.grad is not None
    return float(x.grad[:, :, 0].abs().mean() / x.grad[:, :, -1].abs().mean())


def test_the_gradient_reaches_the_first_row() -> None:
    """Over 196 pixels it fades unless the forget gate is open; over 14 rows it need not be."""
    closed, opened = (first_row_share(order="pixels", forget_bias=bias) for bias in (None, 3.0))
    assert 0 < closed < 1e-20
    assert opened > 0.1
    assert first_row_share(order="rows", forget_bias=None) > 1e-3


@pytest.mark.parametrize("size", [(2, 2), (7, 12), (30, 5)])
@pytest.mark.parametrize("order", ["pixels", "rows"])
def test_any_size_the_pool_leaves_something_of(order: str, size: tuple[int, int]) -> None:
    assert network(*size, order=order)(torch.randn(3, 1, *size)).shape == (3, 10)


def test_a_line_is_refused() -> None:
    with pytest.raises(ValueError, match="2 x 2 or more, not 1 x 28"):
        network(1, 28)
