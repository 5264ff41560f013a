"""Residual trunk against transformers with the same weights, and its parameter counts."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from torch import nn

from tests.helpers.image_nets import copy_in_order, count, shake_norms
from trainer.models.layers.conv.residual import ResidualBlock, ResNetTrunk


def make_trunk(**changes: Any) -> ResNetTrunk:
    """Build a small trunk of two stages."""
    options = {"in_channels": 3, "block": "basic", "blocks": [2, 2], "widths": [64, 128], "stem": "imagenet"}
    return ResNetTrunk(**options | changes)


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize(
    ("block", "blocks", "widths"), [("basic", [2, 2, 2, 2], [64, 128, 256, 512]), ("bottleneck", [2, 1, 2], [4, 8, 6])]
)
@pytest.mark.slow
def test_matches_transformers_resnet(
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
    states = zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True)
    assert all(torch.allclose(mine, other, atol=1e-5) for mine, other in states), "running statistics differ"


def test_parameter_counts() -> None:
    head = 128 * 10 + 10
    assert count(make_trunk()) + head == 684362
    assert count(make_trunk(stem_norm=False)) + head == 684298
    assert count(make_trunk(stem_norm=False, bias=True)) + head == 685194
    assert count(make_trunk(blocks=[2, 2, 2, 2], widths=[64, 128, 256, 512])) == 11176512


def test_no_bias_precedes_a_norm() -> None:
    def count_biases(model: ResNetTrunk) -> int:
        convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
        return sum(module.bias is not None for module in convolutions)

    assert count_biases(make_trunk()) == 0
    assert count_biases(make_trunk(stem_norm=False)) == 1
    assert count_biases(make_trunk(bias=True)) == 10


@pytest.mark.parametrize("size", [(1, 1), (28, 28), (33, 7)])
@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize(("stem", "stride"), [("imagenet", 8), ("small", 2)])
def test_output_size_is_rounded_up(size: tuple[int, int], block: str, stem: str, stride: int) -> None:
    model = make_trunk(block=block, widths=[4, 8], blocks=[1, 2], stem=stem).eval()
    height, width = (-(-side // stride) for side in size)
    assert model(torch.randn(2, 3, *size)).shape == (2, model.out_channels, height, width)


def test_block_with_zero_branch_is_identity() -> None:
    block = ResidualBlock("basic", 3, 3, 1, bias=False)
    nn.init.zeros_(block.branch[-1].weight)
    x = torch.randn(2, 3, 5, 6)
    assert torch.equal(block(x), x.relu())


def test_mismatched_stage_lists_raise() -> None:
    for blocks, widths in (([2, 2], [8]), ([], [])):
        with pytest.raises(ValueError, match=f"per stage; got {len(blocks)} and {len(widths)}"):
            make_trunk(blocks=blocks, widths=widths)
