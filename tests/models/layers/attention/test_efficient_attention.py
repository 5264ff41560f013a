from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.models.layers.attention.attention import AttentionKernel, FullAttention, ReferenceAttention
from trainer.models.layers.attention.efficient_attention import (
    ChunkedAttention,
    LinearAttention,
    LinformerAttention,
    PerformerAttention,
)
from trainer.models.layers.attention.lsh_attention import LSHAttention

STEPS, WIDTH = 11, 8


def make_kernels() -> dict[str, AttentionKernel]:
    torch.manual_seed(0)
    return {
        "full": FullAttention(),
        "reference": ReferenceAttention(),
        "linear": LinearAttention(),
        "performer": PerformerAttention(WIDTH, 20),
        "linformer": LinformerAttention(STEPS, 5),
        "chunked": ChunkedAttention(3),
        "blocks": ChunkedAttention(3, reach=0),
        "lsh": LSHAttention(WIDTH, 4, 3, rounds=2),
    }


KERNELS = make_kernels()
CAUSAL = [name for name, kernel in KERNELS.items() if not kernel.not_causal_reason]


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Causal sums over several chunks, the last of which is not full."""
    monkeypatch.setattr("trainer.models.layers.attention.efficient_attention.FeatureMapAttention.CHUNK_SIZE", 4)


def make_qkv(steps: int = STEPS, rows: int = 3) -> list[Tensor]:
    torch.manual_seed(1)
    return [torch.randn(rows, 2, steps, WIDTH) for _ in range(3)]


def assert_close(a: Tensor, b: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)


# Properties of every kernel.


@pytest.mark.parametrize("name", KERNELS)
def test_padding_is_ignored_for_any_content_and_length(name: str) -> None:
    q, k, v = make_qkv()
    valid_mask = torch.arange(STEPS) < torch.tensor([STEPS, 4, 1])[:, None]
    out = KERNELS[name](q, k, v, valid_mask)
    padding = ~valid_mask[:, None, :, None].expand_as(k)
    garbage = [x.masked_fill(padding, 1e3) for x in (q, k, v)]
    padded_qkv = (*garbage,) if KERNELS[name].shared_qk else (q, *garbage[1:])
    for row, length in enumerate((STEPS, 4, 1)):
        assert_close(KERNELS[name](*padded_qkv, valid_mask)[row, :, :length], out[row, :, :length])
        single_row = KERNELS[name](*(x[row : row + 1, :, :length] for x in (q, k, v)))
        assert_close(single_row[0], out[row, :, :length])


@pytest.mark.parametrize("name", KERNELS)
def test_fully_padded_row_gives_zeros_and_finite_gradients(name: str) -> None:
    qkv = [x.requires_grad_() for x in make_qkv()]
    valid_mask = torch.ones(3, STEPS, dtype=torch.bool)
    valid_mask[1] = False
    out = KERNELS[name](*qkv, valid_mask)
    assert not out[1].any()
    assert out[0].any()
    out.sum().backward()
    assert all(x.grad is None or x.grad.isfinite().all() for x in qkv)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("name", CAUSAL)
def test_outputs_are_causal(name: str, padded: bool) -> None:
    qkv = make_qkv()
    valid_mask = torch.arange(STEPS) < torch.tensor([STEPS, 5, 8])[:, None] if padded else None
    out = KERNELS[name](*qkv, valid_mask, causal=True)
    for step in range(STEPS - 1):
        changed = [torch.cat((x[:, :, : step + 1], 30 * torch.randn_like(x[:, :, step + 1 :])), 2) for x in qkv]
        assert_close(KERNELS[name](*changed, valid_mask, causal=True)[:, :, : step + 1], out[:, :, : step + 1])
        assert not torch.allclose(KERNELS[name](*changed, causal=True)[:, :, step + 1 :], out[:, :, step + 1 :])


@pytest.mark.parametrize("name", CAUSAL)
def test_fewer_queries_than_keys_are_last_steps(name: str) -> None:
    q, k, v = make_qkv()
    full_output = KERNELS[name](q, k, v, causal=True)
    for start in range(STEPS):
        for end in {start + 1, STEPS}:
            out = KERNELS[name](q[:, :, start:end], k[:, :, :end], v[:, :, :end], causal=True)
            assert_close(out, full_output[:, :, start:end])


@pytest.mark.parametrize("name", [name for name, kernel in KERNELS.items() if not kernel.not_cross_reason])
def test_cross_attention_to_longer_or_shorter_sequence(name: str) -> None:
    q, k, v = make_qkv()
    for num_queries, num_keys in ((3, STEPS), (STEPS, 3)):
        out = KERNELS[name](q[:, :, :num_queries], k[:, :, :num_keys], v[:, :, :num_keys])
        assert out.shape == (3, 2, num_queries, WIDTH)
        assert_close(out[:, :, :2], KERNELS[name](q[:, :, :2], k[:, :, :num_keys], v[:, :, :num_keys]))


@pytest.mark.parametrize("name", KERNELS)
def test_bfloat16_is_close_to_float32(name: str) -> None:
    qkv = make_qkv()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half_output = KERNELS[name](*(x.bfloat16() for x in qkv))
    assert half_output.dtype == torch.bfloat16
    assert (half_output.float() - KERNELS[name](*qkv)).abs().median() < 0.01


# Definitions of single kernels.


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("name", ["linear", "performer"])
def test_linear_attention_matches_quadratic_form(name: str, causal: bool) -> None:
    kernel = KERNELS[name]
    q, k, v = make_qkv()
    q_features, k_features = (kernel.log_features(x).exp() for x in (q, k))  # type: ignore[operator]
    scores = q_features @ k_features.transpose(2, 3)
    scores = scores.tril() if causal else scores
    assert_close(kernel(q, k, v, causal=causal), scores / scores.sum(-1, keepdim=True) @ v)


def reference_in_log_space(kernel: AttentionKernel, q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    """Attend every query to every key in log space and double precision."""
    q_features, k_features = (kernel.double().log_features(x.double()) for x in (q, k))  # type: ignore[operator]
    scores = (q_features[:, :, :, None] + k_features[:, :, None]).logsumexp(-1)
    if causal:
        scores = scores.masked_fill(torch.ones_like(scores[0, 0], dtype=torch.bool).triu(1), -torch.inf)
    return scores.softmax(-1) @ v.double()


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("scale", [1.0, 10.0, 60.0])
@pytest.mark.parametrize("name", ["linear", "performer"])
def test_large_norms_match_log_space_reference(name: str, scale: float, causal: bool) -> None:
    """Features of a vector sixty times as long are about exp(-10000), which underflows."""
    kernel = copy.deepcopy(KERNELS[name])
    q, k, v = make_qkv()
    q, k = -scale * q.abs(), scale * torch.cat((k[:, :, :6], k[:, :, 6:] / 20), 2)  # the later keys are short
    qkv = [x.clone().requires_grad_() for x in (q, k, v)]
    out = kernel(*qkv, causal=causal)
    assert_close(out.double(), reference_in_log_space(kernel, q, k, v, causal), 2e-3 if scale > 10 else 1e-4)
    out.square().sum().backward()
    assert all(x.grad is not None and x.grad.isfinite().all() for x in qkv)


@pytest.mark.parametrize("name", ["linear", "performer"])
def test_large_later_key_does_not_change_earlier_outputs(name: str) -> None:
    q, k, v = make_qkv()
    out = KERNELS[name](q, k, v, causal=True)
    k[:, :, 6] *= 1e4
    assert torch.equal(KERNELS[name](q, k, v, causal=True)[:, :, :6], out[:, :, :6])


def test_performer_approximates_softmax_attention() -> None:
    q, k, v = make_qkv()
    q, k = q / 2, k / 2
    expected = FullAttention()(q, k, v)

    def error(features: int) -> float:
        torch.manual_seed(2)
        return float((PerformerAttention(WIDTH, features)(q, k, v) - expected).abs().mean())

    assert error(20_000) < 0.005 < error(200) < error(2)
    performer = PerformerAttention(WIDTH, 20)
    assert "directions" in performer.state_dict()
    first = F.normalize(performer.directions[:WIDTH], dim=1)
    assert_close(first @ first.T, torch.eye(WIDTH))


@pytest.mark.parametrize("causal", [False, True])
def test_chunk_of_full_length_equals_full_attention(causal: bool) -> None:
    qkv = make_qkv()
    valid_mask = torch.arange(STEPS) < torch.tensor([STEPS, 4, 1])[:, None]
    for size in (STEPS, 64):
        for kernel in (ChunkedAttention(size, 0), ChunkedAttention(size)):
            assert_close(kernel(*qkv, valid_mask, causal), FullAttention()(*qkv, valid_mask, causal))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("reach", [0, 1, 2])
def test_a_chunk_attends_to_its_adjacent_chunks(reach: int, causal: bool) -> None:
    q, k, v = make_qkv()
    chunk = torch.arange(STEPS) // 3
    mask = (chunk[:, None] - chunk).abs() <= reach
    mask = mask.tril() if causal else mask
    assert_close(
        ChunkedAttention(3, reach)(q, k, v, causal=causal), F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    )


def test_linformer_with_identity_projection_equals_full_attention() -> None:
    qkv = make_qkv()
    kernel = LinformerAttention(STEPS, STEPS)
    with torch.no_grad():
        kernel.key_proj.copy_(torch.eye(STEPS))
        kernel.value_proj.copy_(torch.eye(STEPS))
    assert_close(kernel(*qkv), FullAttention()(*qkv))


def test_linformer_matches_its_formula_and_refuses_longer_sequences() -> None:
    q, k, v = make_qkv()
    kernel = LinformerAttention(STEPS, 5)
    keys, values = kernel.key_proj @ k, kernel.value_proj @ v
    assert_close(kernel(q, k, v), (q @ keys.transpose(2, 3) / math.sqrt(WIDTH)).softmax(-1) @ values)
    with pytest.raises(ValueError, match=r"linformer was built for 11 steps \(seq_len\) and got 12"):
        kernel(*make_qkv(12))


def reference_lsh_attention(q: Tensor, v: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return attention with shared queries and keys over a mask (B, heads, T, T), and its log normalizer."""
    scores = q @ F.normalize(q, dim=-1).transpose(2, 3) / math.sqrt(WIDTH)
    scores = scores.masked_fill(torch.eye(q.shape[2], dtype=torch.bool), LSHAttention.SELF_SCORE).masked_fill(
        ~mask, -torch.inf
    )
    return scores.softmax(-1) @ v, scores.logsumexp(-1, keepdim=True)


