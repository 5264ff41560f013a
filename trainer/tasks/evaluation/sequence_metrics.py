"""How good written tokens are, beside those that were expected."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.core.batch import IGNORE_INDEX
from trainer.core.dataset import UNKNOWN_TOKEN, Tokenizer
from trainer.metrics.bleu import corpus_bleu, count_bleu_ngrams

NO_MATCH_TOKEN = IGNORE_INDEX - 1
"""A token that matches none, not even one that does not count."""


class SequenceMetrics:
    """Compares written with expected tokens, up to the end of each row.

    codec: what the tokens are in text, for BLEU; None leaves it out. end: the token that ends a row, if one does.
    """

    def __init__(self, codec: Tokenizer | None, end: int | None):
        self.tokenizer = codec
        self.end_token = end

    def compute_sums(self, written: Tensor, target: Tensor, prefix: str) -> dict[str, Tensor]:
        """Sums of written (B, L) against target (B, T): right tokens, rows right to their end, counts for BLEU."""
        counted, steps = target != IGNORE_INDEX, target.shape[1]
        right = F.pad(written[:, :steps], (0, max(0, steps - written.shape[1])), value=NO_MATCH_TOKEN) == target
        sums = {
            prefix + "correct": (right & counted).sum(),
            prefix + "exact": ((right | ~counted).all(1) & counted.any(1)).sum(),
        }
        if self.tokenizer is not None:
            pairs = zip(
                self._split_words(written, self.tokenizer), self._split_words(target, self.tokenizer), strict=True
            )
            counts = [count_bleu_ngrams(ours, theirs, UNKNOWN_TOKEN) for ours, theirs in pairs]
            sums[prefix + "bleu"] = torch.tensor(counts, device=target.device).sum(0)
        return sums

    def compute_scores(self, totals: dict[str, Tensor], prefix: str) -> dict[str, float]:
        """Named scores from reduced sums, with the numbers of expected ``tokens`` and ``rows`` among them."""
        scores = {
            prefix + "token_accuracy": float(totals[prefix + "correct"]) / float(totals["tokens"]),
            prefix + "exact_match": float(totals[prefix + "exact"]) / float(totals["rows"]),
        }
        if prefix + "bleu" in totals:
            scores[prefix + "bleu"] = corpus_bleu(totals[prefix + "bleu"].tolist())
        return scores

    def decode_row(self, row: Sequence[int]) -> str:
        """A row up to its end, in text."""
        assert self.tokenizer is not None
        return self.tokenizer.decode(self._truncate_at_end(row))

    def _split_words(self, rows: Tensor, codec: Tokenizer) -> list[list[str]]:
        return [codec.decode_words(self._truncate_at_end(row)) for row in rows.tolist()]

    def _truncate_at_end(self, row: Sequence[int]) -> list[int]:
        real = [token for token in row if token >= 0]
        return real[: real.index(self.end_token)] if self.end_token in real else real
