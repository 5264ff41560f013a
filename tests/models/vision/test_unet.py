"""U-Net: parameter count, image sizes, skip connections, one pass per block."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.helpers.lab import configure
from trainer.models.vision.unet import UNet


def make_unet(**changes: object) -> UNet:
    """Build the default of conf/model/unet.yaml for one channel and eleven classes, with changes."""
    options = configure("model=unet")["model"]
    options.pop("_target_")
    return UNet(**options | {"in_channels": 1, "out_features": 11} | changes)


def test_parameter_count_with_and_without_biases() -> None:
    def count(model: UNet) -> int:
        return sum(parameter.numel() for parameter in model.parameters())

    assert count(make_unet(bias=True)) == 252875
    assert count(make_unet(bias=True, skips=False)) == 252875
    assert count(make_unet()) == 252875 - (64 + 128 + 64 + 32 + 32)


@pytest.mark.parametrize("size", [(28, 28), (62, 65), (1, 7)])
@pytest.mark.parametrize("widths", [[4], [5, 8], [4, 4, 6, 8]])
def test_any_size_and_depth(size: tuple[int, int], widths: list[int]) -> None:
    assert make_unet(widths=widths)(torch.randn(2, 1, *size)).shape == (2, 11, *size)


def test_last_pixel_of_odd_image_gets_gradient_and_output() -> None:
    model = make_unet(widths=[4, 6]).eval()
    x = torch.randn(16, 1, 13, 11, requires_grad=True)  # in any one of them all units on the way may be off
    y = model(x)
    y[:, :, -1, -1].sum().backward()
    assert x.grad is not None
    assert x.grad[:, 0, -1, -1].any()
    assert y.std(dim=(2, 3)).min() > 0


def test_each_block_runs_once() -> None:
    model = make_unet(widths=[4, 6])
    model(torch.randn(2, 1, 16, 16))
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert len(norms) == 5
    assert all(layer.num_batches_tracked == 1 for layer in norms)


def test_skips_bypass_lower_levels() -> None:
    """With the lower levels zeroed, the input reaches the output only through the first skip."""
    torch.manual_seed(0)
    x = torch.randn(1, 1, 16, 16)
    with_skips, without_skips = make_unet(widths=[4, 6]).eval(), make_unet(widths=[4, 6], skips=False).eval()
    without_skips.load_state_dict(with_skips.state_dict())
    assert with_skips(x).shape == without_skips(x).shape
    assert not torch.allclose(with_skips(x), without_skips(x), atol=1e-3)

    for model, has_skips in ((with_skips, True), (without_skips, False)):
        # With the encoder below the first block zeroed, only the first skip is left.
        nn.init.zeros_(model.down_blocks[1][0].weight)
        assert torch.allclose(model(x), model(2 * x), atol=1e-6) is not has_skips


def test_empty_widths_raise() -> None:
    with pytest.raises(ValueError, match="widths needs at least one entry"):
        make_unet(widths=[])