@pytest.mark.parametrize("rounds", [1, 3])
def test_lsh_with_one_chunk_equals_full_attention(rounds: int) -> None:
    q, _, v = make_qkv()
    expected, _ = reference_lsh_attention(q, v, torch.ones(STEPS, STEPS, dtype=torch.bool))
    assert_close(LSHAttention(WIDTH, 2, STEPS, rounds)(q, q, v), expected)
    one = LSHAttention(WIDTH, 2, 3)(q[:, :, :1], q[:, :, :1], v[:, :, :1])
    assert_close(one, v[:, :, :1])


@pytest.mark.parametrize("rounds", [1, 3])
def test_lsh_attends_within_adjacent_sorted_chunks(rounds: int) -> None:
    torch.manual_seed(3)
    kernel = LSHAttention(WIDTH, 6, 2, rounds)
    q, _, v = make_qkv()
    outs, norms = [], []
    for directions in kernel.directions:
        projected = q @ directions
        bucket = torch.cat((projected, -projected), -1).argmax(-1)
        rank = (bucket * STEPS + torch.arange(STEPS)).argsort(-1).argsort(-1)
        chunk = rank // 2
        chunk_distance = chunk[..., :, None] - chunk[..., None, :]
        out, norm = reference_lsh_attention(q, v, (chunk_distance == 0) | (chunk_distance == 1))
        outs.append(out)
        norms.append(norm)
    round_weights = torch.stack(norms).softmax(0)
    assert_close(kernel(q, q, v), (round_weights * torch.stack(outs)).sum(0))


