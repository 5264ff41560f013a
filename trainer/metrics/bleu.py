"""Corpus BLEU."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

MAX_NGRAM_ORDER = 4
"""Maximum order of the n-grams."""


def count_bleu_ngrams(hypothesis: Sequence[str], reference: Sequence[str], unknown: str = "") -> list[int]:
    """Count the n-grams of one sentence for ``corpus_bleu``.

    Args:
        hypothesis: Words of the generated sentence.
        reference: Words of the reference sentence.
        unknown: Token of words outside the vocabulary; n-grams that contain it never match.

    Returns:
        Ten counts: matching n-grams of order 1 to 4, n-grams of the hypothesis of order 1 to 4, length of the
        hypothesis, length of the reference.
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
    """Compute corpus BLEU, from 0 to 100.

    ``100 min(1, e^(1 - r/c)) (prod p_n)^(1/4)``. The k-th precision without a match counts 1 / 2^k matches
    (exponential smoothing, the default of sacrebleu).

    Args:
        counts: Sums of ``count_bleu_ngrams`` over the sentences.

    References:
        Papineni et al., "BLEU: a Method for Automatic Evaluation of Machine Translation", ACL 2002.
    """
    matches, num_ngrams, (length, reference_length) = counts[:MAX_NGRAM_ORDER], counts[MAX_NGRAM_ORDER:-2], counts[-2:]
    if not all(num_ngrams) or not matches[0]:
        return 0.0
    log_precision, num_zero = 0.0, 0
    for matched, total in zip(matches, num_ngrams, strict=True):
        num_zero += not matched
        log_precision += math.log((matched or 0.5**num_zero) / total)
    return 100 * min(1.0, math.exp(1 - reference_length / length)) * math.exp(log_precision / MAX_NGRAM_ORDER)
