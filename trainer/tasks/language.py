"""The next token of a text, from all before it."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.core import decoding
from trainer.core.batch import IGNORE_INDEX, Batch, Score
from trainer.core.dataset import Dataset, Tokenizer
from trainer.core.types import NonNegativeFloat, NonNegativeInt, PluginMetric, PositiveInt, Probability
from trainer.metrics.double_precision import to_double
from trainer.tasks.base import token_targets
from trainer.tasks.base.scored_task import ScoredTask
from trainer.tasks.losses import masked_cross_entropy
from trainer.utils.errors import ConfigError

log = logging.getLogger(__name__)


class Language(ScoredTask):
    """Cross-entropy of each token given those before it, all of a window in one pass; so a model must not see what
    comes later. Scores: ``nll`` in nats a token, ``compute_bits_per_dim`` a token, ``perplexity`` and
    ``token_accuracy``.
    """

    shapes = "(B, S, V) -> (B, S)"

    optional_scores = ("nll", "bits", "perplexity", "token_accuracy")
    required_model_methods: ClassVar[tuple[str, ...]] = ("forward", "decode")

    def __init__(
        self,
        model: nn.Module,
        vocab_size: PositiveInt,
        seq_len: PositiveInt,
        scores: Sequence[Literal["nll", "bits", "perplexity", "token_accuracy"] | PluginMetric] = optional_scores,
    ):
        super().__init__(model, scores)
        self.vocab_size = vocab_size
        self.seq_len = seq_len
        self.tokenizer: Tokenizer | None = None

    def setup(self, data: Dataset) -> None:
        self.tokenizer = data.info.tokenizer

    def validate_targets(self, targets: Tensor | None, split: str) -> None:
        token_targets.validate_tokens(targets, split, self.vocab_size, "language")

    def num_loss_terms(self, batch: Batch) -> Tensor:
        return token_targets.count_tokens(batch)

    def predict_logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Scores (B * S, V) and targets (B * S): with V in the middle a cross-entropy takes twice the time."""
        scores, target = self.forward_batch(batch), batch.require_target()
        if scores.shape != (*target.shape, self.vocab_size):
            raise ConfigError(
                f"model: scores {tuple(scores.shape)} do not fit targets {tuple(target.shape)}:"
                f" language wants (B, S, {self.vocab_size}) against (B, S)"
            )
        return scores.flatten(0, 1), target.flatten()

    def loss(self, batch: Batch, player: str) -> Tensor:
        return masked_cross_entropy.cross_entropy(*self.predict_logits(batch))

    def score(self, batch: Batch) -> Score:
        scores, target = self.predict_logits(batch)
        scores = scores.float()
        score: Score = {
            "tokens": (target != IGNORE_INDEX).sum(),
            "nll": to_double(F.cross_entropy(scores, target, ignore_index=IGNORE_INDEX, reduction="sum")),
            "correct": (scores.argmax(1) == target).sum(),
        }
        if self.computed_metrics:
            score |= self.collect_rows(scores[target != IGNORE_INDEX], target[target != IGNORE_INDEX])
        return score

    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        nll = float(totals["nll"] / totals["tokens"])
        known = {
            "nll": nll,
            "bits": nll / math.log(2),
            "perplexity": math.exp(min(nll, 700.0)),
            "token_accuracy": float(totals["correct"]) / float(totals["tokens"]),
        }
        return self.select_scores(known, totals)

    def validation_loss(self, scores: Mapping[str, float]) -> float | None:
        return scores.get("nll")

    @torch.no_grad()
    def sample(
        self,
        prompt: str = "\n",
        length: PositiveInt = 300,
        temperature: NonNegativeFloat = 0.8,
        top_k: PositiveInt | None = None,
        top_p: Probability = 1.0,
        seed: NonNegativeInt = 0,
    ) -> Iterator[str]:
        """Text that goes on from ``prompt`` for ``length`` tokens, piece by piece, the prompt first.

        temperature: 0 takes the likeliest token, 1 draws as the model says. top_k: only from the k likeliest. top_p:
        only from the fewest tokens that hold this share of the probability.

        The token that stands for unknown text is never written; one in the prompt is told in the log.

        Raises ConfigError for a prompt with a character the model has never seen, or without tokens.
        """
        if self.tokenizer is None:
            raise ConfigError("sample: this data set has no text")
        start = self.tokenizer.encode(prompt)
        if not start:
            raise ConfigError(f"prompt: {prompt!r} holds no token to begin with; prompt=TEXT gives one")
        first = torch.tensor([start[-self.seq_len :]], device=self.progress.device)
        generator = torch.Generator(first.device).manual_seed(seed)
        choose = decoding.make_sampler(temperature, top_k, top_p, generator)
        unknown = self.tokenizer.unknown_id
        if unknown is not None:
            choose = decoding.exclude_token(choose, unknown)
            if strange := start.count(unknown):
                log.warning("prompt: %d of its %d tokens are not in the training text", strange, len(start))
        stream = decoding.stream_tokens(
            cast(decoding.Decoder, self.model), (), first, length, choose, context=self.seq_len
        )
        yield prompt
        shown = len(self.tokenizer.decode(start))
        written = start
        for token in stream:
            written = [*written, int(token)]
            text = self.tokenizer.decode(written).rstrip(
                "\N{REPLACEMENT CHARACTER}"
            )  # the rest of its bytes may follow
            yield text[shown:]
            shown = max(shown, len(text))
