"""A sequence of tokens from another, with teacher forcing that can fade over training."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.batch import IGNORE, Batch, Score
from trainer.errors import ConfigError
from trainer.task import Task
from trainer.types import PositiveInt, Probability


def forcing_ratio(
    schedule: Literal["linear", "exponential", "inverse_sigmoid"], progress: Tensor, end: float
) -> Tensor:
    """How often the true past is fed when a share ``progress`` of training, in [0, 1], is done.

    ``end + (1 - end) d(progress)`` with the decays of Bengio et al. 2015 over a run of any length: ``linear`` 1 - p;
    ``exponential`` .01^p; ``inverse_sigmoid`` 1 / (1 + e^(10 (p - 1/2))); the last two moved and stretched so that d
    goes from exactly 1 to exactly 0.
    """
    decay, first, last = {
        "linear": (1 - progress, 1.0, 0.0),
        "exponential": (0.01**progress, 1.0, 0.01),
        "inverse_sigmoid": (torch.sigmoid(10 * (0.5 - progress)), 1 / (1 + math.exp(-5)), 1 / (1 + math.exp(5))),
    }[schedule]
    return end + (1 - end) * (decay - last) / (first - last)


class EncoderDecoder(Protocol):
    """What this task asks of a model; ``encode`` takes what ``forward`` takes."""

    def encode(self, **inputs: Tensor) -> Any: ...
    def decode(self, tokens: Tensor, memory: Any, state: Any) -> tuple[Tensor, Any]: ...


class Seq2Seq(Task):
    """(B, T, V) -> (B, T)

    Cross-entropy of each target token given those before it. At step t the decoder is fed target t-1 (teacher
    forcing, Williams and Zipser 1989), or its own best guess of it (scheduled sampling, Bengio et al. 2015); token V,
    the start, stands before the first. ``teacher_forcing`` is the share of steps fed the truth: a constant, or a
    schedule falling over the run to ``teacher_forcing_end``; the coin is tossed for every token, or once a sequence.
    A constant 1 is one parallel pass.

    Scores are those of ``forward``, which never sees a target: ``token_accuracy`` and ``exact_match`` (every token of
    a row). ``forcing_gap`` is what feeding the truth would have added to the token accuracy.
    """

    monitor = "token_accuracy"
    needs: ClassVar[tuple[str, ...]] = ("encode", "decode")

    def __init__(
        self,
        model: nn.Module,
        vocab_size: PositiveInt,
        teacher_forcing: Probability | Literal["linear", "exponential", "inverse_sigmoid"] | None,
        teacher_forcing_end: Probability,
        teacher_forcing_per: Literal["token", "sequence"],
    ):
        super().__init__(model)
        self.vocab_size = vocab_size
        self.teacher_forcing = 1.0 if teacher_forcing is None else teacher_forcing
        self.end = teacher_forcing_end
        self.per = teacher_forcing_per

    def check(self, targets: Tensor | None, split: str) -> None:
        if targets is None or targets.dtype != torch.long or targets.ndim != 2:
            kind = "none" if targets is None else f"{str(targets.dtype).removeprefix('torch.')} {tuple(targets.shape)}"
            raise ConfigError(f"task: seq2seq needs int64 target tokens (rows, steps); the {split} split has {kind}")
        wrong = (targets != IGNORE) & ((targets < 0) | (targets >= self.vocab_size))
        if wrong.any():
            row, step = wrong.nonzero()[0].tolist()
            raise ConfigError(
                f"data: {split} target tokens must be 0..{self.vocab_size - 1};"
                f" found {int(targets[row, step])} at row {row}, step {step}"
            )
        if (targets == IGNORE).all():
            raise ConfigError(f"data: every {split} target token is {IGNORE} (not counted): nothing to learn from")

    def weight(self, batch: Batch) -> Tensor:
        assert batch.target is not None
        return (batch.target != IGNORE).sum()

    def loss(self, batch: Batch, player: str) -> Tensor:
        assert batch.target is not None
        scores = self.forced(batch) if self.teacher_forcing == 1 else self.mixed(batch)
        return F.cross_entropy(scores.transpose(1, 2), batch.target, ignore_index=IGNORE)

    def ratio(self) -> Tensor:
        """The share of steps fed the truth at this moment of training, a scalar on the task's device."""
        if isinstance(self.teacher_forcing, str):
            return forcing_ratio(self.teacher_forcing, self.progress, self.end)
        return torch.full_like(self.progress, self.teacher_forcing)

    def past(self, target: Tensor) -> Tensor:
        """What stands before each target token (B, T): the start token, then the target one step late."""
        before = F.pad(target[:, :-1], (1, 0), value=self.vocab_size)
        return before.masked_fill(before == IGNORE, self.vocab_size)

    def forced(self, batch: Batch) -> Tensor:
        """Scores (B, T, V) with the true past at every step."""
        assert batch.target is not None
        return self._coder.decode(self.past(batch.target), self._memory(batch), None)[0]

    def mixed(self, batch: Batch) -> Tensor:
        """Scores (B, T, V) with the true past at some steps and the model's own at the others."""
        assert batch.target is not None
        past, memory = self.past(batch.target), self._memory(batch)
        rows, steps = past.shape
        draws = torch.rand(rows, steps if self.per == "token" else 1, device=past.device)
        forced = (draws < self.ratio()).expand(rows, steps)
        tokens, state = past[:, :1], None
        scores: list[Tensor] = []
        for step in range(steps):
            if step:
                tokens = torch.where(forced[:, step : step + 1], past[:, step : step + 1], scores[-1].argmax(-1))
            logits, state = self._coder.decode(tokens, memory, state)
            scores.append(logits)
        return torch.cat(scores, 1)

    @property
    def _coder(self) -> EncoderDecoder:
        return cast(EncoderDecoder, self.model)

    def _memory(self, batch: Batch) -> Any:
        return self._coder.encode(**self.inputs(batch))

    def score(self, batch: Batch) -> Score:
        target = batch.target
        assert target is not None
        free = self.call(batch)
        if free.shape != (*target.shape, self.vocab_size):
            raise ConfigError(
                f"model: scores {tuple(free.shape)} do not fit targets {tuple(target.shape)}:"
                f" seq2seq wants (B, T, {self.vocab_size}) against (B, T)"
            )
        counted = target != IGNORE
        right = free.argmax(-1) == target
        return {
            "tokens": counted.sum(),
            "rows": counted.any(1).sum(),
            "correct": (right & counted).sum(),
            "exact": ((right | ~counted).all(1) & counted.any(1)).sum(),
            "forced": ((self.forced(batch).argmax(-1) == target) & counted).sum(),
        }

    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        free, forced = float(totals["correct"] / totals["tokens"]), float(totals["forced"] / totals["tokens"])
        return {
            "token_accuracy": free,
            "exact_match": float(totals["exact"] / totals["rows"]),
            "forcing_gap": forced - free,
        }
