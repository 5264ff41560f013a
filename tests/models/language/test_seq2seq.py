from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from trainer.models.language.seq2seq import Attention, Seq2Seq

VARIANTS = [
    (cell, attention, bidirectional, layers)
    for cell in ("gru", "lstm")
    for attention, bidirectional, layers in (("none", False, 1), ("dot", True, 2), ("additive", True, 1))
]


def make(
    cell: str = "gru", attention: str = "dot", bidirectional: bool = True, layers: int = 1, **overrides: Any
) -> Seq2Seq:
    torch.manual_seed(0)
    sizes = {
        "source_vocab_size": 5,
        "vocab_size": 5,
        "horizon": 4,
        "embed_size": 3,
        "hidden_size": 8,
        "dropout": 0.0,
    } | overrides
    return Seq2Seq(cell=cell, attention=attention, bidirectional=bidirectional, num_layers=layers, **sizes).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("variant", VARIANTS)
def test_incremental_decoding_matches_full_pass(variant: tuple[Any, ...]) -> None:
    model = make(*variant)
    memory = model.encode(torch.randint(5, (3, 6)))
    tokens = torch.randint(6, (3, 4))
    full_scores, final_state = model.decode(tokens, memory)
    state, step_scores = None, []
    for step in range(4):
        scores, state = model.decode(tokens[:, step : step + 1], memory, state)
        step_scores.append(scores)
    assert state is not None
    torch.testing.assert_close(torch.cat(step_scores, 1), full_scores)
    for left, right in zip(state, final_state, strict=True):
        torch.testing.assert_close(left, right)


@pytest.mark.parametrize("variant", VARIANTS)
def test_scores_are_causal(variant: tuple[Any, ...]) -> None:
    model = make(*variant)
    memory = model.encode(torch.randint(5, (2, 6)))
    tokens = torch.randint(5, (2, 4))
    changed = tokens.clone()
    changed[:, 2] = (changed[:, 2] + 1) % 5
    before, after = (model.decode(x, memory)[0] for x in (tokens, changed))
    assert torch.equal(before[:, :2], after[:, :2])
    assert not torch.allclose(before[:, 2:], after[:, 2:])


@pytest.mark.parametrize("variant", VARIANTS)
def test_memory_and_state_rows_can_be_selected_and_repeated(variant: tuple[Any, ...]) -> None:
    """Beam search does this between two tokens."""
    model = make(*variant)
    memory = model.encode(torch.randint(5, (3, 6)))
    _, state = model.decode(torch.randint(6, (3, 2)), memory)
    step = torch.randint(5, (3, 1))
    scores, _ = model.decode(step, memory, state)
    index = torch.tensor([2, 0, 0, 1])
    selected, _ = model.decode(step[index], tuple(part[index] for part in memory), tuple(part[index] for part in state))
    torch.testing.assert_close(selected, scores[index])


@pytest.mark.parametrize("variant", VARIANTS)
def test_source_padding_is_ignored(variant: tuple[Any, ...]) -> None:
    model = make(*variant)
    x, lengths = torch.randint(5, (4, 6)), torch.tensor([2, 6, 1, 4])
    output = model(x, lengths)
    garbage = torch.where(torch.arange(6) < lengths[:, None], x, 4 - x)
    torch.testing.assert_close(model(garbage, lengths), output)
    torch.testing.assert_close(torch.cat([model(row[None, :n]) for row, n in zip(x, lengths, strict=True)]), output)
    torch.testing.assert_close(model(x, torch.full((4,), 6)), model(x))


def test_forward_decodes_greedily_for_horizon_steps() -> None:
    model = make()
    x = torch.randint(5, (3, 6))
    scores = model(x)
    assert scores.shape == (3, 4, 5)
    decoder_input = torch.cat((torch.full((3, 1), 5), scores.argmax(-1)[:, :-1]), 1)
    torch.testing.assert_close(model.decode(decoder_input, model.encode(x))[0], scores)


@pytest.mark.parametrize("kind", ["dot", "additive"])
def test_attention_matches_its_equation(kind: Any) -> None:
    torch.manual_seed(0)
    attention = Attention(kind, 4)
    h, e = torch.randn(2, 3, 4), torch.randn(2, 5, 4)
    valid_mask = torch.tensor([[True] * 5, [True, True, True, False, False]])
    output = attention(h, e, attention.key_proj(e), valid_mask).detach().numpy()
    w = {name: value.numpy() for name, value in attention.state_dict().items()}
    for row in range(2):
        for step in range(3):
            state, source = h[row, step].numpy(), e[row, : valid_mask[row].sum()].numpy()
            keys = source @ w["key_proj.weight"].T
            if kind == "dot":
                scores = keys @ state
            else:
                scores = (
                    np.tanh(w["query_proj.weight"] @ state + w["query_proj.bias"] + keys) @ w["score_proj.weight"][0]
                )
            weights = np.exp(scores) / np.exp(scores).sum()
            mixed = w["out_proj.weight"] @ np.concatenate((state, weights @ source)) + w["out_proj.bias"]
            np.testing.assert_allclose(output[row, step], np.tanh(mixed), atol=1e-5)


def test_every_parameter_gets_gradient() -> None:
    for variant in VARIANTS:
        model = make(*variant)
        model.decode(torch.randint(6, (3, 4)), model.encode(torch.randint(5, (3, 6))))[0].square().sum().backward()
        without_gradient = [
            name for name, value in model.named_parameters() if value.grad is None or not value.grad.any()
        ]
        assert not without_gradient, variant


def test_bidirectional_with_odd_hidden_size_raises() -> None:
    with pytest.raises(ValueError, match=r"hidden_size: .* must be even; given 7"):
        make(hidden_size=7)
    assert make(hidden_size=7, bidirectional=False)(torch.randint(5, (2, 3))).shape == (2, 4, 5)
