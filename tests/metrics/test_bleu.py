"""BLEU against the numbers of sacrebleu."""

from __future__ import annotations

import random

import pytest

from trainer.metrics.bleu import corpus_bleu, count_bleu_ngrams


def sentences(count: int, seed: int) -> tuple[list[list[str]], list[list[str]]]:
    """References, and what somebody made of them."""
    draw = random.Random(seed)
    references = [[draw.choice("abcdef") for _ in range(draw.randint(1, 9))] for _ in range(count)]
    draw = random.Random(seed + 100)
    written = [
        [word if draw.random() < 0.7 else draw.choice("abcdef") for word in words][: draw.randint(1, 10)]
        for words in references
    ]
    return written, references


def bleu_of(written: list[list[str]], references: list[list[str]]) -> float:
    counts = [count_bleu_ngrams(a, b, "?") for a, b in zip(written, references, strict=True)]
    return corpus_bleu([sum(column) for column in zip(*counts, strict=True)])


@pytest.mark.parametrize(
    ("count", "seed", "expected"),
    [(3, 0, 15.077967214367604), (5, 1, 58.25562038319634), (40, 2, 34.60540732418155), (40, 3, 36.67122652759392)],
)
def test_bleu_matches_sacrebleu(count: int, seed: int, expected: float) -> None:
    """The numbers are of sacrebleu 2.6, ``corpus_bleu(..., tokenize="none")``."""
    assert bleu_of(*sentences(count, seed)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("count", "expected"), [(1, 48.892302243490086), (2, 29.457552312272966), (3, 27.51947508909674)]
)
def test_smoothing_and_brevity_penalty_match_sacrebleu(count: int, expected: float) -> None:
    pairs = [
        ("the cat sat on the mat .", "the cat is on the mat ."),
        ("a dog runs", "two dogs run in the park"),
        ("a man in a red shirt climbs a rock .", "a man in red climbs up a rock ."),
    ][:count]
    assert bleu_of([a.split() for a, _ in pairs], [b.split() for _, b in pairs]) == pytest.approx(expected)


def test_bleu_is_100_for_the_reference_and_unknown_words_match_nothing() -> None:
    same = [["a", "b", "c", "d", "e"]]
    assert bleu_of(same, same) == pytest.approx(100)
    unknown = [["a", "b", "?", "d", "e"]]
    assert count_bleu_ngrams(unknown[0], unknown[0], "?") == [4, 2, 0, 0, 5, 4, 3, 2, 5, 5]
    assert bleu_of([[]], same) == 0
