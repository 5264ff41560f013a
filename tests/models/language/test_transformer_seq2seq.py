from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.helpers.lab import lab
from tests.helpers.torch_transformer import copy_block
from trainer.core.decoding import DecoderState, beam_search, generate_tokens
from trainer.models.language.transformer_seq2seq import TransformerSeq2Seq
from trainer.models.layers.attention.positional_encoding import make_sinusoidal_encoding

OPTIONS: dict[str, Any] = {
    "source_vocab_size": 9,
    "vocab_size": 5,
    "seq_len": 6,
    "horizon": 4,
    "width": 16,
    "layers": 1,
    "decoder_layers": 2,
    "heads": 2,
    "hidden": 32,
    "activation": "relu",
    "norm": "pre",
    "dropout": 0.0,
    "positions": "sinusoidal",
    "attention": "full",
    "attention_size": 3,
}
VARIANTS = [
    *({"positions": kind} for kind in ("sinusoidal", "learned", "rotary", "none")),
    *({"attention": kind} for kind in ("reference", "linear", "performer")),
    {"norm": "post"},
]
LENGTHS = torch.tensor([6, 2, 1])


def make(**options: Any) -> TransformerSeq2Seq:
    torch.manual_seed(0)
    return TransformerSeq2Seq(**OPTIONS | options).eval()


def make_source() -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randint(9, (3, 6))


def assert_close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_cached_decoding_matches_full_pass(variant: dict[str, Any]) -> None:
    """Scores of every prefix also match: decoding is causal."""
    model = make(**variant)
    memory, target_tokens = model.encode(make_source(), LENGTHS), torch.randint(6, (3, 4))
    full_scores, _ = model.decode(target_tokens, memory)
    state: DecoderState | None = None
    for step in range(4):
        scores, state = model.decode(target_tokens[:, step : step + 1], memory, state)
        assert_close(scores[:, 0], full_scores[:, step])
        assert_close(model.decode(target_tokens[:, : step + 1], memory)[0], full_scores[:, : step + 1])


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_source_padding_is_ignored(variant: dict[str, Any]) -> None:
    model, x = make(**variant), make_source()
    output = model(x.masked_fill(torch.arange(6) >= LENGTHS[:, None], -1), LENGTHS)
    assert_close(torch.cat([model(row[None, :n]) for row, n in zip(x, LENGTHS, strict=True)]), output)
    assert_close(model(x, torch.full((3,), 6)), model(x))
    assert not torch.allclose(model(x)[1], output[1])


def test_matches_torch_transformer() -> None:
    model = make(layers=2, norm="post")
    theirs = nn.Transformer(16, 2, 2, 2, 32, 0.0, batch_first=True)
    for left, right in ((theirs.encoder, model.encoder), (theirs.decoder, model.decoder)):
        left.norm.load_state_dict(right.norm.state_dict())
        for layer, block in zip(left.layers, right.blocks, strict=True):
            copy_block(layer, block)
    x, target_tokens = make_source(), torch.randint(6, (3, 4))
    padding = torch.arange(6) >= LENGTHS[:, None]
    out = theirs(
        model.source_embedding(x) + make_sinusoidal_encoding(0, 6, 16, x.device),
        model.target_embedding(target_tokens) + make_sinusoidal_encoding(0, 4, 16, x.device),
        tgt_mask=torch.ones(4, 4, dtype=torch.bool).triu(1),
        src_key_padding_mask=padding,
        memory_key_padding_mask=padding,
        tgt_is_causal=True,
    )
    assert_close(model.decode(target_tokens, model.encode(x, LENGTHS))[0], model.head(out))


def test_beam_of_one_is_greedy_and_full_beam_scores_higher() -> None:
    model = make()
    memory = model.encode(make_source(), LENGTHS)
    start_tokens = torch.full((3, 1), 5)
    greedy = generate_tokens(model, memory, start_tokens, 4)
    assert torch.equal(greedy, model(make_source(), LENGTHS).argmax(-1))
    assert torch.equal(beam_search(model, memory, start_tokens, 4, 1), greedy)

    def log_likelihood(tokens: torch.Tensor) -> torch.Tensor:
        log_probs = model.decode(torch.cat((start_tokens, tokens[:, :-1]), 1), memory)[0].log_softmax(-1)
        return log_probs.gather(-1, tokens[..., None]).sum((1, 2))

    assert (log_likelihood(beam_search(model, memory, start_tokens, 4, 5**3)) >= log_likelihood(greedy) - 1e-5).all()


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_every_parameter_gets_gradient(variant: dict[str, Any]) -> None:
    model = make(**variant)
    model.decode(torch.randint(6, (3, 4)), model.encode(make_source()))[0].square().sum().backward()
    assert not [name for name, value in model.named_parameters() if value.grad is None or not value.grad.any()]


@pytest.mark.parametrize(
    ("attention", "reason"),
    [("linformer", "be causal"), ("lsh", "be causal"), ("chunked", "read another sequence")],
)
def test_unsuitable_attention_raises(attention: str, reason: str) -> None:
    with pytest.raises(ValueError, match=rf"attention: {attention} .*, so it cannot {reason}; full, .* can"):
        make(attention=attention)


SMALL = ("model=transformer_seq2seq", "data=reverse", "data.rows=3000", "data.length=5", "epochs=5")


@pytest.mark.slow
def test_reversal_is_learned() -> None:
    assert lab(*SMALL, "model.layers=1", "model.decoder_layers=1").test()["token_accuracy"] > 0.97


@pytest.mark.slow
def test_reversal_is_not_learned_without_positions() -> None:
    overrides = ("model.layers=1", "model.decoder_layers=1", "model.positions=none")
    assert lab(*SMALL, *overrides).test()["token_accuracy"] < 0.8
