"""Vision transformers against Hugging Face transformers with the same weights, and published parameter counts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.lab import configure, lab
from trainer.models.layers.conv.residual import ResNetTrunk
from trainer.models.vision.vit import HybridCNNTransformer, ViT

CLASSES: dict[str, type[nn.Module]] = {
    "vit_tiny": ViT,
    "vit_b16": ViT,
    "hybrid_cnn_transformer": HybridCNNTransformer,
}


def make_network(name: str, height: int = 28, width: int = 28, **changes: Any) -> Any:
    """Build the default of conf/model for one channel and ten classes, with changes."""
    options = configure(f"model={name}")["model"]
    options.pop("_target_")
    sizes = {"in_channels": 1, "height": height, "width": width, "out_features": 10}
    return CLASSES[name](**options | sizes | changes).eval()


def count_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def copy_weights(theirs: nn.Module, ours: ViT) -> None:
    """Copy the weights of ``ours`` into a classifier of transformers."""
    state = {
        "vit.embeddings.cls_token": ours.class_token,
        "vit.embeddings.position_embeddings": ours.encoder.positional_encoding.embedding[None],
    }
    pairs: dict[str, nn.Module] = {
        "vit.embeddings.patch_embeddings.projection": ours.embed,
        "vit.layernorm": ours.encoder.norm,
        "classifier": ours.head,
    }
    for n, block in enumerate(ours.encoder.blocks):
        layer = f"vit.layers.{n}"
        pairs |= {f"{layer}.layernorm_before": block.norms[0], f"{layer}.layernorm_after": block.norms[1]}
        pairs |= {f"{layer}.mlp.fc1": block.feedforward[0], f"{layer}.mlp.fc2": block.feedforward[2]}
        pairs |= {f"{layer}.attention.o_proj": block.attention.out_proj}
        for kind in ("weight", "bias"):
            parts = getattr(block.attention.in_proj, kind).chunk(3)
            state |= {f"{layer}.attention.{q}_proj.{kind}": part for q, part in zip("qkv", parts, strict=True)}
    state |= {f"{name}.{kind}": getattr(part, kind) for name, part in pairs.items() for kind in ("weight", "bias")}
    theirs.load_state_dict(state)


def randomize(model: nn.Module) -> Any:
    """Initialize every parameter with noise, as a zero bias would hide a missing one."""
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("patch", [4, 2])
def test_vit_matches_transformers(patch: int) -> None:
    from transformers import ViTConfig, ViTForImageClassification

    ours = randomize(make_network("vit_tiny", 8, 12, in_channels=3, patch=patch, embed_size=16, layers=2, hidden=24))
    config = ViTConfig(
        **{"image_size": (8, 12), "patch_size": patch, "num_channels": 3, "num_labels": 10, "hidden_size": 16},
        **{"num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24, "layer_norm_eps": 1e-5},
    )
    theirs = ViTForImageClassification(config).eval()
    copy_weights(theirs, ours)
    x = torch.randn(3, 3, 8, 12)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x).logits, atol=1e-5, rtol=1e-5)
        assert ours(x).std(0).min() > 0.01


def test_vit_b16_parameter_count() -> None:
    with torch.device("meta"):
        model = make_network("vit_b16", 224, 224, in_channels=3, out_features=1000)
    assert count_parameters(model) == 86_567_656
    assert model(torch.empty(2, 3, 224, 224, device="meta")).shape == (2, 1000)


def test_indivisible_patch_or_heads_raise() -> None:
    with pytest.raises(ValueError, match=r"patches of 5 do not divide an image of 28 x 42; 1, 2, 7, 14 do"):
        make_network("vit_tiny", 28, 42, patch=5)
    with pytest.raises(ValueError, match="3 does not divide the width 64"):
        make_network("vit_tiny", heads=3)


@pytest.mark.parametrize("name", ["vit_tiny", "hybrid_cnn_transformer"])
@pytest.mark.parametrize("variant", [{"pool": "class"}, {"pool": "mean"}, {"positions": "sinusoidal"}], ids=str)
@pytest.mark.parametrize("size", [(14, 21), (21, 7)])
def test_every_variant_accepts_non_square_images(name: str, variant: dict[str, str], size: tuple[int, int]) -> None:
    model = make_network(name, *size, in_channels=3, **variant)
    x = torch.randn(3, 3, *size)
    batch_output = model(x)
    assert batch_output.shape == (3, 10)
    torch.testing.assert_close(torch.cat([model(row[None]) for row in x]), batch_output, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("height", "width", "patch"), [(28, 28, 7), (32, 48, 8), (64, 64, 16), (3, 3, 1), (30, 42, 6)])
def test_default_patch_size(height: int, width: int, patch: int) -> None:
    model = make_network("vit_tiny", height, width)
    assert isinstance(model.embed, torch.nn.Conv2d)
    assert model.embed.kernel_size == (patch, patch)
    assert model(torch.randn(2, 1, height, width)).shape == (2, 10)


def test_mean_pool_uses_patch_order_only_through_positions() -> None:
    model = make_network("vit_tiny", 14, 14, pool="mean", patch=7)
    assert model.class_token is None
    x = torch.randn(1, 1, 14, 14)
    swapped = x.roll(7, 3)
    assert not torch.allclose(model(x), model(swapped), atol=1e-4)
    nn.init.zeros_(model.encoder.positional_encoding.embedding)
    torch.testing.assert_close(model(x), model(swapped), atol=1e-5, rtol=0)


# The hybrid.

RESNET18: dict[str, Any] = {"blocks": [2, 2, 2, 2], "widths": [64, 128, 256, 512], "stem": "imagenet"}


def test_hybrid_with_resnet18_trunk_has_49_tokens() -> None:
    with torch.device("meta"):
        model = make_network("hybrid_cnn_transformer", 224, 224, in_channels=3, embed_size=512, **RESNET18)
        trunk, project = model.embed
        tokens = model.embed(torch.empty(1, 3, 224, 224)).flatten(2)
    assert count_parameters(trunk) == 11_176_512
    assert (trunk.out_channels, project.in_channels) == (512, 512)
    assert tokens.shape == (1, 512, 49)
    assert model.encoder.positional_encoding.embedding.shape == (49, 512)


@pytest.mark.parametrize("stem", ["small", "imagenet"])
@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize("size", [(33, 17), (40, 65), (97, 9)])
def test_hybrid_token_count_matches_feature_map(stem: str, block: str, size: tuple[int, int]) -> None:
    model = make_network("hybrid_cnn_transformer", *size, stem=stem, block=block, blocks=[1, 1, 1], widths=[4, 5, 6])
    x = torch.randn(2, 1, *size)
    rows, columns = model.embed(x).shape[2:]
    assert len(model.encoder.positional_encoding.embedding) == rows * columns > 1
    assert model(x).shape == (2, 10)


def test_hybrid_with_one_token_raises() -> None:
    with pytest.raises(ValueError, match=r"halves an image of 28 x 32 5 times, which leaves one token"):
        make_network("hybrid_cnn_transformer", 28, 32, **RESNET18)
    assert len(make_network("hybrid_cnn_transformer", 28, 33, **RESNET18).encoder.positional_encoding.embedding) == 2


def test_hybrid_matches_reference_composition() -> None:
    model = randomize(make_network("hybrid_cnn_transformer", 12, 9))
    trunk, project = model.embed
    assert isinstance(trunk, ResNetTrunk)
    x = torch.randn(2, 1, 12, 9)
    feature_map = trunk(x)  # (B, D, h, w)
    rows = [feature_map[:, :, i, j] for i in range(feature_map.shape[2]) for j in range(feature_map.shape[3])]
    tokens: Tensor = torch.stack([row @ project.weight[:, :, 0, 0].T + project.bias for row in rows], 1)
    tokens = tokens + model.encoder.positional_encoding.embedding
    for block in model.encoder.blocks:
        tokens, _ = block(tokens)
    expected = model.head(model.encoder.norm(tokens).mean(1))
    torch.testing.assert_close(model(x), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "small"),
    [
        ("vit_tiny", ("model.patch=4", "data.size=8", "model.layers=1", "epochs=10")),
        ("hybrid_cnn_transformer", ("data.size=16", "model.widths=[16, 32]", "model.layers=1", "epochs=5")),
    ],
)
def test_classifies_digits(name: str, small: tuple[str, ...]) -> None:
    assert lab(f"model={name}", "data=digits", "augment=none", *small).test()["accuracy"] > 0.93
