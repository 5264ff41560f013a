"""Ensembles: the task of a run with several models, whose outputs the task averages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from trainer.config.ensemble_keys import KEY
from trainer.core.batch import Batch
from trainer.core.dataset import Dataset
from trainer.core.decoding import Decoder, DecoderState
from trainer.core.output_averaging import OutputAverager
from trainer.core.task import Task
from trainer.engine import factory
from trainer.optim.param_patterns import MODEL_PREFIX


class AveragedModel(nn.Module):
    """Models of an ensemble as one model.

    Args:
        members: The models.
        average: Averages their outputs, as ``OutputAverager.average_outputs``.
    """

    def __init__(self, members: Sequence[nn.Module], average: Callable[[Tensor], Tensor]):
        super().__init__()
        self.members = nn.ModuleList(members)
        self._average = average

    def compute_outputs(self, **inputs: Tensor) -> Tensor:
        """Return the outputs (M, B, ...) of the M models."""
        return torch.stack([member(**inputs) for member in self.members])

    def forward(self, **inputs: Tensor) -> Tensor:
        """Return the averaged output (B, ...)."""
        return self._average(self.compute_outputs(**inputs))


class AveragedDecoder(AveragedModel):
    """Autoregressive models of an ensemble as one, which averages their scores of each next token.

    Memory and state are the tuples of the members one after another.

    Args:
        members: The models, each with ``decode``, and with ``encode`` if it has an encoder.
        average: Averages their outputs, as ``OutputAverager.average_outputs``.
    """

    def encode(self, **inputs: Tensor) -> DecoderState:
        """Return the encoder outputs of all members for the arguments of ``forward``."""
        return tuple(tensor for member in self.members for tensor in cast(Any, member).encode(**inputs))

    def decode(
        self, tokens: Tensor, memory: DecoderState, state: DecoderState | None = None
    ) -> tuple[Tensor, DecoderState]:
        """Decode tokens (B, T) that follow ``state``.

        Args:
            tokens: Token ids (B, T).
            memory: Result of ``encode``; empty for decoder-only models.
            state: State after the preceding tokens; None at the start.

        Returns:
            Log probabilities (B, T, V) of the token after each of ``tokens``, and the state after the last of them.
        """
        memories = self._split(memory)
        states = [None] * len(self.members) if state is None else self._split(state)
        decoded = [
            cast(Decoder, member).decode(tokens, own_memory, own_state)
            for member, own_memory, own_state in zip(self.members, memories, states, strict=True)
        ]
        scores = self._average(torch.stack([scores for scores, _ in decoded]))
        return scores, tuple(tensor for _, own_state in decoded for tensor in own_state)

    def _split(self, tensors: DecoderState) -> list[DecoderState]:
        """Return the tensors of each member, of which there are equally many."""
        size = len(tensors) // len(self.members)
        return [tensors[number * size : (number + 1) * size] for number in range(len(self.members))]


def make_task(
    config: Mapping[str, Any],
    data: Dataset,
    names: Mapping[str, str],
    architecture: Mapping[str, str] | None = None,
) -> Task:
    """Build the task of a saved run, of an ensemble with all its models.

    Args:
        config: Configuration of the run.
        data: Its data set.
        names: Selected option of each group, for messages.
        architecture: Description of the model that the run has stored, if any.

    Raises:
        ConfigError: Sizes, targets or options are missing, invalid or incompatible.
    """
    task = factory.make_task(config, data, names, architecture)
    if config[KEY] is None:
        return task
    others = (factory.instantiate_task(config, data, names, architecture) for _ in range(config[KEY] - 1))
    models = [task.model, *(other.model for other in others)]
    averaged = AveragedDecoder if "decode" in task.required_model_methods else AveragedModel
    task.model = averaged(models, cast(OutputAverager, task).average_outputs)
    return task


def join_weights(members: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the weights of the task of an ensemble; those outside of the models are those of the first member.

    Args:
        members: Weights of the task of each member.
    """
    joined = {name: value for name, value in members[0].items() if not name.startswith(MODEL_PREFIX)}
    for number, weights in enumerate(members):
        for name, value in weights.items():
            if name.startswith(MODEL_PREFIX):
                joined[f"{MODEL_PREFIX}members.{number}.{name.removeprefix(MODEL_PREFIX)}"] = value
    return joined


def compute_member_outputs(task: Task, batch: Batch) -> list[Tensor]:
    """Return the output (B, ...) of each model of an ensemble for a batch, or its rows at ``batch.output_index``.

    Args:
        task: Task of an ensemble.
        batch: The batch.
    """
    assert isinstance(task.model, AveragedModel), "this task is not that of an ensemble"
    outputs = task.model.compute_outputs(**task.select_model_inputs(batch))
    return [*(outputs if batch.output_index is None else outputs.index_select(1, batch.output_index))]


def iter_members(task: Task) -> Iterator[Task]:
    """Yield the task of an ensemble with each of its models in turn, and with all of them again in the end.

    Args:
        task: Task of an ensemble.
    """
    averaged = task.model
    assert isinstance(averaged, AveragedModel), "this task is not that of an ensemble"
    try:
        for member in averaged.members:
            task.model = member
            yield task
    finally:
        task.model = averaged
