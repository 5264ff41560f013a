from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from trainer.core.decoding import generate_tokens, stream_tokens
from trainer.models.language.gpt import GPT

OPTIONS: dict[str, Any] = {
    "vocab_size": 7,
    "seq_len": 12,
    "width": 16,
    "layers": 2,
    "heads": 2,
    "hidden": 32,
    "activation": "gelu",
    "norm": "pre",
    "dropout": 0.0,
    "positions": "rotary",
    "attention": "full",
    "attention_size": 3,
    "tie_weights": True,
}
VARIANTS = [
    *({"positions": kind} for kind in ("sinusoidal", "learned", "rotary", "none")),
    *({"attention": kind} for kind in ("reference", "linear", "performer", "chunked")),
    *({"tie_weights": False}, {"norm": "post"}),
]


def make(**options: Any) -> GPT:
    """Build a model with weights large enough that scores depend on every input token."""
    torch.manual_seed(0)
    model = GPT(**OPTIONS | options).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def tokens(rows: int = 3, steps: int = 12) -> Tensor:
    torch.manual_seed(1)
    return torch.randint(7, (rows, steps))


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_incremental_decoding_matches_full_pass(variant: dict[str, Any]) -> None:
    model, x = make(**variant), tokens()
    full_scores, final_state = model.decode(x)
    torch.testing.assert_close(model(x), full_scores)
    for sizes in ([1] * 12, [4, 1, 7]):
        state, parts = None, []
        for part in x.split(sizes, 1):
            scores, state = model.decode(part, (), state)
            parts.append(scores)
        torch.testing.assert_close(torch.cat(parts, 1), full_scores, atol=1e-5, rtol=1e-5)
        assert state is not None
        for left, right in zip(state, final_state, strict=True):
            torch.testing.assert_close(left, right, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_scores_are_causal(variant: dict[str, Any]) -> None:
    model, x = make(**variant), tokens()
    full_scores = model(x)
    for step in range(1, 12):
        changed = x.clone()
        changed[:, step:] = (x[:, step:] + torch.randint(1, 7, x[:, step:].shape)) % 7
        scores = model(changed)
        torch.testing.assert_close(scores[:, :step], full_scores[:, :step], atol=1e-5, rtol=1e-5)
        assert not torch.allclose(scores[:, step], full_scores[:, step], atol=1e-3)


def test_state_rows_can_be_selected_and_repeated() -> None:
    model, x = make(), tokens()
    _, state = model.decode(x[:, :5])
    scores, _ = model.decode(x[:, 5:6], (), state)
    index = torch.tensor([2, 0, 0, 1])
    selected, _ = model.decode(x[index, 5:6], (), tuple(part[index] for part in state))
    torch.testing.assert_close(selected, scores[index])


def test_generation_beyond_seq_len_raises_with_learned_positions() -> None:
    prompt = tokens(2, 3)
    assert generate_tokens(make(), (), prompt, 20).shape == (2, 20)
    with pytest.raises(ValueError, match=r"positions: learned for 12 steps"):
        generate_tokens(make(positions="learned"), (), prompt, 20)
    assert len(list(stream_tokens(make(positions="learned"), (), prompt, 20, context_length=12))) == 20


@pytest.mark.parametrize("attention", ["linformer", "lsh"])
def test_noncausal_attention_raises(attention: str) -> None:
    with pytest.raises(ValueError, match=rf"attention: {attention} .* cannot be causal"):
        make(attention=attention)


def test_initial_weights_follow_gpt2() -> None:
    torch.manual_seed(0)
    model = GPT(**OPTIONS | {"width": 128, "heads": 4, "layers": 8, "hidden": 512})
    deviations = {name: float(value.detach().std()) for name, value in model.named_parameters() if value.dim() > 1}
    for name, deviation in deviations.items():
        ends_a_branch = "out_proj." in name or "feedforward.2" in name
        assert deviation == pytest.approx(0.005 if ends_a_branch else 0.02, rel=0.1), name
    assert sum("out_proj." in name for name in deviations) == 8


def test_default_parameter_count() -> None:
    model = GPT(**OPTIONS | {"vocab_size": 65, "width": 128, "layers": 4, "heads": 4, "hidden": 512})
    assert sum(parameter.numel() for parameter in model.parameters()) == 801664


def test_tied_head_uses_token_embeddings() -> None:
    tied, untied = make(), make(tie_weights=False)
    assert sum(p.numel() for p in untied.parameters()) - sum(p.numel() for p in tied.parameters()) == 7 * 16
    x, _ = tied.transformer(tied.embed(tokens()))
    torch.testing.assert_close(tied(tokens()), x @ tied.embed.weight.T)


def train_to_copy(steps: int, **options: Any) -> float:
    """Return the loss on sequences that repeat their first four tokens, after training for ``steps`` steps."""
    torch.manual_seed(0)
    model = GPT(**OPTIONS | {"width": 32, "hidden": 64} | options)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(steps):
        x = torch.randint(7, (64, 4)).repeat(1, 3)
        loss = torch.nn.functional.cross_entropy(model(x[:, :-1])[:, 4:].flatten(0, 1), x[:, 5:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


@pytest.mark.slow
def test_copying_needs_attention_to_earlier_tokens() -> None:
    """Two blocks that each attend one token back do not reach three."""
    assert train_to_copy(80) < 0.1
    assert train_to_copy(80, attention="chunked", attention_size=1) > 1.0
