"""Sequence-to-sequence learning with teacher forcing and scheduled sampling."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.core import decoding, token_selection
from trainer.core.artifacts import Artifact, LazyArtifact, Table
from trainer.core.batch import IGNORE_INDEX, Batch, Score
from trainer.core.dataset import Dataset
from trainer.core.decoding import DecoderState
from trainer.core.inference_module import InferenceModule
from trainer.core.prediction import Prediction
from trainer.core.token_selection import TokenSelector
from trainer.core.tokenizer import Tokenizer
from trainer.core.types import NonNegativeFloat, NonNegativeInt, PluginMetric, PositiveInt, Probability
from trainer.tasks.base import prompts, token_targets
from trainer.tasks.base.model_protocols import EncoderDecoder
from trainer.tasks.base.next_token_module import NextTokenModule
from trainer.tasks.base.scored_task import ScoredTask
from trainer.tasks.base.teacher_forcing import forcing_ratio
from trainer.tasks.evaluation.probability_average import average_token_scores
from trainer.tasks.evaluation.sequence_metrics import SequenceMetrics
from trainer.tasks.losses import masked_cross_entropy
from trainer.utils.errors import ConfigError

NUM_EXAMPLES, MAX_TRANSLATIONS = 8, 100
"""Test rows that ``sample`` shows, and test rows in the table of translations."""

REPORTED_SCORES = (
    "token_accuracy",
    "exact_match",
    "bleu",
    "beam_token_accuracy",
    "beam_exact_match",
    "beam_bleu",
    "forcing_gap",
    "nll",
)
"""Names of all metrics; BLEU needs a tokenizer, and those of beam search need ``beam_size`` above 1."""


class Seq2Seq(ScoredTask):
    """Sequence-to-sequence learning with the loss ``-mean_t log p(y_t | x, y_1..y_{t-1})`` over target tokens y.

    At step t the decoder input is target t-1 (teacher forcing) or the model's own greedy prediction of it (scheduled
    sampling); the first input is the start token V. A constant teacher forcing probability of 1 takes one parallel
    pass.

    Metrics use free-running generation: ``token_accuracy``, ``exact_match`` (all tokens of a row) and ``bleu`` if the
    data set has a tokenizer; with ``beam_size`` above 1 also for beam search, prefixed ``beam_``. ``forcing_gap`` is
    the increase in token accuracy by teacher forcing, and ``nll`` is in nats per token with teacher forcing.

    Args:
        model: Encoder-decoder model with logits (B, T, V), see ``EncoderDecoder``.
        vocab_size: Number of target tokens V.
        horizon: Maximum number of generated tokens.
        teacher_forcing: Probability of teacher forcing, constant or a schedule that decreases from 1 to
            ``teacher_forcing_end``.
        teacher_forcing_end: Final probability of a schedule.
        teacher_forcing_per: Unit of the random choice, ``token`` or ``sequence``.
        beam_size: Beam size in evaluation; 1 for none.
        length_penalty: Exponent of the length in beam search.
        scores: Reported metrics; the first one selects the best weights.

    References:
        Williams and Zipser, A Learning Algorithm for Continually Running Fully Recurrent Neural Networks, Neural
            Computation 1989 (teacher forcing).
        Bengio et al., Scheduled Sampling for Sequence Prediction with Recurrent Neural Networks, NeurIPS 2015.
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
        self.progress_options = ("teacher_forcing",) if isinstance(teacher_forcing, str) else ()
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

    def loss(self, batch: Batch, group: str) -> Tensor:
        if self.teacher_forcing == 1:
            logits = self.decode_teacher_forced(batch)
        else:
            logits = self.decode_scheduled_sampling(batch)
        # Flattened, because the softmax over a middle dimension is twice as slow.
        return masked_cross_entropy.cross_entropy(logits.flatten(0, 1), batch.require_target().flatten())

    def compute_forcing_ratio(self) -> Tensor:
        """Return the current probability of teacher forcing, a scalar tensor."""
        if isinstance(self.teacher_forcing, str):
            return forcing_ratio(self.teacher_forcing, self.progress, self.forcing_end)
        return torch.full_like(self.progress, self.teacher_forcing)

    def shift_targets_right(self, target: Tensor) -> Tensor:
        """Return the decoder inputs (B, T) for targets (B, T): the start token, then all targets but the last."""
        shifted = F.pad(target[:, :-1], (1, 0), value=self.vocab_size)
        return shifted.masked_fill(shifted == IGNORE_INDEX, self.vocab_size)

    def decode_teacher_forced(self, batch: Batch) -> Tensor:
        """Return logits (B, T, V) with teacher forcing at every step."""
        decoder_inputs = self.shift_targets_right(batch.require_target())
        return self._encoder_decoder.decode(decoder_inputs, self._encode_batch(batch), None)[0]

    def decode_scheduled_sampling(self, batch: Batch) -> Tensor:
        """Return logits (B, T, V) with teacher forcing at random steps and model predictions at the others."""
        targets, memory = self.shift_targets_right(batch.require_target()), self._encode_batch(batch)
        rows, steps = targets.shape
        draws = torch.rand(rows, steps if self.teacher_forcing_per == "token" else 1, device=targets.device)
        is_forced = (draws < self.compute_forcing_ratio()).expand(rows, steps)
        tokens, state = targets[:, :1], None
        logits: list[Tensor] = []
        for step in range(steps):
            if step:
                tokens = torch.where(is_forced[:, step : step + 1], targets[:, step : step + 1], logits[-1].argmax(-1))
            step_logits, state = self._encoder_decoder.decode(tokens, memory, state)
            logits.append(step_logits)
        return torch.cat(logits, 1)

    @property
    def _encoder_decoder(self) -> EncoderDecoder:
        return cast(EncoderDecoder, self.model)

    def _encode_batch(self, batch: Batch) -> DecoderState:
        return self._encoder_decoder.encode(**self.select_model_inputs(batch))

    def generate(
        self, batch: Batch, beam_size: int = 1, select_token: TokenSelector = token_selection.select_greedy
    ) -> Tensor:
        """Return generated tokens (B, L), with L at most ``horizon``.

        Args:
            batch: Batch with the source inputs.
            beam_size: Beam size; 1 decodes token by token.
            select_token: Function from scores (B, V) to tokens (B), if ``beam_size`` is 1.
        """
        memory = self._encode_batch(batch)
        start = torch.full((len(memory[0]), 1), self.vocab_size, device=memory[0].device)
        model, end_token = self._encoder_decoder, self.sequence_metrics.end_token
        if beam_size == 1:
            return decoding.generate_tokens(model, memory, start, self.horizon, select_token, end_token)
        return decoding.beam_search(model, memory, start, self.horizon, beam_size, end_token, self.length_penalty)

    def average_outputs(self, outputs: Tensor) -> Tensor:
        return average_token_scores(outputs)

    def choose_tokens(self, batch: Batch) -> Tensor:
        return self.decode_teacher_forced(batch).argmax(-1)

    def predict(self, batch: Batch, beam_size: PositiveInt = 1) -> Prediction:
        return {"tokens": self.generate(batch, beam_size)}

    def score(self, batch: Batch) -> Score:
        target = batch.require_target()
        logits = self.decode_teacher_forced(batch)
        token_targets.validate_logits(logits, target, self.vocab_size, "seq2seq")
        valid = target != IGNORE_INDEX
        score: Score = {
            "tokens": valid.sum(),
            "rows": valid.any(1).sum(),
            "forced": ((logits.argmax(-1) == target) & valid).sum(),
            "nll": masked_cross_entropy.sum_nll(logits.flatten(0, 1), target.flatten()),
        }
        for prefix, beam_size in self.beam_sizes.items():
            generated = self.generate(batch, beam_size)
            score |= self.sequence_metrics.compute_sums(generated, target, prefix)
            if not prefix:
                score |= self.collect_rows(self._pad_to_horizon(generated), self._pad_to_horizon(target))
        return score

    def _pad_to_horizon(self, tokens: Tensor) -> Tensor:
        """Return tokens padded or truncated to (B, horizon), because the length of batches varies."""
        return F.pad(tokens[:, : self.horizon], (0, max(0, self.horizon - tokens.shape[1])), value=IGNORE_INDEX)

    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        scores: dict[str, float] = {}
        for prefix in self.beam_sizes:
            scores |= self.sequence_metrics.compute_scores(totals, prefix)
        scores["forcing_gap"] = float(totals["forced"]) / float(totals["tokens"]) - scores["token_accuracy"]
        return self.select_scores(scores | {"nll": float(totals["nll"] / totals["tokens"])}, totals)

    def validation_loss(self, scores: Mapping[str, float]) -> float | None:
        return scores.get("nll")

    def make_artifacts(self, batches: Iterable[Batch]) -> Iterator[Artifact | LazyArtifact]:
        if self.tokenizer is not None and self.sequence_metrics.tokenizer is not None:
            yield LazyArtifact("translations", lambda: self.tabulate_translations(batches))

    @torch.no_grad()
    def tabulate_translations(self, batches: Iterable[Batch]) -> Artifact:
        """Return a table of the sources, generated outputs and references of the first rows of a split."""
        assert self.tokenizer is not None
        rows: list[tuple[object, ...]] = []
        for batch in batches:
            source_tokens = zip(batch.inputs["x"].tolist(), batch.inputs["lengths"].tolist(), strict=True)
            sources = [self.tokenizer.decode(tokens[:length]) for tokens, length in source_tokens]
            outputs = self.sequence_metrics.decode_rows(self.generate(batch))
            references = self.sequence_metrics.decode_rows(batch.require_target())
            rows += zip(batch.index.tolist(), sources, outputs, references, strict=True)
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
        """Yield the output for a prompt, or the outputs for the first test rows with their sources and references.

        Args:
            prompt: Source text; None for the first test rows.
            beam_size: Beam size; 1 decodes token by token.
            temperature: Softmax temperature; 0 is greedy.
            top_k: Sample from the k most likely tokens; None for all.
            top_p: Sample from the smallest set of most likely tokens with this probability mass.
            seed: Random seed.

        Raises:
            ConfigError: The data set has no text, the prompt has no tokens, or beam search is used with a temperature.
        """
        tokenizer = prompts.require_tokenizer(self.tokenizer)
        if beam_size > 1 and temperature > 0:
            raise ConfigError(
                "sample: beam search is deterministic and temperature samples; give either beam_size or temperature"
            )
        device = self.progress.device
        batch = self.example_batch.to(device) if prompt is None else self._tokenize_prompt(prompt, tokenizer)
        select_token = token_selection.make_sampler(
            temperature, top_k, top_p, torch.Generator(device).manual_seed(seed)
        )
        outputs = self.sequence_metrics.decode_rows(self.generate(batch, beam_size, select_token))
        if batch.target is None:
            yield from outputs
            return
        references = self.sequence_metrics.decode_rows(batch.target)
        for x, length, output, reference in zip(
            batch.inputs["x"], batch.inputs["lengths"], outputs, references, strict=True
        ):
            yield f"source     {tokenizer.decode(x[:length].tolist())}\n"
            yield f"output     {output}\n"
            yield f"reference  {reference}\n\n"

    def _tokenize_prompt(self, prompt: str, tokenizer: Tokenizer) -> Batch:
        tokens = prompts.encode_prompt(prompt, tokenizer)
        inputs = {"x": torch.tensor([tokens]), "lengths": torch.tensor([len(tokens)])}
        return Batch(inputs, None, torch.zeros(1, dtype=torch.long)).to(self.progress.device)

    def make_inference_module(self) -> InferenceModule:
        def make_inputs(batch: Batch) -> dict[str, Tensor]:
            return {"tokens": self.shift_targets_right(batch.require_target())} | self.select_model_inputs(batch)

        return InferenceModule(NextTokenModule(self._encoder_decoder), make_inputs, NextTokenModule.shapes)
