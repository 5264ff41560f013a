"""Sequence metrics: token accuracy, exact match and BLEU."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.core.batch import IGNORE_INDEX
from trainer.core.tokenizer import UNKNOWN_TOKEN, Tokenizer
from trainer.metrics.bleu import corpus_bleu, count_bleu_ngrams

NO_MATCH_TOKEN = IGNORE_INDEX - 1
"""Padding of generated tokens that differs from every target, including ``IGNORE_INDEX``."""


class SequenceMetrics:
    """Metrics of generated token sequences: token accuracy, exact match and BLEU.

    Args:
        tokenizer: Tokenizer of the targets, for BLEU; None disables BLEU.
        end: Token that ends a target; None if targets have a fixed length.
    """

    def __init__(self, tokenizer: Tokenizer | None, end: int | None):
        self.tokenizer = tokenizer
        self.end_token = end

    def compute_sums(self, generated: Tensor, target: Tensor, prefix: str) -> dict[str, Tensor]:
        """Return the numbers of correct tokens and exact matches of a batch, and its n-gram counts for BLEU, by name.

        Args:
            generated: Generated tokens (B, L).
            target: Target tokens (B, T), padded with ``IGNORE_INDEX``.
            prefix: Prefix of the names.
        """
        valid, steps = target != IGNORE_INDEX, target.shape[1]
        correct = F.pad(generated[:, :steps], (0, max(0, steps - generated.shape[1])), value=NO_MATCH_TOKEN) == target
        sums = {
            prefix + "correct": (correct & valid).sum(),
            prefix + "exact": ((correct | ~valid).all(1) & valid.any(1)).sum(),
        }
        if self.tokenizer is not None:
            pairs = zip(
                self._split_words(generated, self.tokenizer), self._split_words(target, self.tokenizer), strict=True
            )
            counts = [count_bleu_ngrams(hypothesis, reference, UNKNOWN_TOKEN) for hypothesis, reference in pairs]
            sums[prefix + "bleu"] = torch.tensor(counts, device=target.device).sum(0)
        return sums

    def compute_scores(self, totals: dict[str, Tensor], prefix: str) -> dict[str, float]:
        """Return the metrics of a split, by name.

        Args:
            totals: Totals of ``compute_sums``, and the numbers of target ``tokens`` and ``rows``.
            prefix: Prefix of the names.
        """
        scores = {
            prefix + "token_accuracy": float(totals[prefix + "correct"]) / float(totals["tokens"]),
            prefix + "exact_match": float(totals[prefix + "exact"]) / float(totals["rows"]),
        }
        if prefix + "bleu" in totals:
            scores[prefix + "bleu"] = corpus_bleu(totals[prefix + "bleu"].tolist())
        return scores

    def decode_rows(self, tokens: Tensor) -> list[str]:
        """Return the text of each row of tokens (B, T), up to its end token."""
        assert self.tokenizer is not None
        return [self.tokenizer.decode(self._truncate_at_end(row)) for row in tokens.tolist()]

    def _split_words(self, rows: Tensor, tokenizer: Tokenizer) -> list[list[str]]:
        return [tokenizer.decode_words(self._truncate_at_end(row)) for row in rows.tolist()]

    def _truncate_at_end(self, row: Sequence[int]) -> list[int]:
        tokens = [token for token in row if token >= 0]
        return tokens[: tokens.index(self.end_token)] if self.end_token in tokens else tokens
