"""Sequence-to-sequence learning with teacher forcing and scheduled sampling."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import ClassVar, Literal, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.core import decoding
from trainer.core.artifacts import Artifact, LazyArtifact, Table
from trainer.core.batch import IGNORE_INDEX, Batch, Score
from trainer.core.dataset import Dataset
from trainer.core.decoding import DecoderState
from trainer.core.tokenizer import Tokenizer
from trainer.core.types import NonNegativeFloat, NonNegativeInt, PluginMetric, PositiveInt, Probability
from trainer.metrics.double_precision import to_double
from trainer.tasks.base import token_targets
from trainer.tasks.base.scored_task import ScoredTask
from trainer.tasks.base.teacher_forcing import forcing_ratio
from trainer.tasks.evaluation.sequence_metrics import SequenceMetrics
from trainer.tasks.losses import masked_cross_entropy
from trainer.utils.errors import ConfigError

NUM_EXAMPLES, MAX_TRANSLATIONS = 8, 100
"""Test rows shown by ``sample``, and test rows in the translations table."""

REPORTED_SCORES = (
    *("token_accuracy", "exact_match", "bleu", "beam_token_accuracy", "beam_exact_match", "beam_bleu"),
    *("forcing_gap", "nll"),
)
"""All scores; those of BLEU need a tokenizer, and those of beam search ``beam_size`` above 1."""


class EncoderDecoder(decoding.Decoder, Protocol):
    """Protocol of encoder-decoder models; ``encode`` takes the arguments of ``forward``."""

    def encode(self, **inputs: Tensor) -> DecoderState: ...


class Seq2Seq(ScoredTask):
    """Sequence-to-sequence task with cross-entropy of each target token given those before it.

    At step t the decoder input is target t-1 (teacher forcing) or the model's own greedy prediction of it (scheduled
    sampling); the first input is the start token V. Constant teacher forcing of 1 takes a single parallel pass.

    Scores use free-running generation: ``token_accuracy``, ``exact_match`` (all tokens of a row) and ``bleu`` if the
    data has a tokenizer; with ``beam_size`` above 1 also for beam search, prefixed ``beam_``. ``forcing_gap`` is the
    gain in accuracy from teacher forcing, and ``nll`` is in nats per token with teacher forcing.

    Args:
        vocab_size: number of target tokens V.
        teacher_forcing: ratio of teacher-forced steps, constant or a schedule that decreases to
            ``teacher_forcing_end``.
        teacher_forcing_per: draw per token or per sequence.
        horizon: maximum number of generated tokens.
        beam_size: beams in the scores.
        length_penalty: length penalty of beam search.

    References:
        Williams and Zipser 1989, A Learning Algorithm for Continually Running Fully Recurrent Neural Networks.
        Bengio et al. 2015, Scheduled Sampling for Sequence Prediction with Recurrent Neural Networks.
    """

    shapes = "(B, T, V) -> (B, T)"

    optional_scores = ("token_accuracy", "exact_match", "forcing_gap", "nll")
    required_model_methods: ClassVar[tuple[str, ...]] = ("encode", "decode")

    def __init__(
        self,
        model: nn.Module,
        vocab_size: PositiveInt,
        horizon: PositiveInt,
        teacher_forcing: Probability | Literal["linear", "exponential", "inverse_sigmoid"] = 1.0,
        teacher_forcing_end: Probability = 0.0,
        teacher_forcing_per: Literal["token", "sequence"] = "token",
        beam_size: PositiveInt = 1,
        length_penalty: NonNegativeFloat = 1.0,
        scores: Sequence[
            Literal["token_accuracy", "exact_match", "bleu", "forcing_gap", "nll"]
            | Literal["beam_token_accuracy", "beam_exact_match", "beam_bleu"]
            | PluginMetric
        ] = REPORTED_SCORES,
    ):
        super().__init__(model, scores)
        self.vocab_size = vocab_size
        self.teacher_forcing = teacher_forcing
        self.forcing_end = teacher_forcing_end
        self.teacher_forcing_per = teacher_forcing_per
        self.horizon = horizon
        self.beam_sizes = {"": 1} | ({"beam_": beam_size} if beam_size > 1 else {})
        self.length_penalty = length_penalty
        self.tokenizer: Tokenizer | None = None
        self.sequence_metrics = SequenceMetrics(None, None)

    def setup(self, data: Dataset) -> None:
        text = data.info.text
        self.tokenizer = text.tokenizer
        self.sequence_metrics = SequenceMetrics(text.target_tokenizer, text.end_token)
        self.example_batch = data.test.batch(torch.arange(min(NUM_EXAMPLES, len(data.test))), 0)

    def validate_targets(self, targets: Tensor | None, split: str) -> None:
        token_targets.validate_tokens(targets, split, self.vocab_size, "seq2seq")

    def num_loss_terms(self, batch: Batch) -> Tensor:
        return token_targets.count_tokens(batch)

    def loss(self, batch: Batch, player: str) -> Tensor:
        scores = (
            self.decode_teacher_forced(batch) if self.teacher_forcing == 1 else self.decode_scheduled_sampling(batch)
        )
        # Flattened, because the softmax over a middle dimension is twice as slow.
        return masked_cross_entropy.cross_entropy(scores.flatten(0, 1), batch.require_target().flatten())

    def compute_forcing_ratio(self) -> Tensor:
        """Return the current teacher forcing ratio, a scalar on the device of the task."""
        if isinstance(self.teacher_forcing, str):
            return forcing_ratio(self.teacher_forcing, self.progress, self.forcing_end)
        return torch.full_like(self.progress, self.teacher_forcing)

    def shift_targets_right(self, target: Tensor) -> Tensor:
        """Return the decoder inputs for targets (B, T): the start token, then the targets shifted by one step."""
        shifted = F.pad(target[:, :-1], (1, 0), value=self.vocab_size)
        return shifted.masked_fill(shifted == IGNORE_INDEX, self.vocab_size)

    def decode_teacher_forced(self, batch: Batch) -> Tensor:
        """Return logits (B, T, V) with teacher forcing at every step."""
        past = self.shift_targets_right(batch.require_target())
        return self._encoder_decoder.decode(past, self._encode_batch(batch), None)[0]

    def decode_scheduled_sampling(self, batch: Batch) -> Tensor:
        """Return logits (B, T, V) with teacher forcing at random steps and model predictions at the others."""
        targets, memory = self.shift_targets_right(batch.require_target()), self._encode_batch(batch)
        rows, steps = targets.shape
        draws = torch.rand(rows, steps if self.teacher_forcing_per == "token" else 1, device=targets.device)
        forced = (draws < self.compute_forcing_ratio()).expand(rows, steps)
        tokens, state = targets[:, :1], None
        scores: list[Tensor] = []
        for step in range(steps):
            if step:
                tokens = torch.where(forced[:, step : step + 1], targets[:, step : step + 1], scores[-1].argmax(-1))
            logits, state = self._encoder_decoder.decode(tokens, memory, state)
            scores.append(logits)
        return torch.cat(scores, 1)

    @property
    def _encoder_decoder(self) -> EncoderDecoder:
        return cast(EncoderDecoder, self.model)

    def _encode_batch(self, batch: Batch) -> DecoderState:
        return self._encoder_decoder.encode(**self.select_model_inputs(batch))

    def write(
        self, batch: Batch, beam_size: int = 1, choose: decoding.TokenSelector = decoding.select_greedy
    ) -> Tensor:
        """Generate tokens (B, L) until all rows have ended, or ``horizon`` tokens.

        Tokens are selected by ``choose``, or by beam search if ``beam_size`` exceeds 1.
        """
        memory = self._encode_batch(batch)
        start = torch.full((len(memory[0]), 1), self.vocab_size, device=memory[0].device)
        if beam_size == 1:
            return decoding.generate_tokens(
                self._encoder_decoder, memory, start, self.horizon, choose, self.sequence_metrics.end_token
            )
        return decoding.beam_search(
            self._encoder_decoder,
            memory,
            start,
            self.horizon,
            beam_size,
            self.sequence_metrics.end_token,
            self.length_penalty,
        )

    def score(self, batch: Batch) -> Score:
        target = batch.require_target()
        forced = self.decode_teacher_forced(batch)
        if forced.shape != (*target.shape, self.vocab_size):
            raise ConfigError(
                f"model: logits {tuple(forced.shape)} do not fit targets {tuple(target.shape)}:"
                f" seq2seq needs (B, T, {self.vocab_size}) against (B, T)"
            )
        valid = target != IGNORE_INDEX
        score: Score = {
            "tokens": valid.sum(),
            "rows": valid.any(1).sum(),
            "forced": ((forced.argmax(-1) == target) & valid).sum(),
            "nll": to_double(
                F.cross_entropy(
                    forced.float().flatten(0, 1), target.flatten(), ignore_index=IGNORE_INDEX, reduction="sum"
                )
            ),
        }
        for prefix, beam_size in self.beam_sizes.items():
            written = self.write(batch, beam_size)
            score |= self.sequence_metrics.compute_sums(written, target, prefix)
            if not prefix:
                score |= self.collect_rows(*(self._pad_to_horizon(tokens) for tokens in (written, target)))
        return score

    def _pad_to_horizon(self, tokens: Tensor) -> Tensor:
        """Pad or truncate tokens to (B, horizon), because batches are as long as their longest row."""
        return F.pad(tokens[:, : self.horizon], (0, max(0, self.horizon - tokens.shape[1])), value=IGNORE_INDEX)

    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        scores = {
            name: value
            for prefix in self.beam_sizes
            for name, value in self.sequence_metrics.compute_scores(totals, prefix).items()
        }
        scores["forcing_gap"] = float(totals["forced"]) / float(totals["tokens"]) - scores["token_accuracy"]
        return self.select_scores(scores | {"nll": float(totals["nll"] / totals["tokens"])}, totals)

    def validation_loss(self, scores: Mapping[str, float]) -> float | None:
        return scores.get("nll")

    def make_artifacts(self, batches: Iterable[Batch]) -> Iterator[Artifact | LazyArtifact]:
        if self.tokenizer is not None and self.sequence_metrics.tokenizer is not None:
            yield LazyArtifact("translations", lambda: self.tabulate_translations(batches))

    @torch.no_grad()
    def tabulate_translations(self, batches: Iterable[Batch]) -> Artifact:
        """Tabulate sources, generated outputs and references of the first rows."""
        assert self.tokenizer is not None
        rows: list[tuple[object, ...]] = []
        for batch in batches:
            sources = zip(batch.inputs["x"].tolist(), batch.inputs["lengths"].tolist(), strict=True)
            texts = [self.tokenizer.decode(tokens[:length]) for tokens, length in sources]
            outputs_and_references = (
                [self.sequence_metrics.decode_row(row) for row in tokens.tolist()]
                for tokens in (self.write(batch), batch.require_target())
            )
            rows += zip(batch.index.tolist(), texts, *outputs_and_references, strict=True)
            if len(rows) >= MAX_TRANSLATIONS:
                break
        return Table("translations", ("row", "source", "written", "reference"), rows[:MAX_TRANSLATIONS])

    @torch.no_grad()
    def sample(
        self,
        prompt: str | None = None,
        beam_size: PositiveInt = 1,
        temperature: NonNegativeFloat = 0.0,
        top_k: PositiveInt | None = None,
        top_p: Probability = 1.0,
        seed: NonNegativeInt = 0,
    ) -> Iterator[str]:
        """Generate an output for ``prompt``, or for the first test rows, next to their references.

        Args:
            prompt: source text.
            beam_size: beams; 1 decodes token by token.
            temperature: 0 is greedy, above 0 samples.
            top_k: sample from the k most likely tokens.
            top_p: sample from the smallest set of tokens with this probability mass.

        Raises:
            ConfigError: a data set without text, a prompt without tokens, or beam search with a temperature.
        """
        if self.tokenizer is None:
            raise ConfigError("sample: this data set has no text")
        if beam_size > 1 and temperature > 0:
            raise ConfigError(
                "sample: beam search is deterministic and temperature samples; give either beam_size or temperature"
            )
        device = self.progress.device
        batch = self.example_batch.to(device) if prompt is None else self._tokenize_prompt(prompt, self.tokenizer)
        choose = decoding.make_sampler(temperature, top_k, top_p, torch.Generator(device).manual_seed(seed))
        outputs = [self.sequence_metrics.decode_row(row) for row in self.write(batch, beam_size, choose).tolist()]
        if batch.target is None:
            yield from outputs
            return
        for x, length, output, target in zip(
            batch.inputs["x"], batch.inputs["lengths"], outputs, batch.target, strict=True
        ):
            yield f"source     {self.tokenizer.decode(x[:length].tolist())}\n"
            yield f"output     {output}\n"
            yield f"reference  {self.sequence_metrics.decode_row(target.tolist())}\n\n"

    def _tokenize_prompt(self, prompt: str, tokenizer: Tokenizer) -> Batch:
        tokens = tokenizer.encode(prompt)
        if not tokens:
            raise ConfigError(f"prompt: {prompt!r} contains no tokens; set prompt=TEXT")
        inputs = {"x": torch.tensor([tokens]), "lengths": torch.tensor([len(tokens)])}
        return Batch(inputs, None, torch.zeros(1, dtype=torch.long)).to(self.progress.device)
