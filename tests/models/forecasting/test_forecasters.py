from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.helpers.lab import lab
from trainer.models.forecasting.forecasters import DLinear, GRUForecaster, PatchTransformer

OPTIONS: dict[str, Any] = {
    "in_features": 1,
    "seq_len": 48,
    "horizon": 12,
    "hidden_size": 32,
    "num_layers": 1,
    "dropout": 0.0,
    "segment": 1,
    "normalize": "none",
    "channel_independent": False,
}


def make_gru(**changes: Any) -> GRUForecaster:
    torch.manual_seed(0)
    return GRUForecaster(**{**OPTIONS, **changes}).eval()


def random_walk(rows: int, channels: int = 1, steps: int = 48) -> Tensor:
    return torch.randn(rows, steps, channels, generator=torch.Generator().manual_seed(0)).cumsum(1)


def test_gru_forecaster_parameter_count() -> None:
    assert sum(p.numel() for p in make_gru().parameters()) == 3756


@pytest.mark.parametrize("channel_independent", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("segment", [1, 12, 20])
def test_gru_forecaster_output_shape(num_layers: int, segment: int, channel_independent: bool) -> None:
    model = make_gru(in_features=5, num_layers=num_layers, segment=segment, channel_independent=channel_independent)
    assert model(random_walk(2, 5)).shape == (2, 12, 5)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def test_two_layer_gru_matches_numpy_reference() -> None:
    model = make_gru(num_layers=2, in_features=2).double()
    weight = {name: value.detach().numpy() for name, value in model.named_parameters()}
    x = random_walk(3, 2).double()
    steps = x.numpy()
    for layer in (0, 1):
        h, outputs = np.zeros((3, 32)), []
        for t in range(48):
            input_gates = steps[:, t] @ weight[f"gru.weight_ih_l{layer}"].T + weight[f"gru.bias_ih_l{layer}"]
            hidden_gates = h @ weight[f"gru.weight_hh_l{layer}"].T + weight[f"gru.bias_hh_l{layer}"]
            (r_in, z_in, n_in), (r_h, z_h, n_h) = np.split(input_gates, 3, 1), np.split(hidden_gates, 3, 1)
            z = sigmoid(z_in + z_h)
            h = (1 - z) * np.tanh(n_in + sigmoid(r_in + r_h) * n_h) + z * h
            outputs.append(h)
        steps = np.stack(outputs, 1)
    y = (h @ weight["head.weight"].T + weight["head.bias"]).reshape(3, 12, 2)
    assert np.allclose(model(x).detach().numpy(), y, atol=1e-10)


def make_patch_transformer(**changes: Any) -> PatchTransformer:
    torch.manual_seed(0)
    sizes = {"seq_len": 48, "horizon": 12, "patch": 16, "stride": 8, "width": 8, "heads": 2, "layers": 2, "hidden": 16}
    blocks = {"activation": "gelu", "norm": "pre", "positions": "learned", "attention": "full", "attention_size": 4}
    return PatchTransformer(**{**sizes, **blocks, "dropout": 0.0, "normalize": "none", **changes}).eval()


MODELS = {
    "patch_transformer": lambda normalize: make_patch_transformer(normalize=normalize),
    "gru": lambda normalize: make_gru(in_features=3, normalize=normalize, segment=12),
    "gru_channel_independent": lambda normalize: make_gru(in_features=3, normalize=normalize, channel_independent=True),
    "dlinear": lambda normalize: DLinear(seq_len=48, horizon=12, moving_average=25, normalize=normalize),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("horizon", [1, 12, 50])
@pytest.mark.parametrize("history", [16, 17, 23, 24, 48, 97])
def test_output_shape_and_gradient_of_last_step(history: int, horizon: int, channels: int) -> None:
    sizes = {"seq_len": history, "horizon": horizon}
    models = [
        *(
            make_gru(in_features=channels, segment=7, channel_independent=independent, **sizes)
            for independent in (True, False)
        ),
        DLinear(moving_average=25, normalize="last", **sizes),
        make_patch_transformer(**sizes),
        make_patch_transformer(**sizes, stride=16),
        make_patch_transformer(**sizes, patch=5, stride=7),
    ]
    x = random_walk(2, channels, history).requires_grad_()
    for model in models:
        y = model(x)
        assert y.shape == (2, horizon, channels)
        (grad,) = torch.autograd.grad(y.sum(), x)
        assert (grad[:, -1] != 0).all(), "the last step is always read"


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("normalize", ["last", "standard"])
def test_normalized_forecast_is_shift_equivariant(name: str, normalize: str) -> None:
    model = MODELS[name](normalize).double()
    x, shift = random_walk(4, 3).double(), torch.tensor([100.0, -7.0, 0.0]).double()
    assert torch.allclose(model(x + shift), model(x) + shift, atol=1e-9)


def test_unnormalized_forecast_is_not_shift_equivariant() -> None:
    model = make_gru(in_features=3)
    x = random_walk(4, 3)
    assert (model(x + 100) - model(x) - 100).abs().min() > 90


def test_standard_normalization_is_scale_equivariant() -> None:
    x = random_walk(4, 3).double()
    models_by_normalization = {name: MODELS["gru"](name).double() for name in ("standard", "last")}
    assert torch.allclose(
        models_by_normalization["standard"](x * 1000), models_by_normalization["standard"](x) * 1000, rtol=1e-3
    )
    assert not torch.allclose(
        models_by_normalization["last"](x * 1000), models_by_normalization["last"](x) * 1000, rtol=1e-1
    )


def test_constant_window_gives_finite_forecast() -> None:
    assert make_gru(normalize="standard")(torch.full((2, 48, 1), 5.0)).isfinite().all()


def test_independent_channels_do_not_interact() -> None:
    x = random_walk(2, 3)
    changed = x.clone()
    changed[:, :, 0] += torch.randn(2, 48)
    independent, joint = make_gru(in_features=3, channel_independent=True), make_gru(in_features=3)
    assert torch.equal(independent(x)[..., 1:], independent(changed)[..., 1:])
    assert not torch.allclose(independent(x)[..., 0], independent(changed)[..., 0])
    assert not torch.allclose(joint(x)[..., 1:], joint(changed)[..., 1:])
    per_channel = torch.cat([independent(x[..., [c]]) for c in range(3)], dim=-1)
    assert torch.allclose(independent(x), per_channel, atol=1e-6), "each channel alone gives the same"


def test_split_segments_drops_oldest_steps_and_keeps_order() -> None:
    x = torch.arange(10.0)[None, :, None] + torch.tensor([0.0, 0.5])
    segments = make_gru(in_features=2, segment=4)._split_segments(x)
    assert segments.tolist() == [[[2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5], [6, 6.5, 7, 7.5, 8, 8.5, 9, 9.5]]]


def test_segment_longer_than_history_raises() -> None:
    with pytest.raises(ValueError, match=r"segment: 49 steps do not fit a history of 48"):
        make_gru(segment=49)


def test_split_patches_end_at_last_step_and_drop_remainder() -> None:
    steps = torch.arange(11.0)[None]
    assert make_patch_transformer(seq_len=11, patch=4, stride=3)._split_patches(steps).tolist() == [
        [[1, 2, 3, 4], [4, 5, 6, 7], [7, 8, 9, 10]]
    ]
    assert make_patch_transformer(seq_len=11, patch=4, stride=4)._split_patches(steps).tolist() == [
        [[3, 4, 5, 6], [7, 8, 9, 10]]
    ]
    assert make_patch_transformer(seq_len=4, patch=4, stride=3)._split_patches(steps[:, :4]).tolist() == [
        [[0, 1, 2, 3]]
    ]


def test_patch_transformer_matches_numpy_reference() -> None:
    model = make_patch_transformer(stride=16, normalize="last").double()
    w = {name: value.detach().numpy() for name, value in model.named_parameters()}
    x = random_walk(2, 3).double()
    expected = np.empty((2, 12, 3))
    for row in range(2):
        for channel in range(3):
            s = x[row, :, channel].numpy()
            patches_of_series = np.stack([s[i : i + 16] - s[-1] for i in (0, 16, 32)])
            steps, _ = model.encoder(torch.from_numpy(patches_of_series @ w["embed.weight"].T + w["embed.bias"])[None])
            flattened = np.concatenate(list(steps[0].detach().numpy()))
            expected[row, :, channel] = w["head.weight"] @ flattened + w["head.bias"] + s[-1]
    assert np.allclose(model(x).detach().numpy(), expected, atol=1e-10)


def test_positional_encoding_distinguishes_patch_order() -> None:
    model = make_patch_transformer(stride=16).double()
    x = random_walk(1).double()
    swapped = torch.cat((x[:, 16:32], x[:, :16], x[:, 32:]), 1)

    def encode(x: Tensor) -> Tensor:
        steps, _ = model.encoder(model.embed(x.view(1, 3, 16)))
        return steps.sum(1)

    assert not torch.allclose(encode(x), encode(swapped))
    table = dict(model.named_parameters())["encoder.positional_encoding.embedding"]
    torch.nn.init.zeros_(table)
    torch.testing.assert_close(encode(x), encode(swapped))


def test_patch_longer_than_history_raises() -> None:
    with pytest.raises(ValueError, match=r"patch: 49 steps do not fit a history of 48"):
        make_patch_transformer(patch=49)


def test_dlinear_matches_numpy_reference() -> None:
    torch.manual_seed(0)
    model = DLinear(seq_len=48, horizon=12, moving_average=5, normalize="none").double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    x = random_walk(2, 3).double()
    series = x.numpy()
    expected = np.empty((2, 12, 3))
    for row in range(2):
        for channel in range(3):
            s = series[row, :, channel]
            smooth = np.convolve(np.pad(s, 2, mode="edge"), np.ones(5) / 5, mode="valid")
            trend, seasonal = (layer.weight.detach().numpy() for layer in (model.trend, model.seasonal))
            expected[row, :, channel] = trend @ smooth + seasonal @ (s - smooth)
            expected[row, :, channel] += (model.trend.bias + model.seasonal.bias).detach().numpy()
    assert np.allclose(model(x).detach().numpy(), expected, atol=1e-10)


@pytest.mark.parametrize("moving_average", [1, 4, 25, 100])
def test_dlinear_supports_any_moving_average(moving_average: int) -> None:
    model = DLinear(seq_len=48, horizon=12, moving_average=moving_average, normalize="last")
    assert model(random_walk(2, 3)).shape == (2, 12, 3)
    assert torch.allclose(model(torch.full((1, 48, 1), 3.0)), torch.tensor(3.0), atol=0.5)


@pytest.mark.parametrize("overrides", ["model=gru_forecaster", "model=dlinear", "model=patch_transformer epochs=8"])
@pytest.mark.slow
def test_sine_trend_mse_is_below_gate(overrides: str) -> None:
    assert lab(*overrides.split(), "data=sine_trend").test()["mse"] < 0.02


@pytest.mark.slow
def test_gru_reading_one_step_misses_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    original_forward = GRUForecaster.forward
    monkeypatch.setattr(GRUForecaster, "forward", lambda self, x: original_forward(self, x[:, -1:]))
    assert lab("model=gru_forecaster", "data=sine_trend", "model.segment=1", "epochs=5").test()["mse"] > 0.1


@pytest.mark.slow
def test_patch_transformer_reading_one_patch_misses_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    original_forward = PatchTransformer.forward
    monkeypatch.setattr(PatchTransformer, "forward", lambda self, x: original_forward(self, x[:, -16:].repeat(1, 3, 1)))
    assert lab("model=patch_transformer", "data=sine_trend", "epochs=4").test()["mse"] > 0.04
