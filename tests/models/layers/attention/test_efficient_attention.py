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


def kinds() -> dict[str, AttentionKernel]:
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


KINDS = kinds()
CAUSAL = [name for name, attend in KINDS.items() if not attend.not_causal_reason]


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Causal sums over several chunks, the last of which is not full."""
    monkeypatch.setattr("trainer.models.layers.attention.efficient_attention.FeatureMapAttention.CHUNK_SIZE", 4)


def random(steps: int = STEPS, rows: int = 3) -> list[Tensor]:
    torch.manual_seed(1)
    return [torch.randn(rows, 2, steps, WIDTH) for _ in range(3)]


def close(a: Tensor, b: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)


# What holds for every kind.


@pytest.mark.parametrize("name", KINDS)
def test_padding_is_ignored_for_any_content_and_length(name: str) -> None:
    q, k, v = random()
    real = torch.arange(STEPS) < torch.tensor([STEPS, 4, 1])[:, None]
    out = KINDS[name](q, k, v, real)
    hole = ~real[:, None, :, None].expand_as(k)
    garbage = [x.masked_fill(hole, 1e3) for x in (q, k, v)]
    kept = (*garbage,) if KINDS[name].shared_qk else (q, *garbage[1:])
    for row, length in enumerate((STEPS, 4, 1)):
        close(KINDS[name](*kept, real)[row, :, :length], out[row, :, :length])
        alone = KINDS[name](*(x[row : row + 1, :, :length] for x in (q, k, v)))
        close(alone[0], out[row, :, :length])


@pytest.mark.parametrize("name", KINDS)
def test_padding_alone_gives_zeros_and_finite_gradients(name: str) -> None:
    given = [x.requires_grad_() for x in random()]
    real = torch.ones(3, STEPS, dtype=torch.bool)
    real[1] = False
    out = KINDS[name](*given, real)
    assert not out[1].any()
    assert out[0].any()
    out.sum().backward()
    assert all(x.grad is None or x.grad.isfinite().all() for x in given)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("name", CAUSAL)
def test_no_later_step_changes_an_output(name: str, padded: bool) -> None:
    given = random()
    real = torch.arange(STEPS) < torch.tensor([STEPS, 5, 8])[:, None] if padded else None
    out = KINDS[name](*given, real, causal=True)
    for step in range(STEPS - 1):
        changed = [torch.cat((x[:, :, : step + 1], 30 * torch.randn_like(x[:, :, step + 1 :])), 2) for x in given]
        close(KINDS[name](*changed, real, causal=True)[:, :, : step + 1], out[:, :, : step + 1])
        assert not torch.allclose(KINDS[name](*changed, causal=True)[:, :, step + 1 :], out[:, :, step + 1 :])


@pytest.mark.parametrize("name", CAUSAL)
def test_queries_are_the_last_steps_of_what_was_kept(name: str) -> None:
    q, k, v = random()
    whole = KINDS[name](q, k, v, causal=True)
    for start in range(STEPS):
        for end in {start + 1, STEPS}:
            out = KINDS[name](q[:, :, start:end], k[:, :, :end], v[:, :, :end], causal=True)
            close(out, whole[:, :, start:end])


@pytest.mark.parametrize("name", [name for name, attend in KINDS.items() if not attend.not_cross_reason])
def test_another_sequence_may_be_longer_or_shorter(name: str) -> None:
    q, k, v = random()
    for asked, kept in ((3, STEPS), (STEPS, 3)):
        out = KINDS[name](q[:, :, :asked], k[:, :, :kept], v[:, :, :kept])
        assert out.shape == (3, 2, asked, WIDTH)
        close(out[:, :, :2], KINDS[name](q[:, :, :2], k[:, :, :kept], v[:, :, :kept]))


@pytest.mark.parametrize("name", KINDS)
def test_half_precision_is_near_single(name: str) -> None:
    given = random()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = KINDS[name](*(x.bfloat16() for x in given))
    assert half.dtype == torch.bfloat16
    assert (half.float() - KINDS[name](*given)).abs().median() < 0.01


# What each is.


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("name", ["linear", "performer"])
def test_both_orders_of_multiplication_are_equal(name: str, causal: bool) -> None:
    attend = KINDS[name]
    q, k, v = random()
    asked, kept = (attend.log_features(x).exp() for x in (q, k))  # type: ignore[operator]
    scores = asked @ kept.transpose(2, 3)
    scores = scores.tril() if causal else scores
    close(attend(q, k, v, causal=causal), scores / scores.sum(-1, keepdim=True) @ v)


def in_double(attend: AttentionKernel, q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    """Every query with every key, feature by feature, in the logs of double precision."""
    asked, kept = (attend.double().log_features(x.double()) for x in (q, k))  # type: ignore[operator]
    scores = (asked[:, :, :, None] + kept[:, :, None]).logsumexp(-1)
    if causal:
        scores = scores.masked_fill(torch.ones_like(scores[0, 0], dtype=torch.bool).triu(1), -torch.inf)
    return scores.softmax(-1) @ v.double()


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("length", [1.0, 10.0, 60.0])
@pytest.mark.parametrize("name", ["linear", "performer"])
def test_long_queries_and_keys_attend_as_in_logs(name: str, length: float, causal: bool) -> None:
    """Features of one that is sixty times as long are e^-10000: too small for any number."""
    attend = copy.deepcopy(KINDS[name])
    q, k, v = random()
    q, k = -length * q.abs(), length * torch.cat((k[:, :, :6], k[:, :, 6:] / 20), 2)  # the later keys are short
    given = [x.clone().requires_grad_() for x in (q, k, v)]
    out = attend(*given, causal=causal)
    close(out.double(), in_double(attend, q, k, v, causal), 2e-3 if length > 10 else 1e-4)
    out.square().sum().backward()
    assert all(x.grad is not None and x.grad.isfinite().all() for x in given)


@pytest.mark.parametrize("name", ["linear", "performer"])
def test_a_later_key_does_not_change_earlier_outputs(name: str) -> None:
    q, k, v = random()
    out = KINDS[name](q, k, v, causal=True)
    k[:, :, 6] *= 1e4
    assert torch.equal(KINDS[name](q, k, v, causal=True)[:, :, :6], out[:, :, :6])


def test_random_features_are_those_of_the_softmax() -> None:
    q, k, v = random()
    q, k = q / 2, k / 2
    expected = FullAttention()(q, k, v)

    def error(features: int) -> float:
        torch.manual_seed(2)
        return float((PerformerAttention(WIDTH, features)(q, k, v) - expected).abs().mean())

    assert error(20_000) < 0.005 < error(200) < error(2)
    performer = PerformerAttention(WIDTH, 20)
    assert "directions" in performer.state_dict()
    first = F.normalize(performer.directions[:WIDTH], dim=1)
    close(first @ first.T, torch.eye(WIDTH))


@pytest.mark.parametrize("causal", [False, True])
def test_a_chunk_of_full_length_is_full_attention(causal: bool) -> None:
    given = random()
    real = torch.arange(STEPS) < torch.tensor([STEPS, 4, 1])[:, None]
    for size in (STEPS, 64):
        for attend in (ChunkedAttention(size, 0), ChunkedAttention(size)):
            close(attend(*given, real, causal), FullAttention()(*given, real, causal))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("reach", [0, 1, 2])
def test_a_chunk_attends_to_its_adjacent_chunks(reach: int, causal: bool) -> None:
    q, k, v = random()
    chunk = torch.arange(STEPS) // 3
    mask = (chunk[:, None] - chunk).abs() <= reach
    mask = mask.tril() if causal else mask
    close(ChunkedAttention(3, reach)(q, k, v, causal=causal), F.scaled_dot_product_attention(q, k, v, attn_mask=mask))


def test_linformer_without_mixing_is_full_attention() -> None:
    given = random()
    attend = LinformerAttention(STEPS, STEPS)
    with torch.no_grad():
        attend.key_proj.copy_(torch.eye(STEPS))
        attend.value_proj.copy_(torch.eye(STEPS))
    close(attend(*given), FullAttention()(*given))


def test_linformer_matches_its_formula_and_refuses_longer_sequences() -> None:
    q, k, v = random()
    attend = LinformerAttention(STEPS, 5)
    keys, values = attend.key_proj @ k, attend.value_proj @ v
    close(attend(q, k, v), (q @ keys.transpose(2, 3) / math.sqrt(WIDTH)).softmax(-1) @ values)
    with pytest.raises(ValueError, match=r"linformer was built for 11 steps \(seq_len\) and got 12"):
        attend(*random(12))


def hashed(q: Tensor, v: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Shared queries and keys over a mask (B, heads, T, T), written out, and the log of the normaliser."""
    scores = q @ F.normalize(q, dim=-1).transpose(2, 3) / math.sqrt(WIDTH)
    scores = scores.masked_fill(torch.eye(q.shape[2], dtype=torch.bool), LSHAttention.SELF_SCORE).masked_fill(
        ~mask, -torch.inf
    )
    return scores.softmax(-1) @ v, scores.logsumexp(-1, keepdim=True)


