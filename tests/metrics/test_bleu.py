"""BLEU against sacrebleu."""

from __future__ import annotations

import random

import pytest

from trainer.metrics.bleu import corpus_bleu, count_bleu_ngrams


def make_sentences(count: int, seed: int) -> tuple[list[list[str]], list[list[str]]]:
    """Return random hypotheses and references."""
    generator = random.Random(seed)
    references = [[generator.choice("abcdef") for _ in range(generator.randint(1, 9))] for _ in range(count)]
    generator = random.Random(seed + 100)
    hypotheses = [
        [word if generator.random() < 0.7 else generator.choice("abcdef") for word in words][: generator.randint(1, 10)]
        for words in references
    ]
    return hypotheses, references


def compute_bleu(hypotheses: list[list[str]], references: list[list[str]]) -> float:
    counts = [count_bleu_ngrams(a, b, "?") for a, b in zip(hypotheses, references, strict=True)]
    return corpus_bleu([sum(column) for column in zip(*counts, strict=True)])


@pytest.mark.parametrize(
    ("count", "seed", "expected"),
    [(3, 0, 15.077967214367604), (5, 1, 58.25562038319634), (40, 2, 34.60540732418155), (40, 3, 36.67122652759392)],
)
def test_bleu_matches_sacrebleu(count: int, seed: int, expected: float) -> None:
    """The numbers are of sacrebleu 2.6, ``corpus_bleu(..., tokenize="none")``."""
    assert compute_bleu(*make_sentences(count, seed)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("count", "expected"), [(1, 48.892302243490086), (2, 29.457552312272966), (3, 27.51947508909674)]
)
def test_smoothing_and_brevity_penalty_match_sacrebleu(count: int, expected: float) -> None:
    pairs = [
        ("the cat sat on the mat .", "the cat is on the mat ."),
        ("a dog runs", "two dogs run in the park"),
        ("a man in a red shirt climbs a rock .", "a man in red climbs up a rock ."),
    ][:count]
    assert compute_bleu([a.split() for a, _ in pairs], [b.split() for _, b in pairs]) == pytest.approx(expected)


def test_bleu_is_100_for_the_reference_and_unknown_words_match_nothing() -> None:
    same = [["a", "b", "c", "d", "e"]]
    assert compute_bleu(same, same) == pytest.approx(100)
    unknown = [["a", "b", "?", "d", "e"]]
    assert count_bleu_ngrams(unknown[0], unknown[0], "?") == [4, 2, 0, 0, 5, 4, 3, 2, 5, 5]
    assert compute_bleu([[]], same) == 0
