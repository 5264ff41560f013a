"""Diffusion U-Net: image sizes, receptive field, conditioning on time and class, attention."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from trainer.models.generative.diffusion_unet import DiffusionUNet


def make_unet(**changes: object) -> DiffusionUNet:
    """Build a small U-Net whose output layer is not zero-initialized."""
    defaults = {"in_channels": 1, "widths": [8, 8], "blocks": 1, "heads": 2, "dropout": 0.0, "num_classes": None}
    model = DiffusionUNet(**defaults | changes)  # type: ignore[arg-type]
    nn.init.normal_(model.conv_out[-1].weight, std=0.1)
    return model.eval()


def test_untrained_unet_predicts_zero() -> None:
    model = DiffusionUNet(in_channels=3, widths=[8], blocks=1, heads=0, dropout=0.0, num_classes=None)
    assert not model(torch.randn(2, 3, 5, 5), torch.rand(2)).any()


@pytest.mark.parametrize("size", [(8, 8), (7, 7), (28, 28), (13, 11), (1, 5)])
@pytest.mark.parametrize("changes", [{"widths": [4]}, {"widths": [4, 6, 8], "blocks": 2, "in_channels": 3}])
def test_output_has_input_size(size: tuple[int, int], changes: dict[str, object]) -> None:
    model = make_unet(**changes)
    x = torch.randn(2, model.conv_in.in_channels, *size)
    assert model(x, torch.rand(2)).shape == x.shape


@pytest.mark.parametrize("heads", [0, 2])
def test_corner_of_odd_image_gets_gradient_and_output(heads: int) -> None:
    model = make_unet(heads=heads)
    x = torch.randn(1, 1, 13, 11, requires_grad=True)
    y = model(x, torch.rand(1))
    (grad,) = torch.autograd.grad(y[0, 0, -1, -1], x)
    assert grad[0, 0, -1, -1] != 0
    assert y[0, 0, -3:, -3:].std() > 0


def test_attention_connects_opposite_corners() -> None:
    """Norms connect all pixels too and are replaced by the identity; convolutions alone do not reach across."""

    def is_connected(heads: int) -> bool:
        model = make_unet(heads=heads)
        for layer in model.modules():
            if isinstance(layer, nn.GroupNorm):
                layer.forward = lambda h: h  # type: ignore[method-assign]
        x = torch.randn(1, 1, 64, 64, requires_grad=True)
        (grad,) = torch.autograd.grad(model(x, torch.rand(1))[0, 0, -1, -1], x)
        return bool(grad[0, 0, 0, 0] != 0)

    assert is_connected(2)
    assert not is_connected(0)


def test_time_and_class_reach_every_block() -> None:
    model = make_unet(num_classes=4, widths=[8, 8], blocks=2)
    spreads = []
    for name, layer in model.named_modules():
        if name.endswith("cond_proj"):
            layer.register_forward_hook(lambda *hook_args: spreads.append(hook_args[-1].std(0).max().item()))
    x = torch.randn(1, 1, 8, 8).expand(3, -1, -1, -1)
    y = model(x, torch.tensor([0.1, 0.9, 0.1]), torch.tensor([1, 1, 2]))
    assert len(spreads) == 2 * 2 + 2 + 2 * 2
    assert min(spreads) > 0
    assert min((y[0] - y[1]).abs().max(), (y[0] - y[2]).abs().max()) > 1e-4
    torch.testing.assert_close(model(x, torch.zeros(3)), model(x, torch.zeros(3), torch.full((3,), 4)))


def test_images_of_a_batch_are_independent() -> None:
    model, x, time = make_unet(), torch.randn(3, 1, 9, 9), torch.rand(3)
    torch.testing.assert_close(model(x, time)[1:2], model(x[1:2], time[1:2]), atol=1e-5, rtol=1e-5)


def test_dropout_applies_only_in_training() -> None:
    model, x, time = make_unet(dropout=0.5), torch.randn(1, 1, 8, 8), torch.rand(1)
    assert torch.equal(model(x, time), model(x, time))
    model.train()
    assert not torch.equal(model(x, time), model(x, time))


def test_skips_preserve_pixel_positions() -> None:
    """With all levels below the first zeroed, only the first skip remains."""
    model, x, time = make_unet(heads=0), torch.randn(1, 1, 8, 8), torch.rand(1)
    nn.init.zeros_(model.upsamplers[0].weight)
    assert not torch.allclose(model(x, time), model(x.flip(-1), time), atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"widths": []}, "widths needs at least one"), ({"heads": 3}, "3 does not divide the last of widths, 8")],
)
def test_invalid_options_raise(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_unet(**changes)
