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
"""Token that matches no target, not even an ignored one."""


class SequenceMetrics:
    """Sequence metrics of generated against target tokens, up to the end token of each row.

    Args:
        tokenizer: detokenizes for BLEU; None disables BLEU.
        end: end token, if there is one.
    """

    def __init__(self, tokenizer: Tokenizer | None, end: int | None):
        self.tokenizer = tokenizer
        self.end_token = end

    def compute_sums(self, generated: Tensor, target: Tensor, prefix: str) -> dict[str, Tensor]:
        """Sum correct tokens, exact matches and BLEU counts of generated (B, L) against target (B, T) tokens."""
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
        """Compute named scores from reduced sums, which include the numbers of target ``tokens`` and ``rows``."""
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
