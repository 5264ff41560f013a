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
from trainer.core.inference_module import InferenceModule
from trainer.core.metric import Metric
from trainer.core.prediction import Prediction


class RowScorer(Protocol):
    """Protocol of tasks that score single rows, for ``train score``."""

    def score_rows(self, batch: Batch) -> dict[str, Tensor]:
        """Return the scores (B,) of the rows, by name."""


class Predictor(Protocol):
    """Protocol of tasks that predict the targets of rows, for ``train predict``."""

    def predict(self, batch: Batch, **options: Any) -> Prediction:
        """Return the predictions of a batch, which needs no targets; further parameters are options of the command."""


class Sampler(Protocol):
    """Protocol of tasks that generate samples, for ``train sample``."""

    def sample(self, **options: Any) -> Iterator[str | Artifact]:
        """Yield pieces of text and other artifacts; the signature of a task declares its options."""


class Task(nn.Module, ABC):
    """Base class of tasks: a model with its losses, metrics and artifacts.

    A subclass implements ``loss``, ``score`` and ``metrics`` and sets ``monitor``; every other method has a default. It
    declares ``shapes``, such as ``(B, C, ...) -> (B, ...)``: the model outputs that it accepts and the targets that it
    compares them with.

    A loss is a pure function of parameters, buffers, the batch and torch's generator. It stores nothing on the task and
    does not synchronize with the device, so that a step can be compiled, accumulated or repeated.

    Args:
        model: Model to train.

    Attributes:
        progress: Fraction of training completed, in [0, 1): written by the trainer, read by schedules within a loss.
    """

    monitor: str | Metric = ""
    """Validation metric that selects the best weights by default: the name of a built-in metric, or a ``Metric``."""

    reported_metrics: Sequence[Metric] = ()
    """Other metrics returned by ``metrics`` that are not built in, to make their direction known."""

    optional_scores: ClassVar[tuple[str, ...]] = ()
    """Metrics that are computed only if ``task.scores`` lists them."""

    row_options: ClassVar[tuple[str, ...]] = ()
    """Options of ``sample`` that refer to test rows, for which the files of the data set are read."""

    loss_floor: float | None = 0.0
    """Lowest loss on one batch, which ``debug=overfit`` approaches; None if unknown, as for likelihoods and GANs."""

    progress_options: tuple[str, ...] = ()
    """Options with a schedule over ``progress``: its fraction of training, or its name for one over all of training."""

    required_model_methods: ClassVar[tuple[str, ...]] = ("forward",)
    """Methods that the task calls on its model."""

    target_kind: ClassVar[Literal["class", "number"] | None] = None
    """Kind of target that a table column is read as. None infers it from ``shapes``: targets with the shape of the
    output are numbers, targets with one dimension less are classes.
    """

    predicts_classes: ClassVar[bool] = False
    """Whether the model returns the logits of the class of each row, so that ``task.classifier`` may name a run."""

    scores_outputs: ClassVar[bool] = False
    """Whether ``score`` depends on a batch only through ``forward_batch``, called once, and the targets."""

    needs_targets_to_score: bool = False
    """Whether ``score_rows`` needs targets, because the model is conditioned on them."""

    progress: Tensor

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        self.register_buffer("progress", torch.zeros(()), persistent=False)
        parameters = inspect.signature(model.forward).parameters
        self._forward_parameters = tuple(parameters)
        self._accepts_kwargs = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        self.frozen_norms: tuple[nn.Module, ...] = ()
        """Normalization layers of frozen parameters, whose running statistics must not change."""
        self.decisions: dict[str, Tensor] = {}
        """Values fitted on validation rows after training, by name, on the CPU; empty until then."""

    @property
    def selected_scores(self) -> Sequence[str | Metric] | None:
        """Entries of ``task.scores``, the first of which is the monitor; None for a task without such a choice."""
        return None

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode, but keep frozen normalization layers in evaluation mode."""
        super().train(mode)
        for module in self.frozen_norms:
            module.train(False)
        return self

    def param_groups(self) -> dict[str, Iterable[nn.Parameter]]:
        """Return the parameters of each parameter group, by name; by default one group ``model`` with all of them."""
        return {"model": self.parameters()}

    def learning_rates(self) -> dict[str, float]:
        """Return the learning rates of the parameter groups that do not use ``optimizer.lr``, by group name."""
        return {}

    def active_groups(self, step: int) -> tuple[str, ...]:
        """Return the names of the parameter groups that a step updates, in order.

        Args:
            step: Number of the step, from 0.
        """
        return ("model",)

    def count_active_steps(self, step: int) -> dict[str, int]:
        """Return the number of updates of each parameter group before a step, by group name.

        It must agree with ``active_groups``, but in closed form, because runs can be long.

        Args:
            step: Number of the step, from 0.
        """
        return {"model": step}

    def num_loss_terms(self, batch: Batch) -> Tensor | int:
        """Return the number of terms that ``loss`` averages, by which accumulated batches are weighted.

        With these weights gradient accumulation equals one large batch.
        """
        return len(batch)

    def setup(self, data: Dataset) -> None:
        """Read statistics, names or an exact likelihood from the data set, before training or inference."""

    def validate_targets(self, targets: Tensor | None, split: str) -> None:
        """Validate the targets of a split before training.

        Args:
            targets: Targets of all rows; None if the split has none.
            split: ``train``, ``val`` or ``test``.

        Raises:
            ConfigError: The targets do not suit the task; the message has the split, the invalid value and its row.
        """

    def example_decisions(self) -> dict[str, Tensor]:
        """Return values of the names, shapes and dtypes that ``fit_decisions`` fits; empty if it fits none."""
        return {}

    def validate_decision_targets(self, targets: Tensor | None) -> None:
        """Validate the targets of the validation rows before training, if decisions are to be fitted on them.

        Raises:
            ConfigError: The decisions cannot be fitted on them.
        """

    def collect_decision_rows(self, batch: Batch) -> Score:
        """Return what ``fit_decisions`` needs of a batch of validation rows.

        Args:
            batch: Batch of validation rows, on the device of the task.
        """
        return {}

    def fit_decisions(self, totals: dict[str, Tensor]) -> dict[str, float]:
        """Fit what turns outputs into decisions, such as a threshold, into ``decisions``.

        It is called after training, with the best weights. ``score`` and ``predict`` use the values from then on, so
        that they are part of the test scores, but not of the validation scores that selected the weights.

        Args:
            totals: Totals of ``collect_decision_rows`` over all validation batches, on the CPU.

        Returns:
            The values as numbers, by name, with scores on the validation rows ``NAME_before`` and ``NAME_after``.
        """
        return {}

    @abstractmethod
    def loss(self, batch: Batch, group: str) -> Tensor:
        """Return the loss of a parameter group.

        Args:
            batch: Batch of training rows, on the device of the task.
            group: Name of the parameter group to update.

        Returns:
            Mean loss over ``num_loss_terms(batch)`` terms, a scalar tensor.
        """

    @abstractmethod
    def score(self, batch: Batch) -> Score:
        """Return the quantities of a batch from which ``metrics`` computes the metrics of a split.

        Args:
            batch: Batch of validation or test rows, on the device of the task.

        Returns:
            Sums over the batch (tensors of fixed shape), which are added up over batches, and ``RowValues`` of metrics
            that need all rows at once, which are concatenated.
        """

    @abstractmethod
    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        """Compute the metrics of a split, by name.

        Args:
            totals: Totals of ``score`` over all batches, on the CPU.
        """

    def report_all_metrics(self) -> None:
        """Report every metric that the task can compute from now on, for a complete evaluation."""

    def validation_loss(self, scores: Mapping[str, float]) -> float | None:
        """Return the validation loss, on the scale of the training loss; None if it is not among the metrics.

        Args:
            scores: Validation metrics, by name.
        """
        return scores.get("loss")

    def choose_labels(self, probabilities: Tensor) -> Tensor:
        """Return the predicted class (B, ...) for class probabilities (B, C, ...), which may be combined from several.

        By default it is the most likely one.
        """
        return probabilities.argmax(1)

    def make_artifacts(self, batches: Iterable[Batch]) -> Iterator[Artifact | LazyArtifact]:
        """Yield figures and tables of a split, computed with the current weights.

        Args:
            batches: Batches of the split, on the device of the task. They may be iterated only once.
        """
        return iter(())

    def reference_scores(self) -> tuple[dict[str, float], dict[str, float]]:
        """Return baseline and best possible test scores, by metric, that the data set does not report itself."""
        return {}, {}

    def sample_preview(self) -> Tensor | None:
        """Return samples (N, ...) that show the progress of training; None if the task generates none.

        Noise comes from torch's generators, which the caller seeds with the same seed every time.
        """
        return None

    def render_preview(self, name: str, snapshots: Sequence[tuple[str, Tensor]]) -> Iterator[Artifact]:
        """Yield the artifacts that show one preview, or compare several.

        Args:
            name: Name of the artifacts.
            snapshots: Caption and samples of each ``sample_preview``.
        """
        return iter(())

    def forward_batch(self, batch: Batch) -> Tensor:
        """Return the model output (B, ...) for a batch, or its rows (K, ...) at ``batch.output_index`` if given."""
        if batch.output is not None:
            return batch.output
        output: Tensor = self.model(**self.select_model_inputs(batch))
        return output if batch.output_index is None else output.index_select(0, batch.output_index)

    def select_model_inputs(self, batch: Batch) -> dict[str, Tensor]:
        """Return the inputs of a batch that the ``forward`` of the model accepts; all if it takes ``**inputs``."""
        return {
            name: value
            for name, value in batch.inputs.items()
            if self._accepts_kwargs or name in self._forward_parameters
        }

    def make_inference_module(self) -> InferenceModule:
        """Return what the task computes for new rows, which ``train export`` writes; by default the model.

        Raises:
            ConfigError: The task or the model cannot be exported; the sentence says why.
        """
        return InferenceModule(self.model, self.select_model_inputs)
