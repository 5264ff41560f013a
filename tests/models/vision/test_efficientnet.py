"""EfficientNet against transformers, published parameter counts, and its parts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.helpers.image_nets import ODD, copy_in_order, network, published, shake_norms
from tests.helpers.lab import lab
from trainer.models.vision.efficientnet import MBConv, SqueezeExcite, make_divisible


def test_parameter_counts_match_the_paper() -> None:
    assert published("efficientnet", phi=0.0) == 5288548
    assert published("efficientnet", phi=1.0) == 9109994  # which is published as B2


def test_make_divisible_rounds_to_eight_within_ten_percent() -> None:
    assert [make_divisible(width) for width in (1, 17.6, 26.4, 44, 18.6, 123.2)] == [8, 16, 24, 48, 24, 120]


@pytest.mark.slow
@pytest.mark.parametrize("phi", [-12.0, -8.0])
def test_feature_maps_match_transformers(phi: float) -> None:
    from transformers import EfficientNetConfig, EfficientNetModel

    ours: Any = network("efficientnet", 70, 96, in_channels=3, phi=phi).eval()
    config = EfficientNetConfig(
        width_coefficient=1.1**phi,
        depth_coefficient=1.2**phi,
        hidden_dim=make_divisible(1280 * 1.1**phi),
        batch_norm_eps=1e-5,
        depthwise_padding=list(range(16)),  # all of them even on both sides, as everywhere in torch
    )
    theirs = EfficientNetModel(config).eval()
    theirs.embeddings.padding = nn.ZeroPad2d(1)
    shake_norms(theirs)
    copy_in_order(theirs, ours.stem, ours.blocks, ours.conv_head)
    x = torch.randn(2, 3, 70, 96)
    with torch.no_grad():
        expected = theirs(x).last_hidden_state
        found = ours.conv_head(ours.blocks(ours.stem(x)))
    assert found.shape[2:] == (3, 3)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_squeeze_excite_scales_whole_channels() -> None:
    layer = SqueezeExcite(4, 2)
    x = torch.randn(3, 4, 5, 6)
    ratio = (layer(x) / x).detach()
    assert torch.allclose(ratio, ratio.mean((2, 3), keepdim=True).expand_as(ratio), atol=1e-5)
    assert ((ratio > 0) & (ratio < 1)).all()
    # The weights depend on channel means only: flipping the input flips the output.
    torch.testing.assert_close(layer(x.flip(3)), layer(x).flip(3))


def test_stochastic_depth_drops_rows_and_keeps_mean() -> None:
    block = MBConv(4, 4, 2, 3, 1, drop=0.25)
    x = torch.randn(400, 4, 5, 5)
    with torch.no_grad():
        branch = block.train()(x) - x
        block.drop_path_rate = 0.0
        expected = block(x) - x
    dropped = (branch == 0).flatten(1).all(1)
    assert 0.15 < float(dropped.float().mean()) < 0.35
    torch.testing.assert_close(branch[~dropped], expected[~dropped] / 0.75, atol=1e-5, rtol=1e-5)
    block.drop_path_rate = 1.0
    assert torch.equal(block(x), x)
    assert not torch.equal(block.eval()(x), x)


def test_drop_path_rate_grows_with_depth() -> None:
    blocks: Any = network("efficientnet", phi=0.0, stochastic_depth=0.2).blocks
    rates = [block.drop_path_rate for block in blocks]
    assert rates == pytest.approx([0.2 * index / 16 for index in range(16)])


@pytest.mark.parametrize("size", ODD)
def test_any_image_fits(size: tuple[int, int]) -> None:
    assert network("efficientnet", *size)(torch.randn(2, 1, *size)).shape == (2, 10)


@pytest.mark.parametrize("phi", [-21.0, 1000.0])
def test_phi_out_of_range_raises(phi: float) -> None:
    with pytest.raises(ValueError, match="between -20 and 10"):
        network("efficientnet", phi=phi)


@pytest.mark.slow
def test_learns_digits() -> None:
    small = ("model.phi=-18", "data.size=8", "epochs=4", "batch_size=64", "optimizer.lr=1e-2")
    assert lab("model=efficientnet", "data=digits", *small).test()["accuracy"] > 0.7
