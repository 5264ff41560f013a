"""BLEU: matching n-grams of sentences."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

MAX_NGRAM_ORDER = 4
"""The longest runs of words that BLEU compares."""


def count_bleu_ngrams(hypothesis: Sequence[str], reference: Sequence[str], unknown: str = "") -> list[int]:
    """What one sentence adds to ``corpus_bleu``: matching runs of 1 to 4 words, runs written, words written and
    expected.

    ``unknown`` stands for a word outside a vocabulary: it matches nothing, itself included.
    """
    matches, num_ngrams = [], []
    for order in range(1, MAX_NGRAM_ORDER + 1):
        hypothesis_ngrams, reference_ngrams = (
            Counter(tuple(words[i : i + order]) for i in range(len(words) - order + 1))
            for words in (hypothesis, reference)
        )
        matches.append(
            sum(count for ngram, count in (hypothesis_ngrams & reference_ngrams).items() if unknown not in ngram)
        )
        num_ngrams.append(max(0, len(hypothesis) - order + 1))
    return [*matches, *num_ngrams, len(hypothesis), len(reference)]


def corpus_bleu(counts: Sequence[float]) -> float:
    """Corpus BLEU, 0 to 100, from summed ``count_bleu_ngrams`` (Papineni et al. 2002).

    ``100 min(1, e^(1 - r/c)) (prod p_n)^(1/4)``; the k-th p_n without a match counts 1 / 2^k matches, as is usual.
    """
    matches, num_ngrams, (length, reference_length) = counts[:MAX_NGRAM_ORDER], counts[MAX_NGRAM_ORDER:-2], counts[-2:]
    if not all(num_ngrams) or not matches[0]:
        return 0.0
    log_precision, num_zero = 0.0, 0
    for matched, total in zip(matches, num_ngrams, strict=True):
        num_zero += not matched
        log_precision += math.log((matched or 0.5**num_zero) / total)
    return 100 * min(1.0, math.exp(1 - reference_length / length)) * math.exp(log_precision / MAX_NGRAM_ORDER)
