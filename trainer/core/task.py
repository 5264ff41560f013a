"""What is learned: a model, what its players minimise, and how it is scored."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol, Self

import torch
from torch import Tensor, nn

from trainer.core.artifacts import Artifact, LazyArtifact
from trainer.core.batch import Batch, Score
from trainer.core.dataset import Dataset
from trainer.core.metric import Metric


class RowScorer(Protocol):
    """A task that tells how ordinary each row is: what ``train score`` asks of it."""

    def score_rows(self, batch: Batch) -> dict[str, Tensor]:
        """Numbers (B,) for each row, by name."""


class Sampler(Protocol):
    """A task that makes what its data does not hold: what ``train sample`` asks of it."""

    def sample(self, **options: Any) -> Iterator[str | Artifact]:
        """Pieces of text and other artifacts; the options stand in the task's own signature."""


class Task(nn.Module, ABC):
    """A model, its losses and its scores. Subclasses are final.

    A loss is a pure function of parameters, buffers, the batch and torch's generator: nothing is remembered on the
    task and nothing is read back to the host, so that a step can be compiled, accumulated or repeated. ``progress``
    is the share of training done, in [0, 1): the trainer writes it, schedules inside a loss read it.
    """

    monitor: str | Metric
    """The metric of the validation split that chooses the best weights, unless the user names another: the name of a
    built-in one, or a ``Metric`` of the task's own."""

    reported_metrics: Sequence[Metric] = ()
    """Metrics of the task's own that ``metrics`` returns besides ``monitor`` and built-in ones, so that their
    direction is known."""

    optional_scores: ClassVar[tuple[str, ...]] = ()
    """Scores that are measured only if ``task.scores`` names them."""

    row_options: ClassVar[tuple[str, ...]] = ()
    """Options of ``sample`` that name test rows, for which the data is read from its files."""

    target_kind: ClassVar[Literal["class", "number"] | None] = None
    """What a column of a table is read as to be learned: a class or a number; None where ``shapes`` say it, of which
    targets of the output's own shape are numbers, and those with a dimension less are classes."""

    progress: Tensor

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        self.register_buffer("progress", torch.zeros(()), persistent=False)
        parameters = inspect.signature(model.forward).parameters
        self._forward_parameters = tuple(parameters)
        self._accepts_kwargs = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        self.frozen_norms: tuple[nn.Module, ...] = ()
        """Norms of what is not trained, whose running statistics stay as they are."""

    def train(self, mode: bool = True) -> Self:
        """Sets training mode, or evaluation mode, except of the norms that are frozen."""
        super().train(mode)
        for module in self.frozen_norms:
            module.train(False)
        return self

    def param_groups(self) -> dict[str, Iterable[nn.Parameter]]:
        """Who learns: one player with every parameter, the task's own included, unless the task is a game."""
        return {"model": self.parameters()}

    def learning_rates(self) -> dict[str, float]:
        """The learning rates of players that do not take the optimizer's."""
        return {}

    def active_groups(self, step: int) -> tuple[str, ...]:
        """Who updates on this step, in order."""
        return ("model",)

    def count_active_steps(self, step: int) -> dict[str, int]:
        """How often ``turns`` names each player before a step, in closed form: a run may have a billion steps."""
        return {"model": step}

    def num_loss_terms(self, batch: Batch) -> Tensor | int:
        """How many terms the mean loss of a batch is taken over: what makes accumulation equal to one large batch."""
        return len(batch)

    def setup(self, data: Dataset) -> None:
        """A look at the data before training, for a task that must know its spread, its exact likelihood, its names."""

    def validate_targets(self, targets: Tensor | None, split: str) -> None:
        """Refuses targets this task cannot learn from.

        Raises ConfigError with the split, the offending value and the row.
        """

    @abstractmethod
    def loss(self, batch: Batch, player: str) -> Tensor:
        """What that player minimises: a mean, as a scalar tensor."""

    @abstractmethod
    def score(self, batch: Batch) -> Score:
        """Sums over a batch, and rows for scores that need all examples at once."""

    @abstractmethod
    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        """Named scores from the reduced sums and rows of a whole split."""

    def validation_loss(self, scores: Mapping[str, float]) -> float | None:
        """What stands among the scores for the loss that is trained, on its scale; None where nothing does."""
        return scores.get("loss")

    def make_artifacts(self, batches: Iterable[Batch]) -> Iterator[Artifact | LazyArtifact]:
        """What there is to see on the batches of a split, with the weights as they are."""
        return iter(())

    def reference_scores(self) -> tuple[dict[str, float], dict[str, float]]:
        """Test scores of a trivial model and of the best there could be, where the task knows more than the data."""
        return {}, {}

    def sample_preview(self) -> Tensor | None:
        """What is worth watching while it is learned, with the weights as they are; the same noise every time."""
        return None

    def render_preview(self, name: str, shots: Sequence[tuple[str, Tensor]]) -> Iterator[Artifact]:
        """Snapshots with their captions for the eye, under a name: one by itself, or several to compare."""
        return iter(())

    def forward_batch(self, batch: Batch) -> Tensor:
        """The model's output for a batch, given the inputs its ``forward`` names: the rows that are asked for."""
        output: Tensor = self.model(**self.select_model_inputs(batch))
        return output if batch.output_index is None else output.index_select(0, batch.output_index)

    def select_model_inputs(self, batch: Batch) -> dict[str, Tensor]:
        """What of a batch the model's ``forward`` names; everything, where it takes ``**inputs``."""
        return {
            name: value
            for name, value in batch.inputs.items()
            if self._accepts_kwargs or name in self._forward_parameters
        }
