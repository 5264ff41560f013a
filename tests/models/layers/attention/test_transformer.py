from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.helpers.torch_transformer import copy_block
from trainer.models.layers.attention.transformer import (
    ATTENTION_KERNELS,
    TransformerBlock,
    TransformerConfig,
    TransformerStack,
)

OPTIONS: dict[str, Any] = {
    "width": 16,
    "heads": 4,
    "hidden": 64,
    "activation": "relu",
    "norm": "post",
    "dropout": 0.0,
    "positions": "none",
    "seq_len": 8,
    "attention": "full",
    "attention_size": 4,
    "attention_rounds": 1,
}


def make_config(**options: Any) -> TransformerConfig:
    torch.manual_seed(0)
    return TransformerConfig(**OPTIONS | options)


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_block_matches_torch_layer(norm: str, activation: str) -> None:
    keys: Any = {"activation": activation, "norm_first": norm == "pre", "batch_first": True}
    x, memory = torch.randn(3, 6, 16), torch.randn(3, 4, 16)
    valid_mask, memory_mask = (torch.arange(n) < torch.tensor([n, 2, 1])[:, None] for n in (6, 4))
    ours = TransformerBlock(make_config(norm=norm, activation=activation))
    theirs = nn.TransformerEncoderLayer(16, 4, 64, **keys).train()  # eval() takes a path of its own
    theirs.dropout.p = theirs.dropout1.p = theirs.dropout2.p = theirs.self_attn.dropout = 0.0
    copy_block(theirs, ours)
    torch.testing.assert_close(
        ours(x, valid_mask)[0], theirs(x, src_key_padding_mask=~valid_mask), atol=1e-5, rtol=1e-5
    )
    ours = TransformerBlock(make_config(norm=norm, activation=activation), causal=True, cross=True)
    decoder = nn.TransformerDecoderLayer(16, 4, 64, **keys).eval()
    copy_block(decoder, ours)
    assert ours.cross_attention is not None
    expected = decoder(
        x, memory, torch.ones(6, 6, dtype=torch.bool).triu(1), memory_key_padding_mask=~memory_mask, tgt_is_causal=True
    )
    out, _ = ours(x, memory=ours.cross_attention.project_kv(memory), memory_mask=memory_mask)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)


def test_block_parameter_count() -> None:
    assert sum(parameter.numel() for parameter in TransformerBlock(make_config()).parameters()) == 3280


def test_dropout_applies_to_branches_not_to_residual_stream() -> None:
    """On the residual stream, a dropout of .1 would zero a tenth, and a dropout of 1 everything."""
    x, memory = torch.randn(2, 5, 16), torch.randn(2, 3, 16)
    block = TransformerBlock(make_config(norm="pre", dropout=1.0), cross=True).train()
    assert block.cross_attention is not None
    torch.testing.assert_close(block(x, memory=block.cross_attention.project_kv(memory))[0], x)
    block = TransformerBlock(make_config(dropout=1.0)).train()
    torch.testing.assert_close(block(x)[0], nn.functional.layer_norm(x, [16]), atol=1e-4, rtol=1e-4)
    assert not (TransformerBlock(make_config(norm="pre", dropout=0.5)).train()(x)[0] == 0).any()


@pytest.mark.parametrize("positions", ["sinusoidal", "learned", "rotary", "none"])
@pytest.mark.parametrize("attention", ATTENTION_KERNELS)
def test_every_parameter_gets_gradient(attention: str, positions: str) -> None:
    """An unused projection of queries, keys or values would have no gradient."""
    stack = TransformerStack(make_config(attention=attention, positions=positions, norm="pre"), 2)
    stack(torch.randn(3, 8, 16))[0].pow(3).sum().backward()
    without_gradient = [name for name, value in stack.named_parameters() if value.grad is None or not value.grad.any()]
    assert not without_gradient


@pytest.mark.parametrize("positions", ["sinusoidal", "learned", "rotary"])
def test_positions_break_permutation_equivariance(positions: str) -> None:
    x = torch.randn(1, 8, 16)
    order = torch.tensor([3, 1, 0, 2, 7, 6, 5, 4])
    with_positions, without_positions = (
        TransformerStack(make_config(positions=kind), 1).eval() for kind in (positions, "none")
    )
    torch.testing.assert_close(without_positions(x[:, order])[0], without_positions(x)[0][:, order])
    assert not torch.allclose(with_positions(x[:, order])[0], with_positions(x)[0][:, order], atol=1e-2)


@pytest.mark.parametrize("positions", ["sinusoidal", "learned", "rotary", "none"])
@pytest.mark.parametrize("attention", [name for name, kind in ATTENTION_KERNELS.items() if not kind.not_causal_reason])
def test_cached_steps_match_full_pass(attention: str, positions: str) -> None:
    stack = TransformerStack(make_config(attention=attention, positions=positions), 2, causal=True).eval()
    x = torch.randn(2, 8, 16)
    full_output, full_cache = stack(x)
    cache: Any = ()
    for part in x.split([1, 1, 3, 2, 1], 1):
        start = cache[0].shape[2] if cache else 0
        out, cache = stack(part, cache=cache)
        torch.testing.assert_close(out, full_output[:, start : start + part.shape[1]], atol=1e-5, rtol=1e-5)
    for left, right in zip(cache, full_cache, strict=True):
        torch.testing.assert_close(left, right, atol=1e-5, rtol=1e-5)


def test_unsupported_options_raise() -> None:
    for name in ("linformer", "lsh"):
        with pytest.raises(ValueError, match=rf"^attention: {name} .* cannot be causal; full, .*, chunked can$"):
            TransformerBlock(make_config(attention=name), causal=True)
    for name in ("chunked", "lsh"):
        with pytest.raises(ValueError, match=rf"^attention: {name} .* cannot read another .*, linformer can$"):
            TransformerBlock(make_config(attention=name), cross=True)
    with pytest.raises(ValueError, match=r"^heads: 3 does not divide the width 16; 1, 2, 4, 8, 16 do$"):
        make_config(heads=3)
    with pytest.raises(ValueError, match=r"^positions: rotary rotates pairs .* must be even; it is 3$"):
        make_config(width=12, positions="rotary")