@pytest.mark.parametrize("rounds", [1, 3])
def test_hashing_into_one_chunk_is_full_attention(rounds: int) -> None:
    q, _, v = random()
    expected, _ = hashed(q, v, torch.ones(STEPS, STEPS, dtype=torch.bool))
    close(LSHAttention(WIDTH, 2, STEPS, rounds)(q, q, v), expected)
    one = LSHAttention(WIDTH, 2, 3)(q[:, :, :1], q[:, :, :1], v[:, :, :1])
    close(one, v[:, :, :1])


@pytest.mark.parametrize("rounds", [1, 3])
def test_hashing_is_attention_among_neighbors_in_the_sorted_order(rounds: int) -> None:
    torch.manual_seed(3)
    attend = LSHAttention(WIDTH, 6, 2, rounds)
    q, _, v = random()
    outs, norms = [], []
    for directions in attend.directions:
        along = q @ directions
        bucket = torch.cat((along, -along), -1).argmax(-1)
        rank = (bucket * STEPS + torch.arange(STEPS)).argsort(-1).argsort(-1)
        chunk = rank // 2
        behind = chunk[..., :, None] - chunk[..., None, :]
        out, norm = hashed(q, v, (behind == 0) | (behind == 1))
        outs.append(out)
        norms.append(norm)
    shares = torch.stack(norms).softmax(0)
    close(attend(q, q, v), (shares * torch.stack(outs)).sum(0))


