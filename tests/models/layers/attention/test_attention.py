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

KERNELS = [FullAttention(), ReferenceAttention()]


def make_qkv(*shape: int) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(*shape) for _ in range(3)]


def reference_attention(q: Tensor, k: Tensor, v: Tensor, mask: np.ndarray) -> np.ndarray:
    """Attend query by query in numpy; mask (B, T, S)."""
    queries, keys, values = (x.double().numpy() for x in (q, k, v))
    out = np.zeros((*queries.shape[:3], values.shape[3]))
    for b, h, t in np.ndindex(*queries.shape[:3]):
        visible = mask[b, t]
        if visible.any():
            scores = keys[b, h, visible] @ queries[b, h, t] / np.sqrt(queries.shape[3])
            weights = np.exp(scores - scores.max())
            out[b, h, t] = weights / weights.sum() @ values[b, h, visible]
    return out


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("padded", [False, True])
def test_attention_matches_its_formula_under_combined_masks(
    kernel: AttentionKernel, causal: bool, padded: bool
) -> None:
    q, k, v = make_qkv(3, 2, 6, 4)
    valid_mask = torch.rand(3, 6) < 0.6 if padded else None
    mask = np.ones((3, 6, 6), dtype=bool) if valid_mask is None else np.repeat(valid_mask.numpy()[:, None], 6, 1)
    mask = mask & np.tri(6, dtype=bool) if causal else mask
    np.testing.assert_allclose(
        kernel(q, k, v, valid_mask, causal).numpy(), reference_attention(q, k, v, mask), atol=1e-5
    )


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("causal", [False, True])
def test_a_fully_masked_query_gives_zeros_and_no_gradient(kernel: AttentionKernel, causal: bool) -> None:
    q, k, v = (x.requires_grad_() for x in make_qkv(2, 2, 4, 4))
    valid_mask = torch.tensor([[False] * 4, [False, True, True, False]])
    out = kernel(q, k, v, valid_mask, causal)
    assert not out[0].any()
    assert out[1, :, 1:].all()
    out.sum().backward()
    for x in (q, k, v):
        assert x.grad is not None
        assert x.grad.isfinite().all()
        assert not x.grad[0].any()


@pytest.mark.parametrize("kernel", KERNELS)
def test_masked_half_precision_output_is_finite(kernel: AttentionKernel) -> None:
    q, k, v = (x.half() for x in make_qkv(2, 2, 4, 4))
    out = kernel(60 * q, 60 * k, v, torch.tensor([[True, True, False, False], [False] * 4]), True)
    assert out.dtype == torch.half
    assert out.isfinite().all()


@pytest.mark.parametrize("kernel", KERNELS)
def test_fewer_queries_than_keys_are_last_steps(kernel: AttentionKernel) -> None:
    q, k, v = make_qkv(2, 2, 6, 4)
    full_output = kernel(q, k, v, causal=True)
    for start in range(6):
        torch.testing.assert_close(kernel(q[:, :, start:], k, v, causal=True), full_output[:, :, start:])


def make_torch_attention(width: int, heads: int, ours: MultiHeadAttention) -> nn.MultiheadAttention:
    """Build torch's attention with the same weights."""
    theirs = nn.MultiheadAttention(width, heads, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(ours.in_proj.weight)
        theirs.in_proj_bias.copy_(ours.in_proj.bias)
        theirs.out_proj.load_state_dict(ours.out_proj.state_dict())
    return theirs


@pytest.mark.parametrize("kernel", KERNELS)
def test_multi_head_attention_matches_torch(kernel: AttentionKernel) -> None:
    """A scale by the width, a missing projection or swapped heads would each fail."""
    ours = MultiHeadAttention(12, 3, kernel)
    theirs = make_torch_attention(12, 3, ours)
    x, memory, lengths = torch.randn(4, 5, 12), torch.randn(4, 7, 12), torch.tensor([7, 2, 5, 1])
    valid_mask = make_valid_mask(memory, lengths)
    assert valid_mask is not None
    expected, _ = theirs(x, memory, memory, key_padding_mask=~valid_mask)
    torch.testing.assert_close(
        ours(ours.project_q(x), *ours.project_kv(memory), valid_mask), expected, atol=1e-5, rtol=1e-5
    )
    causal_mask = torch.ones(5, 5, dtype=torch.bool).triu(1)
    expected, weights = theirs(x, x, x, attn_mask=causal_mask, average_attn_weights=False)
    torch.testing.assert_close(ours(*ours.project_qkv(x), causal=True), expected, atol=1e-5, rtol=1e-5)
    if isinstance(kernel, ReferenceAttention):
        q, k, _ = ours.project_qkv(x)
        torch.testing.assert_close(kernel.compute_attention_weights(q, k, causal=True), weights, atol=1e-5, rtol=1e-5)


def test_parameter_count_and_gradients() -> None:
    layer = MultiHeadAttention(64, 4, FullAttention())
    assert sum(parameter.numel() for parameter in layer.parameters()) == 16640
    x = torch.randn(2, 5, 64)
    layer(*layer.project_qkv(x)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in layer.parameters())


def test_valid_mask_follows_lengths() -> None:
    assert make_valid_mask(torch.zeros(2, 3), None) is None
    valid_mask = make_valid_mask(torch.zeros(2, 3, 5), torch.tensor([1, 3]))
    assert valid_mask is not None
    assert valid_mask.tolist() == [[True, False, False], [True, True, True]]
