"""Convolutional LSTM against numpy and torch's LSTM, and its use of frame order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.helpers.lab import configure, lab
from tests.helpers.reference_convs import ref_conv2d
from trainer.models.vision.conv_lstm import ConvLSTM, ConvLSTMLayer


def make_model(**changes: Any) -> ConvLSTM:
    """Build the default of conf/model/conv_lstm.yaml for two channels and three classes, with changes."""
    options = configure("model=conv_lstm")["model"]
    options.pop("_target_")
    return ConvLSTM(**options | {"in_channels": 2, "out_features": 3} | changes)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def ref_conv_lstm(x: np.ndarray, w: np.ndarray, u: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return states (T, D, H, W) of frames x (T, C, H, W); gates are in the order input, forget, new, output."""
    size, padding = u.shape[1], w.shape[-1] // 2
    state = memory = np.zeros((size, *x.shape[2:]))
    states = []
    for frame in x:
        gates = ref_conv2d(frame, w, b, 1, padding, 1) + ref_conv2d(state, u, np.zeros(len(b)), 1, padding, 1)
        i, f, g, o = (gates[n * size : (n + 1) * size] for n in range(4))
        memory = sigmoid(f) * memory + sigmoid(i) * np.tanh(g)
        state = sigmoid(o) * np.tanh(memory)
        states.append(state)
    return np.stack(states)


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_layer_matches_reference(kernel: int) -> None:
    layer = ConvLSTMLayer(2, 3, kernel)
    x = torch.randn(2, 4, 2, 5, 3)
    assert layer.input_conv.bias is not None
    weights = [
        part.detach().numpy() for part in (layer.input_conv.weight, layer.hidden_conv.weight, layer.input_conv.bias)
    ]
    expected = np.stack([ref_conv_lstm(row.numpy(), *weights) for row in x])
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, atol=1e-5)


def test_single_pixel_maps_match_torch_lstm() -> None:
    layer, lstm = ConvLSTMLayer(2, 3, 3), nn.LSTM(2, 3, batch_first=True)
    with torch.no_grad():
        lstm.weight_ih_l0.copy_(layer.input_conv.weight[..., 1, 1])
        lstm.weight_hh_l0.copy_(layer.hidden_conv.weight[..., 1, 1])
        assert layer.input_conv.bias is not None
        lstm.bias_ih_l0.copy_(layer.input_conv.bias)
        lstm.bias_hh_l0.zero_()
    x = torch.randn(4, 6, 2)
    torch.testing.assert_close(layer(x[..., None, None])[..., 0, 0], lstm(x)[0], atol=1e-5, rtol=0)


def test_receptive_field_grows_one_pixel_per_step() -> None:
    """The state is a feature map; a vector could not represent the position."""
    layer = ConvLSTMLayer(1, 2, 3)
    x = torch.zeros(1, 4, 1, 9, 9)
    impulse = x.clone()
    impulse[:, 0, :, 4, 4] = 1
    changed = (layer(impulse) - layer(x))[0].abs().sum(1)
    for step in range(4):
        rows, columns = changed[step].nonzero().unbind(1)
        assert (rows.min(), rows.max()) == (columns.min(), columns.max()) == (4 - step - 1, 4 + step + 1)


@pytest.mark.parametrize("shape", [(1, 2, 1, 1), (6, 2, 7, 12), (3, 2, 16, 5)])
@pytest.mark.parametrize("channels", [[4], [3, 5]])
def test_any_number_of_frames_and_image_size(shape: tuple[int, ...], channels: list[int]) -> None:
    assert make_model(channels=channels)(torch.randn(4, *shape)).shape == (4, 3)


def test_invalid_options_raise() -> None:
    with pytest.raises(ValueError, match="kernel must be odd, such as 3 or 5; got 4"):
        make_model(kernel=4)
    with pytest.raises(ValueError, match="at least one entry"):
        make_model(channels=[])


def shuffle_frames(x: Tensor) -> Tensor:
    """Permute the frames of each row independently."""
    order = torch.rand(x.shape[:2], generator=torch.Generator().manual_seed(0)).argsort(1)
    return x[torch.arange(len(x))[:, None], order]


@pytest.mark.slow
def test_classifies_direction_by_frame_order() -> None:
    small = ("data.size=8", "data.directions=4", "data.rows=1000", "data.frames=4", "data.radius=1.0")
    run = lab("model=conv_lstm", "model.channels=[8]", "data=moving_blob", *small, "optimizer.lr=3e-2", "epochs=6")
    assert run.test()["accuracy"] > 0.93
    split = run.data.test
    x, y = split.batch(torch.arange(len(split)), 0).inputs["x"], split.get_targets()
    with torch.no_grad():
        for control in (shuffle_frames(x), x[:, :1], x[:, -1:].expand_as(x)):
            accuracy = (run.task.model.eval()(control).argmax(1) == y).float().mean()
            assert accuracy < 0.7, "without frame order the direction is unknown"