def test_near_vectors_meet_in_a_bucket() -> None:
    torch.manual_seed(0)
    attend = LSHAttention(WIDTH, 16, 4, rounds=8)
    x = torch.randn(1, 1, 400, WIDTH)

    def meet(other: Tensor) -> float:
        return float((attend._hash_buckets(x) == attend._hash_buckets(other)).float().mean())

    assert meet(3 * x) == 1
    assert meet(x + 0.1 * torch.randn_like(x)) > 0.8
    assert meet(torch.randn_like(x)) < 0.1


def kept_for_the_gradient(attend: AttentionKernel, steps: int, causal: bool) -> int:
    """Numbers in the largest tensor that a pass keeps."""
    sizes = [0]
    given = [torch.randn(1, 1, steps, WIDTH, requires_grad=True) for _ in range(3)]

    def pack(x: Tensor) -> Tensor:
        sizes.append(x.numel())
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        attend(*given, causal=causal)
    return max(sizes)


@pytest.mark.parametrize("name", ["linear", "performer", "linformer", "chunked", "lsh"])
@pytest.mark.parametrize("causal", [False, True])
def test_nothing_grows_with_the_square(name: str, causal: bool) -> None:
    attend = LinformerAttention(2048, 5) if name == "linformer" else KINDS[name]
    if not (causal and attend.not_causal_reason):
        assert kept_for_the_gradient(attend, 2048, causal) <= 4.2 * kept_for_the_gradient(attend, 512, causal)


def test_the_written_out_softmax_does() -> None:
    assert kept_for_the_gradient(ReferenceAttention(), 512, False) == 16 * kept_for_the_gradient(
        ReferenceAttention(), 128, False
    )