def test_similar_vectors_share_lsh_bucket() -> None:
    torch.manual_seed(0)
    kernel = LSHAttention(WIDTH, 16, 4, rounds=8)
    x = torch.randn(1, 1, 400, WIDTH)

    def bucket_agreement(other: Tensor) -> float:
        return float((kernel._hash_buckets(x) == kernel._hash_buckets(other)).float().mean())

    assert bucket_agreement(3 * x) == 1
    assert bucket_agreement(x + 0.1 * torch.randn_like(x)) > 0.8
    assert bucket_agreement(torch.randn_like(x)) < 0.1


def max_saved_numel(kernel: AttentionKernel, steps: int, causal: bool) -> int:
    """Return the number of elements of the largest tensor saved for backward."""
    sizes = [0]
    qkv = [torch.randn(1, 1, steps, WIDTH, requires_grad=True) for _ in range(3)]

    def pack(x: Tensor) -> Tensor:
        sizes.append(x.numel())
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        kernel(*qkv, causal=causal)
    return max(sizes)


@pytest.mark.parametrize("name", ["linear", "performer", "linformer", "chunked", "lsh"])
@pytest.mark.parametrize("causal", [False, True])
def test_saved_memory_is_linear_in_length(name: str, causal: bool) -> None:
    kernel = LinformerAttention(2048, 5) if name == "linformer" else KERNELS[name]
    if not (causal and kernel.not_causal_reason):
        assert max_saved_numel(kernel, 2048, causal) <= 4.2 * max_saved_numel(kernel, 512, causal)


def test_reference_attention_memory_is_quadratic() -> None:
    assert max_saved_numel(ReferenceAttention(), 512, False) == 16 * max_saved_numel(ReferenceAttention(), 128, False)
