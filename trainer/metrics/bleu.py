"""BLEU: matching n-grams of sentences."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

MAX_NGRAM_ORDER = 4
"""The longest runs of words that BLEU compares."""


def count_bleu_ngrams(written: Sequence[str], reference: Sequence[str], unknown: str = "") -> list[int]:
    """What one sentence adds to ``corpus_bleu``: matching runs of 1 to 4 words, runs written, words written and
    expected.

    ``unknown`` stands for a word outside a vocabulary: it matches nothing, itself included.
    """
    matches, runs = [], []
    for order in range(1, MAX_NGRAM_ORDER + 1):
        ours, theirs = (
            Counter(tuple(words[i : i + order]) for i in range(len(words) - order + 1))
            for words in (written, reference)
        )
        matches.append(sum(count for run, count in (ours & theirs).items() if unknown not in run))
        runs.append(max(0, len(written) - order + 1))
    return [*matches, *runs, len(written), len(reference)]


def corpus_bleu(counts: Sequence[float]) -> float:
    """Corpus BLEU, 0 to 100, from summed ``count_bleu_ngrams`` (Papineni et al. 2002).

    ``100 min(1, e^(1 - r/c)) (prod p_n)^(1/4)``; the k-th p_n without a match counts 1 / 2^k matches, as is usual.
    """
    matches, runs, (length, expected) = counts[:MAX_NGRAM_ORDER], counts[MAX_NGRAM_ORDER:-2], counts[-2:]
    if not all(runs) or not matches[0]:
        return 0.0
    logs, misses = 0.0, 0
    for hits, tries in zip(matches, runs, strict=True):
        misses += not hits
        logs += math.log((hits or 0.5**misses) / tries)
    return 100 * min(1.0, math.exp(1 - expected / length)) * math.exp(logs / MAX_NGRAM_ORDER)
