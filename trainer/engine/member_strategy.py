"""Strategy of a member: a run that is trained together with others of the same architecture in one process."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainer.core import rng
from trainer.core.batch import Batch
from trainer.core.dataset import Dataset
from trainer.engine.dataloader import Loader
from trainer.engine.param_group import ParamGroup
from trainer.engine.strategy import SingleDevice
from trainer.engine.trainer import Trainer
from trainer.optim.flat_params import FlatParameters
from trainer.utils.code_version import CodeVersion


class MemberMatrix:
    """Parameters of all members, one row per member: a matrix for each parameter group of a task.

    Args:
        num_members: Number of members M.
    """

    def __init__(self, num_members: int):
        self.num_members = num_members
        self._matrices: list[tuple[Tensor, Tensor]] = []
        self._num_groups = [0] * num_members

    @property
    def data(self) -> Tensor:
        """Parameters ``(M, P)`` of the only parameter group."""
        ((data, _),) = self._matrices
        return data

    @property
    def grad(self) -> Tensor:
        """Gradients ``(M, P)`` of the only parameter group."""
        ((_, grad),) = self._matrices
        return grad

    def take_row(self, member: int, like: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """Return the row of a member for its next parameter group and that for its gradient, with zeros.

        Args:
            member: Number of the member.
            like: Tensor of the dtype and on the device of the vector.
            length: Length P of the vector.

        Raises:
            ValueError: Its parameters differ from those of the other members.
        """
        number = self._num_groups[member]
        self._num_groups[member] += 1
        if number == len(self._matrices):
            empty = like.new_zeros((self.num_members, length), requires_grad=False)
            self._matrices.append((empty, torch.zeros_like(empty)))
        data, grad = self._matrices[number]
        if (data.shape[1], data.dtype, data.device) != (length, like.dtype, like.device):
            raise ValueError(f"member {member} has {length} parameters, the others have {data.shape[1]}")
        return data[member], grad[member]


class SharedBatches:
    """Batches of an epoch that members with the same order of the rows load once, because they take the same steps."""

    def __init__(self) -> None:
        self._epochs: dict[tuple[int, int], _EpochBatches] = {}

    def iter_epoch(self, loader: Loader, epoch: int, start: int) -> Generator[Batch, None, None]:
        """Iterate over the batches of an epoch; a member that is behind the others loads its own.

        Args:
            loader: Loader of the training split of any of the members, which have the same options.
            epoch: Number of the epoch, from 0.
            start: Number of batches to skip.
        """
        shared = self._epochs.get((loader.seed, epoch))
        if shared is None or shared.first > start:
            self._epochs = {key: value for key, value in self._epochs.items() if key[0] != loader.seed}
            shared = self._epochs[loader.seed, epoch] = _EpochBatches(loader, epoch, start)
        position = start
        while (batch := shared.get(position)) is not None:
            position += 1
            yield batch
        if position < shared.first:  # it is behind the others
            yield from loader.iter_epoch(epoch, position)


class _EpochBatches:
    """The last two batches of an epoch that were loaded."""

    def __init__(self, loader: Loader, epoch: int, start: int):
        self._batches = loader.iter_epoch(epoch, start)
        self._loaded: list[Batch] = []
        self.first = start

    def get(self, position: int) -> Batch | None:
        """Return a batch; None if it is not held any more, or after the last one."""
        if position == self.first + len(self._loaded):
            batch = next(self._batches, None)
            if batch is None:
                return None
            self._loaded.append(batch)
            if len(self._loaded) > 2:
                del self._loaded[0]
                self.first += 1
        return self._loaded[position - self.first] if position >= self.first else None


class MemberStrategy(SingleDevice):
    """Strategy of one member, whose gradient may be computed together with those of others.

    Args:
        member: Number of the member, from 0.
        matrix: Parameters of all members.
        batches: Batches that it shares with others; None to load its own.
    """

    def __init__(self, member: int, matrix: MemberMatrix, batches: SharedBatches | None):
        super().__init__()
        self.member, self.num_members = member, matrix.num_members
        self._batches = batches
        self._rng_state: dict[str, Any] | None = None
        self._device = torch.device("cpu")

        class RowParameters(FlatParameters):
            """Parameters in a row of the matrix."""

            def allocate(self, like: Tensor, length: int) -> tuple[Tensor, Tensor]:
                return matrix.take_row(member, like, length)

        self.params_class = RowParameters

    def start(self, trainer: Trainer) -> None:
        self._rng_state = rng.get_rng_state(trainer.device)
        self._device = trainer.device

    def request_state(self) -> None:
        # The generators of the process have the numbers of another member.
        if self._rng_state is not None:
            rng.set_rng_state(self._rng_state, self._device)

    def make_generator(self) -> torch.Generator:
        """Return a generator on the CPU with the random numbers that the member draws next."""
        assert self._rng_state is not None, "the training has not been started"
        generator = torch.Generator()
        generator.set_state(self._rng_state["torch"])
        return generator

    def store_generator(self, generator: torch.Generator) -> None:
        """Go on with the random numbers of a generator.

        Args:
            generator: Result of ``make_generator``, from which numbers have been drawn.
        """
        assert self._rng_state is not None, "the training has not been started"
        self._rng_state["torch"] = generator.get_state()

    def compute_gradient(self, trainer: Trainer, group: ParamGroup, batches: Sequence[Batch]) -> Tensor:
        self.request_state()
        loss = super().compute_gradient(trainer, group, batches)
        self._rng_state = rng.get_rng_state(trainer.device)
        return loss

    def iter_epoch(self, loader: Loader, epoch: int, start: int) -> Generator[Batch, None, None]:
        if self._batches is None:
            return super().iter_epoch(loader, epoch, start)
        return self._batches.iter_epoch(loader, epoch, start)


@dataclass(frozen=True)
class Member:
    """What a run shares with others that are trained with it.

    Args:
        strategy: Its strategy.
        data: Data set of all of them; None to load its own.
        draws_figures: Whether it draws its figures at its end; otherwise they are missing files of a finished run.
        code: Versions of the code.
    """

    strategy: MemberStrategy
    data: Dataset | None
    draws_figures: bool
    code: CodeVersion
