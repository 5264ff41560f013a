"""ResNet: published parameter counts, logits against transformers, training."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.helpers.image_nets import ODD, copy_in_order, count, network, published, shake_norms
from tests.helpers.lab import lab


@pytest.mark.parametrize(
    ("depth", "parameters"),
    [(10, 5418792), (18, 11689512), (34, 21797672), (50, 25557032), (101, 44549160), (152, 60192808)],
)
def test_parameter_counts_match_the_paper(depth: int, parameters: int) -> None:
    assert published("resnet", depth=depth, width_multiplier=1.0, stem="imagenet") == parameters


def test_block_and_depth_overrides_match_published_counts() -> None:
    full = {"width_multiplier": 1.0, "stem": "imagenet"}
    assert published("resnet", depth=34, block="bottleneck", **full) == published("resnet", depth=50, **full)
    assert published("resnet", depth=[3, 4, 6, 3], **full) == published("resnet", depth=34, **full)


@pytest.mark.parametrize(
    ("options", "parameters"),
    [
        ({"stem_norm": True, "bias": False}, 684362),
        ({"stem_norm": False, "bias": False}, 684298),
        ({"stem_norm": False, "bias": True}, 685194),
    ],
)
def test_parameter_counts_of_small_network(options: dict[str, Any], parameters: int) -> None:
    model = network("resnet", in_channels=3, depth=[2, 2], width_multiplier=1.0, stem="imagenet", **options)
    assert count(model) == parameters


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize(("depth", "kind"), [(18, "basic"), (50, "bottleneck")])
def test_logits_match_transformers(depth: int, kind: str, train: bool) -> None:
    from transformers import ResNetConfig, ResNetForImageClassification

    ours = network("resnet", in_channels=3, depth=depth, width_multiplier=0.125, stem="imagenet")
    blocks = {18: [2, 2, 2, 2], 50: [3, 4, 6, 3]}[depth]
    widths = [width * (4 if kind == "bottleneck" else 1) for width in (8, 16, 32, 64)]
    config = ResNetConfig(layer_type=kind, depths=blocks, embedding_size=8, hidden_sizes=widths, num_labels=10)
    theirs = ResNetForImageClassification(config)
    shake_norms(theirs)
    copy_in_order(theirs, ours)
    x = torch.randn(4, 3, 63, 50)
    with torch.no_grad():
        expected = theirs.train(train)(x).logits
        found = ours.train(train)(x)
    torch.testing.assert_close(found, expected, atol=1e-5 * float(expected.abs().max()), rtol=0)


@pytest.mark.parametrize("size", ODD)
@pytest.mark.parametrize("stem", ["small", "imagenet"])
def test_any_image_fits(size: tuple[int, int], stem: str) -> None:
    assert network("resnet", stem=stem)(torch.randn(2, 1, *size)).shape == (2, 10)


def test_empty_depth_raises() -> None:
    with pytest.raises(ValueError, match="depth needs at least one entry"):
        network("resnet", depth=[])


@pytest.mark.slow
def test_learns_gratings() -> None:
    small = ("model.depth=[1,1]", "model.width_multiplier=0.125")
    scores = lab("model=resnet", *small, "data=gratings", "data.size=12", "data.rows=2000", "optimizer.lr=1e-2").test()
    assert scores["accuracy"] > 0.9
