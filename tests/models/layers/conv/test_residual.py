"""The residual trunk against another implementation with the same weights, and what it says of itself."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from torch import nn

from tests.helpers.image_nets import copy_in_order, count, shake_norms
from trainer.models.layers.conv.residual import ResidualBlock, ResNetTrunk


def small(**changes: Any) -> ResNetTrunk:
    """The source's small network, without its faults."""
    options = {"in_channels": 3, "block": "basic", "blocks": [2, 2], "widths": [64, 128], "stem": "imagenet"}
    return ResNetTrunk(**options | changes)


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize(
    ("block", "blocks", "widths"), [("basic", [2, 2, 2, 2], [64, 128, 256, 512]), ("bottleneck", [2, 1, 2], [4, 8, 6])]
)
@pytest.mark.slow
def test_it_matches_the_published_network(
    block: Literal["basic", "bottleneck"], blocks: list[int], widths: list[int], train: bool
) -> None:
    from transformers import ResNetConfig, ResNetModel

    outer = [width * 4 if block == "bottleneck" else width for width in widths]
    config = ResNetConfig(layer_type=block, depths=blocks, embedding_size=widths[0], hidden_sizes=outer)
    theirs = ResNetModel(config)
    ours = ResNetTrunk(3, block, blocks, widths, "imagenet")
    shake_norms(theirs)
    copy_in_order(theirs, ours)
    x = torch.randn(2, 3, 65, 50)
    with torch.no_grad():
        expected = theirs.train(train)(x).last_hidden_state
        found = ours.train(train)(x)
    torch.testing.assert_close(found / expected.std(), expected / expected.std(), atol=1e-5, rtol=0)
    after = zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True)
    assert all(torch.allclose(mine, other, atol=1e-5) for mine, other in after), "running statistics differ"


def test_counts() -> None:
    head = 128 * 10 + 10
    assert count(small()) + head == 684362
    assert count(small(stem_norm=False)) + head == 684298
    assert count(small(stem_norm=False, bias=True)) + head == 685194
    assert count(small(blocks=[2, 2, 2, 2], widths=[64, 128, 256, 512])) == 11176512


def test_no_bias_precedes_a_norm() -> None:
    def biases(model: ResNetTrunk) -> int:
        convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
        return sum(module.bias is not None for module in convolutions)

    assert biases(small()) == 0
    assert biases(small(stem_norm=False)) == 1
    assert biases(small(bias=True)) == 10


@pytest.mark.parametrize("size", [(1, 1), (28, 28), (33, 7)])
@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize(("stem", "stride"), [("imagenet", 8), ("small", 2)])
def test_every_image_fits_and_sides_are_rounded_up(size: tuple[int, int], block: str, stem: str, stride: int) -> None:
    model = small(block=block, widths=[4, 8], blocks=[1, 2], stem=stem).eval()
    height, width = (-(-side // stride) for side in size)
    assert model(torch.randn(2, 3, *size)).shape == (2, model.out_channels, height, width)


def test_a_block_with_a_zero_branch_is_the_identity() -> None:
    block = ResidualBlock("basic", 3, 3, 1, bias=False)
    nn.init.zeros_(block.branch[-1].weight)
    x = torch.randn(2, 3, 5, 6)
    assert torch.equal(block(x), x.relu())


def test_lists_that_do_not_match_are_refused() -> None:
    for blocks, widths in (([2, 2], [8]), ([], [])):
        with pytest.raises(ValueError, match=f"per stage; got {len(blocks)} and {len(widths)}"):
            small(blocks=blocks, widths=widths)
