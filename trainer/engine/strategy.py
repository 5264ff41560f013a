"""Strategies: which rows a process computes in a step, and how the gradient of the whole batch results from them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, ClassVar, Generic, Protocol, TypeVar

from torch import Tensor

from trainer.core.batch import Batch
from trainer.engine import precision
from trainer.engine.callbacks import Callback
from trainer.engine.dataloader import Loader
from trainer.engine.process_group import ProcessGroup, SingleProcess
from trainer.optim.flat_params import FlatParameters

if TYPE_CHECKING:
    from trainer.core.task import Task
    from trainer.engine.best_checkpoint import BestCheckpoint
    from trainer.engine.param_group import ParamGroup
    from trainer.engine.trainer import Trainer


STATE_KEYS = frozenset(
    (
        *("task", "param_groups", "scaler", "random", "position", "running_totals", "history", "best", "should_stop"),
        "callbacks",
    )
)
"""Keys of the state of a trainer, which one process may not be able to gather alone."""


class RowBatch(Protocol):
    """Rows of a batch: their numbers ``index`` (B,), of which ``len`` is the count."""

    @property
    def index(self) -> Tensor: ...

    def __len__(self) -> int: ...


BatchT = TypeVar("BatchT", bound=RowBatch)


class Strategy(ABC, Generic[BatchT]):
    """Base class of strategies.

    Args:
        process_group: Processes that train together.
    """

    params_class: type[FlatParameters] = FlatParameters
    """Class that holds the parameters of a group."""
    optimizer_group: ProcessGroup | None = None
    """Processes that divide the states of the optimizers; None if each process has all of them."""
    gradient_group: ProcessGroup | None = None
    """Processes that each have a shard of the gradient; None if each process has all of it."""
    has_full_model: ClassVar[bool] = True
    """Whether one process alone can apply the model during training."""

    def __init__(self, process_group: ProcessGroup):
        self.process_group = process_group
        self.evaluation_group = process_group
        """Processes that share the batches of an evaluation."""

    def shard_model(self, task: Task) -> None:
        """Distribute the model of a task over the processes, before its parameter groups are made."""

    def restore_model(self, task: Task) -> None:
        """Give a task its whole model on every process, after training."""

    def load_best(self, best: BestCheckpoint, task: Task) -> None:
        """Load the best weights and their decisions into a task on every process, after ``restore_model``.

        Args:
            best: The best weights, which only process 0 may have.
            task: The task.
        """
        best.load_into(task)

    def make_callbacks(self) -> list[Callback]:
        """Return the callbacks that the strategy needs, after those of checkpoints and before those of signals."""
        return []

    def request_state(self) -> None:
        """Prepare the processes for a ``state_dict`` of the trainer, which process 0 may call alone."""

    def finish_exception(self, trainer: Trainer, error: BaseException) -> None:
        """End a fit that an exception stops, after the callbacks have seen it.

        Args:
            trainer: The trainer.
            error: The exception.
        """

    @abstractmethod
    def iter_epoch(self, loader: Loader, epoch: int, start: int) -> Generator[BatchT, None, None]:
        """Iterate over the batches of an epoch, of which a process loads only its rows.

        Args:
            loader: Loader of the training split.
            epoch: Number of the epoch, from 0.
            start: Number of batches to skip.
        """

    @abstractmethod
    def compute_gradient(self, trainer: Trainer, group: ParamGroup, batches: Sequence[BatchT]) -> Tensor:
        """Compute the gradient of the mean loss of several batches, into ``group.params.grad``.

        Args:
            trainer: The trainer, for task, loss, precision and position.
            group: Parameter group to update.
            batches: Batches over which gradients are accumulated.

        Returns:
            Mean loss, a scalar.
        """

    def start(self, trainer: Trainer) -> None:
        """Prepare a fit; the trainer is complete, and its state is loaded."""

    def share_scores(self, scores: dict[str, float]) -> dict[str, float]:
        """Return the metrics of process 0: what all have computed may differ in the last bits on an accelerator."""
        shared: dict[str, float] = self.process_group.broadcast_object(scores)
        return shared

    def verify_replicas(self, trainer: Trainer) -> None:
        """Compare the weights of all processes, before a validation.

        Raises:
            SystemFault: They differ.
        """


class SingleDevice(Strategy[Batch]):
    """One process computes every row of a batch."""

    def __init__(self) -> None:
        super().__init__(SingleProcess())

    def iter_epoch(self, loader: Loader, epoch: int, start: int) -> Generator[Batch, None, None]:
        return loader.iter_epoch(epoch, start)

    def compute_gradient(self, trainer: Trainer, group: ParamGroup, batches: Sequence[Batch]) -> Tensor:
        group.params.zero_grad()
        if len(batches) == 1:
            return backward(trainer, group, compute_loss(trainer, group, batches[0]))
        terms = [trainer.task.num_loss_terms(batch) for batch in batches]
        total_terms = sum(terms[1:], start=terms[0])
        # The weighted sum is the mean loss of one large batch, and 0 if the loss has no terms at all.
        weights = [count / (total_terms + (total_terms == 0)) for count in terms]
        losses = [
            backward(trainer, group, compute_loss(trainer, group, batch) * weight)
            for batch, weight in zip(batches, weights, strict=True)
        ]
        return sum(losses[1:], start=losses[0])


def compute_loss(trainer: Trainer, group: ParamGroup, batch: Batch) -> Tensor:
    """Return the mean loss of a batch, a scalar.

    Args:
        trainer: The trainer, for loss and precision.
        group: Parameter group to update.
        batch: The batch.
    """
    with precision.autocast_context(trainer.device, trainer.settings.precision):
        loss: Tensor = trainer.loss_fn(batch, group.name)
    return loss


def backward(trainer: Trainer, group: ParamGroup, loss: Tensor) -> Tensor:
    """Add the gradient of a loss to ``group.params.grad``, and return the loss without its graph.

    Args:
        trainer: The trainer, for the loss scaling.
        group: Parameter group to update.
        loss: The loss, a scalar.
    """
    trainer.scaler.scale(loss).backward(inputs=group.backward_inputs)
    return loss.detach()
