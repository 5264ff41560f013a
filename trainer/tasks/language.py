"""Language modeling."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from trainer.core import decoding, rng, token_selection
from trainer.core.batch import IGNORE_INDEX, Batch, Score
from trainer.core.dataset import Dataset
from trainer.core.prediction import Prediction
from trainer.core.row_terms import MetricTerms
from trainer.core.tokenizer import Tokenizer
from trainer.core.types import NonNegativeFloat, NonNegativeInt, PluginMetric, PositiveInt, Probability
from trainer.metrics.classification import accuracy
from trainer.tasks.base import prompts, token_targets
from trainer.tasks.base.scored_task import ScoredTask
from trainer.tasks.evaluation import row_terms
from trainer.tasks.evaluation.probability_average import average_token_scores
from trainer.tasks.losses import masked_cross_entropy

KEY_RANGE = 1 << 31
"""Range of the key by which the random numbers of a row are drawn."""
log = logging.getLogger(__name__)


class Language(ScoredTask):
    """Autoregressive language modeling: the loss is ``-mean_t log p(x_t | x_1..x_{t-1})`` over all tokens of a batch.

    The model must be causal: the logits at a position must not depend on later tokens.

    Args:
        model: Model with logits (B, S, V).
        vocab_size: Number of tokens V.
        seq_len: Context length S, the number of tokens that the model can attend to.
        scores: Reported metrics; the first one selects the best weights. ``nll`` is in nats per token, ``bits`` in bits
            per token, ``perplexity`` is exp(nll).

    References:
        Bengio et al., A Neural Probabilistic Language Model, JMLR 2003.
    """

    shapes = "(B, S, V) -> (B, S)"

    optional_scores = ("nll", "bits", "perplexity", "token_accuracy")
    required_model_methods: ClassVar[tuple[str, ...]] = ("forward", "decode")
    scores_outputs = True

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
        """Return the logits (B * S, V) and targets (B * S) of a batch.

        They are flattened because cross-entropy over a middle dimension is twice as slow.

        Raises:
            ConfigError: The logits do not match the targets.
        """
        logits, target = self.forward_batch(batch), batch.require_target()
        token_targets.validate_logits(logits, target, self.vocab_size, "language")
        return logits.flatten(0, 1), target.flatten()

    def loss(self, batch: Batch, group: str) -> Tensor:
        return masked_cross_entropy.cross_entropy(*self.predict_logits(batch))

    def score(self, batch: Batch) -> Score:
        logits, target = self.predict_logits(batch)
        logits = logits.float()
        score: Score = {
            "tokens": (target != IGNORE_INDEX).sum(),
            "nll": masked_cross_entropy.sum_nll(logits, target),
            "correct": (logits.argmax(1) == target).sum(),
        }
        if self.computed_metrics:
            score |= self.collect_rows(logits[target != IGNORE_INDEX], target[target != IGNORE_INDEX])
        return score

    def collect_row_terms(self, batch: Batch) -> dict[str, MetricTerms]:
        logits, target = self.predict_logits(batch)[0].float(), batch.require_target()
        logits = logits.view(*target.shape, -1).movedim(-1, 1)
        return row_terms.make_class_terms(logits, logits.argmax(1), target)

    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        nll = float(totals["nll"] / totals["tokens"])
        scores = {
            "nll": nll,
            "bits": nll / math.log(2),
            "perplexity": math.exp(min(nll, 700.0)),
            "token_accuracy": accuracy(totals["correct"], totals["tokens"]),
        }
        return self.select_scores(scores, totals)

    def validation_loss(self, scores: Mapping[str, float]) -> float | None:
        return scores.get("nll")

    def average_outputs(self, outputs: Tensor) -> Tensor:
        return average_token_scores(outputs)

    def choose_tokens(self, batch: Batch) -> Tensor:
        return self.forward_batch(batch).argmax(-1)

    def predict(
        self,
        batch: Batch,
        length: PositiveInt = 100,
        temperature: NonNegativeFloat = 0.0,
        top_k: PositiveInt | None = None,
        top_p: Probability = 1.0,
        seed: NonNegativeInt = 0,
    ) -> Prediction:
        """Continue the text of each row; random numbers depend on the seed and on the row alone.

        The unknown token is never generated.

        Args:
            batch: Texts ``x`` (B, T) of at most ``seq_len`` tokens, and their ``lengths`` (B,) if these differ.
            length: Number of tokens to generate.
            temperature: Softmax temperature; 0 is greedy, 1 samples from the distribution of the model.
            top_k: Sample from the k most likely tokens; None for all.
            top_p: Sample from the smallest set of most likely tokens with this probability mass.
            seed: Random seed.
        """
        x = batch.inputs["x"]
        lengths = batch.inputs.get("lengths", torch.full((len(x),), x.shape[1])).cpu()
        rows = zip(x.tolist(), lengths.tolist(), strict=True)
        keys = torch.tensor([rng.hash_seed(*tokens[:count]) % KEY_RANGE for tokens, count in rows], device=x.device)
        select_token = token_selection.make_row_sampler(temperature, top_k, top_p, keys, seed, int(lengths.min()))
        if self.tokenizer is not None and self.tokenizer.unknown_id is not None:
            select_token = token_selection.exclude_token(select_token, self.tokenizer.unknown_id)
        model = cast(decoding.Decoder, self.model)
        return {"tokens": decoding.continue_prompts(model, x, lengths, length, select_token, self.seq_len)}

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
        """Generate text after a prompt and yield it piece by piece, the prompt first.

        The unknown token is never generated; a warning reports unknown tokens of the prompt.

        Args:
            prompt: Text to continue.
            length: Number of tokens to generate.
            temperature: Softmax temperature; 0 is greedy, 1 samples from the distribution of the model.
            top_k: Sample from the k most likely tokens; None for all.
            top_p: Sample from the smallest set of most likely tokens with this probability mass.
            seed: Random seed.

        Raises:
            ConfigError: The data set has no text, or the prompt has no tokens or cannot be encoded.
        """
        tokenizer = prompts.require_tokenizer(self.tokenizer)
        prompt_tokens = prompts.encode_prompt(prompt, tokenizer)
        context = torch.tensor([prompt_tokens[-self.seq_len :]], device=self.progress.device)
        generator = torch.Generator(context.device).manual_seed(seed)
        select_token = token_selection.make_sampler(temperature, top_k, top_p, generator)
        unknown = tokenizer.unknown_id
        if unknown is not None:
            select_token = token_selection.exclude_token(select_token, unknown)
            if num_unknown := prompt_tokens.count(unknown):
                log.warning("prompt: %d of its %d tokens are not in the training text", num_unknown, len(prompt_tokens))
        stream = decoding.stream_tokens(
            cast(decoding.Decoder, self.model), (), context, length, select_token, context_length=self.seq_len
        )
        yield prompt
        num_yielded = len(tokenizer.decode(prompt_tokens))
        generated = prompt_tokens
        for token in stream:
            generated = [*generated, int(token)]
            # The last character may be incomplete until its remaining bytes follow.
            text = tokenizer.decode(generated).rstrip("\N{REPLACEMENT CHARACTER}")
            yield text[num_yielded:]
            num_yielded = max(num_yielded, len(text))
