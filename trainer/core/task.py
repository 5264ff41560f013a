"""Tasks: a model, the losses of its parameter groups, and its metrics."""

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
    """A task that scores single rows, for ``train score``."""

    def score_rows(self, batch: Batch) -> dict[str, Tensor]:
        """Return scores (B,) of each row, by name."""


class Sampler(Protocol):
    """A task that generates, for ``train sample``."""

    def sample(self, **options: Any) -> Iterator[str | Artifact]:
        """Yield pieces of text and other artifacts; the options are in the task's own signature."""


class Task(nn.Module, ABC):
    """A model, its losses and its metrics. Subclasses are final.

    A loss is a pure function of parameters, buffers, the batch and torch's generator: it stores nothing on the task and
    reads nothing back to the host, so that a step can be compiled, accumulated or repeated. The buffer ``progress`` is
    the fraction of training done, in [0, 1): the trainer writes it, schedules inside a loss read it.
    """

    monitor: str | Metric
    """The validation metric that selects the best weights by default: the name of a built-in one, or a ``Metric`` of
    the task's own.
    """

    reported_metrics: Sequence[Metric] = ()
    """Further metrics of the task's own that ``metrics`` returns, so that their direction is known."""

    optional_scores: ClassVar[tuple[str, ...]] = ()
    """Scores that are computed only if ``task.scores`` names them."""

    row_options: ClassVar[tuple[str, ...]] = ()
    """Options of ``sample`` that refer to test rows, for which the data is read from its files."""

    target_kind: ClassVar[Literal["class", "number"] | None] = None
    """How a table column is read as the target: a class or a number. None infers it from ``shapes``: targets of the
    output's shape are numbers, targets with one dimension less are classes.
    """

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
        """Set training or evaluation mode, except for normalization layers that are frozen."""
        super().train(mode)
        for module in self.frozen_norms:
            module.train(False)
        return self

    def param_groups(self) -> dict[str, Iterable[nn.Parameter]]:
        """Return the parameters of each group; by default one group with all parameters of the task."""
        return {"model": self.parameters()}

    def learning_rates(self) -> dict[str, float]:
        """Return the learning rates of groups that do not use the optimizer's."""
        return {}

    def active_groups(self, step: int) -> tuple[str, ...]:
        """Return the names of the groups that are updated in a step, in order."""
        return ("model",)

    def count_active_steps(self, step: int) -> dict[str, int]:
        """Return how often ``active_groups`` names each group before a step, in closed form: runs can be long."""
        return {"model": step}

    def num_loss_terms(self, batch: Batch) -> Tensor | int:
        """Return the number of terms of the mean loss, which makes accumulation equal to one large batch."""
        return len(batch)

    def setup(self, data: Dataset) -> None:
        """Inspect the data set before training, for statistics, names or an exact likelihood."""

    def validate_targets(self, targets: Tensor | None, split: str) -> None:
        """Validate the targets of a split.

        Raises:
            ConfigError: Names the split, the invalid value and the row.
        """

    @abstractmethod
    def loss(self, batch: Batch, group: str) -> Tensor:
        """Return the loss of a parameter group: a mean, as a scalar tensor."""

    @abstractmethod
    def score(self, batch: Batch) -> Score:
        """Return sums over a batch, and row values for metrics that need all examples at once."""

    @abstractmethod
    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        """Compute the named metrics of a whole split from the accumulated sums and row values."""

    def validation_loss(self, scores: Mapping[str, float]) -> float | None:
        """Return the metric on the scale of the training loss; None if there is none."""
        return scores.get("loss")

    def make_artifacts(self, batches: Iterable[Batch]) -> Iterator[Artifact | LazyArtifact]:
        """Yield artifacts of the batches of a split, with the current weights."""
        return iter(())

    def reference_scores(self) -> tuple[dict[str, float], dict[str, float]]:
        """Return test scores of a trivial model and the best possible ones, where the task knows more than the data."""
        return {}, {}

    def sample_preview(self) -> Tensor | None:
        """Return tensors that show the progress of training, from the same noise every time."""
        return None

    def render_preview(self, name: str, shots: Sequence[tuple[str, Tensor]]) -> Iterator[Artifact]:
        """Render snapshots with their captions as artifacts: one alone, or several to compare."""
        return iter(())

    def forward_batch(self, batch: Batch) -> Tensor:
        """Return the model's output for a batch, at ``output_index`` if the batch has one."""
        output: Tensor = self.model(**self.select_model_inputs(batch))
        return output if batch.output_index is None else output.index_select(0, batch.output_index)

    def select_model_inputs(self, batch: Batch) -> dict[str, Tensor]:
        """Select the inputs that the model's ``forward`` names; all of them, if it takes ``**inputs``."""
        return {
            name: value
            for name, value in batch.inputs.items()
            if self._accepts_kwargs or name in self._forward_parameters
        }
