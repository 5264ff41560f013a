from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainer.models.layers.attention.attention import (
    AttentionKernel,
    FullAttention,
    MultiHeadAttention,
    ReferenceAttention,
)
from trainer.models.layers.padding import make_valid_mask

BOTH = [FullAttention(), ReferenceAttention()]


def random(*shape: int) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(*shape) for _ in range(3)]


def written_out(q: Tensor, k: Tensor, v: Tensor, mask: np.ndarray) -> np.ndarray:
    """Row by row in numpy; mask (B, T, S)."""
    asked, keys, values = (x.double().numpy() for x in (q, k, v))
    out = np.zeros((*asked.shape[:3], values.shape[3]))
    for b, h, t in np.ndindex(*asked.shape[:3]):
        seen = mask[b, t]
        if seen.any():
            scores = keys[b, h, seen] @ asked[b, h, t] / np.sqrt(asked.shape[3])
            shares = np.exp(scores - scores.max())
            out[b, h, t] = shares / shares.sum() @ values[b, h, seen]
    return out


@pytest.mark.parametrize("attend", BOTH)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("padded", [False, True])
def test_attention_matches_its_formula_under_combined_masks(
    attend: AttentionKernel, causal: bool, padded: bool
) -> None:
    q, k, v = random(3, 2, 6, 4)
    real = torch.rand(3, 6) < 0.6 if padded else None
    mask = np.ones((3, 6, 6), dtype=bool) if real is None else np.repeat(real.numpy()[:, None], 6, 1)
    mask = mask & np.tri(6, dtype=bool) if causal else mask
    np.testing.assert_allclose(attend(q, k, v, real, causal).numpy(), written_out(q, k, v, mask), atol=1e-5)


@pytest.mark.parametrize("attend", BOTH)
@pytest.mark.parametrize("causal", [False, True])
def test_a_fully_masked_query_gives_zeros_and_no_gradient(attend: AttentionKernel, causal: bool) -> None:
    q, k, v = (x.requires_grad_() for x in random(2, 2, 4, 4))
    real = torch.tensor([[False] * 4, [False, True, True, False]])
    out = attend(q, k, v, real, causal)
    assert not out[0].any()
    assert out[1, :, 1:].all()
    out.sum().backward()
    for x in (q, k, v):
        assert x.grad is not None
        assert x.grad.isfinite().all()
        assert not x.grad[0].any()


@pytest.mark.parametrize("attend", BOTH)
def test_half_precision_holds_the_masks(attend: AttentionKernel) -> None:
    q, k, v = (x.half() for x in random(2, 2, 4, 4))
    out = attend(60 * q, 60 * k, v, torch.tensor([[True, True, False, False], [False] * 4]), True)
    assert out.dtype == torch.half
    assert out.isfinite().all()


@pytest.mark.parametrize("attend", BOTH)
def test_queries_are_the_last_steps_of_what_was_kept(attend: AttentionKernel) -> None:
    q, k, v = random(2, 2, 6, 4)
    whole = attend(q, k, v, causal=True)
    for start in range(6):
        torch.testing.assert_close(attend(q[:, :, start:], k, v, causal=True), whole[:, :, start:])


def torchs(width: int, heads: int, ours: MultiHeadAttention) -> nn.MultiheadAttention:
    """torch's own, with our weights."""
    theirs = nn.MultiheadAttention(width, heads, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(ours.in_proj.weight)
        theirs.in_proj_bias.copy_(ours.in_proj.bias)
        theirs.out_proj.load_state_dict(ours.out_proj.state_dict())
    return theirs


@pytest.mark.parametrize("attend", BOTH)
def test_heads_match_torch(attend: AttentionKernel) -> None:
    """Scaling by the width, skipping a projection or mixing up heads would each be seen."""
    ours = MultiHeadAttention(12, 3, attend)
    theirs = torchs(12, 3, ours)
    x, memory, lengths = torch.randn(4, 5, 12), torch.randn(4, 7, 12), torch.tensor([7, 2, 5, 1])
    real = make_valid_mask(memory, lengths)
    assert real is not None
    expected, _ = theirs(x, memory, memory, key_padding_mask=~real)
    torch.testing.assert_close(ours(ours.project_q(x), *ours.project_kv(memory), real), expected, atol=1e-5, rtol=1e-5)
    later = torch.ones(5, 5, dtype=torch.bool).triu(1)
    expected, shares = theirs(x, x, x, attn_mask=later, average_attn_weights=False)
    torch.testing.assert_close(ours(*ours.project_qkv(x), causal=True), expected, atol=1e-5, rtol=1e-5)
    if isinstance(attend, ReferenceAttention):
        q, k, _ = ours.project_qkv(x)
        torch.testing.assert_close(attend.compute_attention_weights(q, k, causal=True), shares, atol=1e-5, rtol=1e-5)


def test_64_wide_with_4_heads_has_16640_parameters_and_learns_all() -> None:
    layer = MultiHeadAttention(64, 4, FullAttention())
    assert sum(parameter.numel() for parameter in layer.parameters()) == 16640
    x = torch.randn(2, 5, 64)
    layer(*layer.project_qkv(x)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in layer.parameters())


def test_steps_are_real_up_to_their_length() -> None:
    assert make_valid_mask(torch.zeros(2, 3), None) is None
    real = make_valid_mask(torch.zeros(2, 3, 5), torch.tensor([1, 3]))
    assert real is not None
    assert real.tolist() == [[True, False, False], [True, True, True]]
