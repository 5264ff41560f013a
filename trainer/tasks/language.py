"""Language modeling."""

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
from trainer.core.dataset import Dataset
from trainer.core.tokenizer import Tokenizer
from trainer.core.types import NonNegativeFloat, NonNegativeInt, PluginMetric, PositiveInt, Probability
from trainer.metrics.double_precision import to_double
from trainer.tasks.base import token_targets
from trainer.tasks.base.scored_task import ScoredTask
from trainer.tasks.losses import masked_cross_entropy
from trainer.utils.errors import ConfigError

log = logging.getLogger(__name__)


class Language(ScoredTask):
    """Language modeling with cross-entropy of each token given those before it; the model must be causal.

    Scores: ``nll`` in nats per token, ``bits`` per token, ``perplexity`` and ``token_accuracy``.
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
        self.tokenizer = data.info.text.tokenizer

    def validate_targets(self, targets: Tensor | None, split: str) -> None:
        token_targets.validate_tokens(targets, split, self.vocab_size, "language")

    def num_loss_terms(self, batch: Batch) -> Tensor:
        return token_targets.count_tokens(batch)

    def predict_logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return logits (B * S, V) and targets (B * S).

        They are flattened because cross-entropy over a middle dimension is twice as slow.
        """
        logits, target = self.forward_batch(batch), batch.require_target()
        if logits.shape != (*target.shape, self.vocab_size):
            raise ConfigError(
                f"model: logits {tuple(logits.shape)} do not fit targets {tuple(target.shape)}:"
                f" language needs (B, S, {self.vocab_size}) against (B, S)"
            )
        return logits.flatten(0, 1), target.flatten()

    def loss(self, batch: Batch, player: str) -> Tensor:
        return masked_cross_entropy.cross_entropy(*self.predict_logits(batch))

    def score(self, batch: Batch) -> Score:
        logits, target = self.predict_logits(batch)
        logits = logits.float()
        score: Score = {
            "tokens": (target != IGNORE_INDEX).sum(),
            "nll": to_double(F.cross_entropy(logits, target, ignore_index=IGNORE_INDEX, reduction="sum")),
            "correct": (logits.argmax(1) == target).sum(),
        }
        if self.computed_metrics:
            score |= self.collect_rows(logits[target != IGNORE_INDEX], target[target != IGNORE_INDEX])
        return score

    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        nll = float(totals["nll"] / totals["tokens"])
        scores = {
            "nll": nll,
            "bits": nll / math.log(2),
            "perplexity": math.exp(min(nll, 700.0)),
            "token_accuracy": float(totals["correct"]) / float(totals["tokens"]),
        }
        return self.select_scores(scores, totals)

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
        """Generate ``length`` tokens after ``prompt`` and yield the text piece by piece, the prompt first.

        Unknown tokens are never generated; unknown text in the prompt is logged.

        Args:
            temperature: 0 is greedy, 1 samples from the model distribution.
            top_k: sample from the k most likely tokens.
            top_p: sample from the smallest set of tokens with this probability mass.

        Raises:
            ConfigError: a prompt without tokens or with unknown characters.
        """
        if self.tokenizer is None:
            raise ConfigError("sample: this data set has no text")
        start = self.tokenizer.encode(prompt)
        if not start:
            raise ConfigError(f"prompt: {prompt!r} contains no tokens; set prompt=TEXT")
        first = torch.tensor([start[-self.seq_len :]], device=self.progress.device)
        generator = torch.Generator(first.device).manual_seed(seed)
        choose = decoding.make_sampler(temperature, top_k, top_p, generator)
        unknown = self.tokenizer.unknown_id
        if unknown is not None:
            choose = decoding.exclude_token(choose, unknown)
            if num_unknown := start.count(unknown):
                log.warning("prompt: %d of its %d tokens are not in the training text", num_unknown, len(start))
        stream = decoding.stream_tokens(
            cast(decoding.Decoder, self.model), (), first, length, choose, context=self.seq_len
        )
        yield prompt
        num_yielded = len(self.tokenizer.decode(start))
        generated = start
        for token in stream:
            generated = [*generated, int(token)]
            text = self.tokenizer.decode(generated).rstrip(
                "\N{REPLACEMENT CHARACTER}"
            )  # an incomplete character; its remaining bytes may follow
            yield text[num_yielded:]
            num_yielded = max(num_yielded, len(text))
