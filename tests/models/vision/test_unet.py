"""The U-Net: its count, every size of picture, what the skips carry, and one pass a block."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.helpers.lab import configure
from trainer.models.vision.unet import UNet


def network(**changes: object) -> UNet:
    """The default of conf/model/unet.yaml for one channel and eleven classes, with changes."""
    options = configure("model=unet")["model"]
    options.pop("_target_")
    return UNet(**options | {"in_channels": 1, "out_features": 11} | changes)


def test_the_parameter_count_matches_the_source_with_unused_biases() -> None:
    def count(model: UNet) -> int:
        return sum(parameter.numel() for parameter in model.parameters())

    assert count(network(bias=True)) == 252875
    assert count(network(bias=True, skips=False)) == 252875
    assert count(network()) == 252875 - (64 + 128 + 64 + 32 + 32)


@pytest.mark.parametrize("size", [(28, 28), (62, 65), (1, 7)])
@pytest.mark.parametrize("widths", [[4], [5, 8], [4, 4, 6, 8]])
def test_any_size_and_depth(size: tuple[int, int], widths: list[int]) -> None:
    assert network(widths=widths)(torch.randn(2, 1, *size)).shape == (2, 11, *size)


def test_every_pixel_of_an_odd_image_is_seen_and_drawn() -> None:
    model = network(widths=[4, 6]).eval()
    x = torch.randn(16, 1, 13, 11, requires_grad=True)  # in any one of them all units on the way may be off
    y = model(x)
    y[:, :, -1, -1].sum().backward()
    assert x.grad is not None
    assert x.grad[:, 0, -1, -1].any()
    assert y.std(dim=(2, 3)).min() > 0


def test_each_block_runs_once() -> None:
    model = network(widths=[4, 6])
    model(torch.randn(2, 1, 16, 16))
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert len(norms) == 5
    assert all(layer.num_batches_tracked == 1 for layer in norms)


def test_skips_carry_what_pooling_loses() -> None:
    """Moving a dot within its 2x2 window is lost by the pools, so that only skips can tell where it was."""
    torch.manual_seed(0)
    x = torch.randn(1, 1, 16, 16)
    full, cut = network(widths=[4, 6]).eval(), network(widths=[4, 6], skips=False).eval()
    cut.load_state_dict(full.state_dict())
    assert full(x).shape == cut(x).shape
    assert not torch.allclose(full(x), cut(x), atol=1e-3)

    for model, reaches in ((full, True), (cut, False)):
        # With the way down below the first block silenced, only the first skip is left.
        nn.init.zeros_(model.down_blocks[1][0].weight)
        assert torch.allclose(model(x), model(2 * x), atol=1e-6) is not reaches


def test_no_widths_is_refused() -> None:
    with pytest.raises(ValueError, match="widths needs at least one entry"):
        network(widths=[])
