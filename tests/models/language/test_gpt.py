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
WAYS = [
    *({"positions": kind} for kind in ("sinusoidal", "learned", "rotary", "none")),
    *({"attention": kind} for kind in ("reference", "linear", "performer", "chunked")),
    *({"tie_weights": False}, {"norm": "post"}),
]


def make(**options: Any) -> GPT:
    """With weights large enough that scores depend on all that is read."""
    torch.manual_seed(0)
    model = GPT(**OPTIONS | options).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def tokens(rows: int = 3, steps: int = 12) -> Tensor:
    torch.manual_seed(1)
    return torch.randint(7, (rows, steps))


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_one_token_after_another_is_all_at_once(way: dict[str, Any]) -> None:
    model, x = make(**way), tokens()
    whole, end = model.decode(x)
    torch.testing.assert_close(model(x), whole)
    for sizes in ([1] * 12, [4, 1, 7]):
        state, parts = None, []
        for part in x.split(sizes, 1):
            scores, state = model.decode(part, (), state)
            parts.append(scores)
        torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-5, rtol=1e-5)
        assert state is not None
        for left, right in zip(state, end, strict=True):
            torch.testing.assert_close(left, right, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_no_later_token_changes_a_score_and_the_one_before_does(way: dict[str, Any]) -> None:
    model, x = make(**way), tokens()
    whole = model(x)
    for step in range(1, 12):
        changed = x.clone()
        changed[:, step:] = (x[:, step:] + torch.randint(1, 7, x[:, step:].shape)) % 7
        scores = model(changed)
        torch.testing.assert_close(scores[:, :step], whole[:, :step], atol=1e-5, rtol=1e-5)
        assert not torch.allclose(scores[:, step], whole[:, step], atol=1e-3)


def test_rows_of_the_state_can_be_picked_and_repeated() -> None:
    model, x = make(), tokens()
    _, state = model.decode(x[:, :5])
    scores, _ = model.decode(x[:, 5:6], (), state)
    pick = torch.tensor([2, 0, 0, 1])
    picked, _ = model.decode(x[pick, 5:6], (), tuple(part[pick] for part in state))
    torch.testing.assert_close(picked, scores[pick])


def test_more_than_its_tokens_are_too_many_for_learned_positions_alone() -> None:
    first = tokens(2, 3)
    assert generate_tokens(make(), (), first, 20).shape == (2, 20)
    with pytest.raises(ValueError, match=r"positions: learned for 12 steps"):
        generate_tokens(make(positions="learned"), (), first, 20)
    assert len(list(stream_tokens(make(positions="learned"), (), first, 20, context_length=12))) == 20


@pytest.mark.parametrize("attention", ["linformer", "lsh"])
def test_attention_to_later_tokens_is_refused(attention: str) -> None:
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


def test_the_default_has_0_8_million_parameters() -> None:
    model = GPT(**OPTIONS | {"vocab_size": 65, "width": 128, "layers": 4, "heads": 4, "hidden": 512})
    assert sum(parameter.numel() for parameter in model.parameters()) == 801664


def test_tied_scores_are_products_with_the_tokens_own_vectors() -> None:
    tied, free = make(), make(tie_weights=False)
    assert sum(p.numel() for p in free.parameters()) - sum(p.numel() for p in tied.parameters()) == 7 * 16
    x, _ = tied.transformer(tied.embed(tokens()))
    torch.testing.assert_close(tied(tokens()), x @ tied.embed.weight.T)


def copying(steps: int, **options: Any) -> float:
    """The loss on sequences that repeat their first four tokens, after so many steps of training on others."""
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
def test_it_copies_what_it_can_look_back_on() -> None:
    """Two blocks that see one token back each do not reach three."""
    assert copying(80) < 0.1
    assert copying(80, attention="chunked", attention_size=1) > 1.0
