"""How good written tokens are, beside those that were expected."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.core.batch import IGNORE
from trainer.core.dataset import UNKNOWN, Codec
from trainer.metrics import metrics

NOTHING = IGNORE - 1
"""A token that matches none, not even one that does not count."""


class Judge:
    """Compares written with expected tokens, up to the end of each row.

    codec: what the tokens are in text, for BLEU; None leaves it out. end: the token that ends a row, if one does.
    """

    def __init__(self, codec: Codec | None, end: int | None):
        self.codec = codec
        self.end = end

    def compare(self, written: Tensor, target: Tensor, prefix: str) -> dict[str, Tensor]:
        """Sums of written (B, L) against target (B, T): right tokens, rows right to their end, counts for BLEU."""
        counted, steps = target != IGNORE, target.shape[1]
        right = F.pad(written[:, :steps], (0, max(0, steps - written.shape[1])), value=NOTHING) == target
        sums = {
            prefix + "correct": (right & counted).sum(),
            prefix + "exact": ((right | ~counted).all(1) & counted.any(1)).sum(),
        }
        if self.codec is not None:
            pairs = zip(self._words(written, self.codec), self._words(target, self.codec), strict=True)
            counts = [metrics.bleu_counts(ours, theirs, UNKNOWN) for ours, theirs in pairs]
            sums[prefix + "bleu"] = torch.tensor(counts, device=target.device).sum(0)
        return sums

    def scores(self, totals: dict[str, Tensor], prefix: str) -> dict[str, float]:
        """Named scores from reduced sums, with the numbers of expected ``tokens`` and ``rows`` among them."""
        scores = {
            prefix + "token_accuracy": float(totals[prefix + "correct"]) / float(totals["tokens"]),
            prefix + "exact_match": float(totals[prefix + "exact"]) / float(totals["rows"]),
        }
        if prefix + "bleu" in totals:
            scores[prefix + "bleu"] = metrics.bleu(totals[prefix + "bleu"].tolist())
        return scores

    def text(self, row: Sequence[int]) -> str:
        """A row up to its end, in text."""
        assert self.codec is not None
        return self.codec.decode(self._ended(row))

    def _words(self, rows: Tensor, codec: Codec) -> list[list[str]]:
        return [codec.words(self._ended(row)) for row in rows.tolist()]

    def _ended(self, row: Sequence[int]) -> list[int]:
        real = [token for token in row if token >= 0]
        return real[: real.index(self.end)] if self.end in real else real
