from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.helpers.lab import lab
from tests.helpers.torch_transformer import copy_block
from trainer.models.layers.attention.positional_encoding import make_sinusoidal_encoding
from trainer.models.layers.attention.transformer import ATTENTION_KERNELS
from trainer.models.sequence.transformer import TokenTransformer, Transformer

OPTIONS: dict[str, Any] = {
    "out_features": 3,
    "seq_len": 9,
    "width": 8,
    "layers": 2,
    "decoder_layers": 0,
    "heads": 2,
    "hidden": 16,
    "activation": "gelu",
    "norm": "pre",
    "dropout": 0.0,
    "positions": "sinusoidal",
    "attention": "full",
    "attention_size": 4,
    "attention_rounds": 2,
    "pool": "mean",
}
POOLS = ["last", "mean", "max", "attention"]
VARIANTS = [{"attention": kind} for kind in ATTENTION_KERNELS] + [
    {"decoder_layers": 1},
    {"norm": "post"},
    *({"positions": kind} for kind in ("learned", "rotary", "none")),
    *({"pool": kind} for kind in POOLS),
]


def make(**options: Any) -> Transformer:
    torch.manual_seed(0)
    return Transformer(in_features=5, **OPTIONS | options).eval()


def make_token(**options: Any) -> TokenTransformer:
    torch.manual_seed(0)
    return TokenTransformer(vocab_size=7, **OPTIONS | options).eval()


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_padding_is_ignored_for_any_content(variant: dict[str, Any]) -> None:
    """A padded row equals the row alone, even if its padding is NaN or no valid token."""
    lengths = torch.tensor([9, 4, 1])
    padding = torch.arange(9) >= lengths[:, None]
    x = torch.randn(3, 9, 5).masked_fill(padding[..., None], torch.nan)
    tokens = torch.randint(7, (3, 9)).masked_fill(padding, -1)
    for model, inputs in ((make(**variant), x), (make_token(**variant), tokens)):
        out = model(inputs, lengths)
        single_rows = torch.cat([model(row[None, :n]) for row, n in zip(inputs, lengths, strict=True)])
        torch.testing.assert_close(out, single_rows, atol=1e-5, rtol=1e-5)
        assert not torch.allclose(out[:, 0], out[:1, 0])


def test_pools_match_definitions() -> None:
    x, lengths = torch.randn(1, 6, 5), torch.tensor([4])
    for pool, summary in (("mean", lambda h: h.mean(0)), ("max", lambda h: h.amax(0)), ("last", lambda h: h[-1])):
        model = make(pool=pool)
        steps, _ = model.encoder(model.embed(x[:, :4]))
        torch.testing.assert_close(model(x, lengths)[0], model.head(summary(steps[0])))


def test_encoder_decoder_matches_torch_transformer() -> None:
    """Reference: linear map, positions, nn.Transformer with its source as target, last step."""
    model = lab(
        *("model=transformer", "data=synthetic_seq", "data.rows=100", "model.decoder_layers=2", "model.hidden=2048"),
        *("model.norm=post", "model.activation=relu", "model.pool=last"),
    ).task.model.eval()
    assert sum(parameter.numel() for parameter in model.parameters()) == 1159809
    theirs = nn.Transformer(64, 4, 2, 2, 2048, 0.0, batch_first=True)
    assert isinstance(model, Transformer)
    assert model.decoder is not None
    for left, right in ((theirs.encoder, model.encoder), (theirs.decoder, model.decoder)):
        left.norm.load_state_dict(right.norm.state_dict())
        for theirs_layer, ours in zip(left.layers, right.blocks, strict=True):
            copy_block(theirs_layer, ours)
    x = torch.randn(4, 10, 20)
    embedded = model.embed(x) + make_sinusoidal_encoding(0, 10, 64, x.device)
    torch.testing.assert_close(model(x), model.head(theirs(embedded, embedded)[:, -1]), atol=1e-5, rtol=1e-5)


SMALL = ("model=token_transformer", "data=index_lookup", "data.rows=3000", "data.length=5", "data.symbols=4")
LOOKUP = (*SMALL, "epochs=20", "model.width=32", "model.hidden=64", "batch_size=32")


@pytest.mark.slow
def test_index_lookup_is_learned() -> None:
    assert lab(*LOOKUP).test()["accuracy"] > 0.98


@pytest.mark.slow
def test_index_lookup_is_not_learned_without_positions() -> None:
    assert lab(*LOOKUP, "model.positions=none").test()["accuracy"] < 0.6


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["linear", "performer", "linformer", "chunked", "lsh"])
def test_every_attention_kernel_learns(attention: str) -> None:
    overrides = ("model=transformer", "data.rows=4000", "epochs=4", "optimizer.lr=3e-3", "model.attention_size=6")
    assert lab(*overrides, f"model.attention={attention}").test()["accuracy"] > 0.8
