"""Data loader: the batches of an epoch, in an order that depends only on (seed, epoch)."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing

import torch
from torch import Tensor

from trainer.config.schema import Settings
from trainer.core import rng
from trainer.core.batch import Batch
from trainer.core.split import Split
from trainer.data.augment.image_augment import Augment
from trainer.engine import dataloader_workers as worker_processes
from trainer.engine.length_bucketing import bucket_by_length
from trainer.utils.errors import ConfigError
from trainer.utils.text import format_count


def can_fit_on_device(split: Split, device: torch.device) -> bool:
    """Return whether a split fits on a device for the whole run: on CUDA, in less than half of the free memory.

    Args:
        split: The split, which has no size if it is not in memory.
        device: The device.
    """
    size = split.count_bytes()
    return size is not None and (device.type != "cuda" or 2 * size < torch.cuda.mem_get_info(device)[0])


class Loader:
    """Batches of a split.

    A split in memory is indexed on the device, or on the CPU if it is too large for the device. In training, a last
    batch of a single row is merged into the previous one, because batch norm cannot train on it.

    Args:
        split: The split.
        name: Name of the split, for messages.
        batch_size: Rows per batch.
        device: Device of the batches.
        seed: Seed of the order of the rows.
        train: Whether to shuffle the rows, and to drop or merge the last batch.
        augment: Augmentation of the batches; None for no augmentation.
        image_inputs: Names of the inputs that are images, for ``channels_last``.
        channels_last: Convert images to the channels-last memory format.
        drop_last: In training, drop the rows that do not fill a batch; they are others in every epoch.
        bucket: Number of batches within which rows are sorted by length, for less padding; in training the order of
            these batches is shuffled. 1 disables sorting.
        workers: Number of worker processes; the batches do not depend on it.
        timeout: Seconds to wait for a batch of a worker.
        max_batches: Number of batches after which an epoch ends; None for all.

    Raises:
        ConfigError: The split is empty, or it has no full batch with ``drop_last``.
    """

    def __init__(
        self,
        split: Split,
        name: str,
        *,
        batch_size: int,
        device: torch.device,
        seed: int = 0,
        train: bool = False,
        augment: Augment | None = None,
        image_inputs: Sequence[str] = (),
        channels_last: bool = False,
        drop_last: bool = False,
        bucket: int = 1,
        workers: int = 0,
        timeout: float = 120.0,
        max_batches: int | None = None,
    ):
        self.is_resident = not workers and can_fit_on_device(split, device)
        self.split = split.to(device) if self.is_resident else split
        self.name = name
        self.batch_size = batch_size
        self.device = device
        self.seed = seed
        self.is_training = train
        self.augment = augment
        self.image_inputs = image_inputs
        self.channels_last = channels_last
        self.drop_last = drop_last and train
        self.bucket = bucket
        self.num_workers = workers
        self.max_batches = max_batches
        self.worker_monitor = worker_processes.WorkerMonitor(timeout)
        if not len(split):
            raise ConfigError(f"data: the {name} split is empty (0 rows)")
        if not len(self):
            rows = format_count(len(split), f"{name} row")
            raise ConfigError(f"batch_size: 0 batches: {rows} < batch_size {batch_size} with drop_last")

    def make_batch_order(self, epoch: int) -> list[Tensor]:
        """Return the row indices of each batch of an epoch."""
        rows = len(self.split)
        order = rng.make_permutation(rows, self.seed, epoch) if self.is_training else torch.arange(rows)
        if self.drop_last:
            # Before sorting by length, or the longest rows would be dropped in every epoch.
            order = order[: rows - rows % self.batch_size]
        lengths = self.split.get_lengths()
        if lengths is None or self.bucket == 1:
            batches = list(order.split(self.batch_size))
        else:
            shuffle_seed = rng.hash_seed(self.seed, epoch) if self.is_training else None
            batches = bucket_by_length(order, lengths, self.batch_size, self.bucket, shuffle_seed)
        if self.is_training and len(batches) > 1 and len(batches[-1]) == 1 < self.batch_size:
            batches[-2:] = [torch.cat(batches[-2:])]
        return batches[: self.max_batches]

    def __len__(self) -> int:
        full, remainder = divmod(len(self.split), self.batch_size)
        has_partial = remainder > 0 and not self.drop_last and not (self.is_training and remainder == 1 and full)
        return min(full + has_partial, self.max_batches or full + 1)

    def load_rows(self, index: Tensor) -> Batch:
        """Load rows as model inputs, without augmentation."""
        return self._to_channels_last(self.split.to_model_inputs(self.split.batch(index, 0).to(self.device)))

    def load_augmented_rows(self, index: Tensor, epoch: int) -> Batch:
        """Load rows as model inputs, augmented as in an epoch.

        Args:
            index: Indices of the rows ``(B,)``.
            epoch: Number of the epoch, from 0.
        """
        return self._augmented_batch(self.split.batch(self._source_rows(index, epoch), epoch).to(self.device), epoch)

    def iter_epoch(self, epoch: int, start: int = 0) -> Generator[Batch, None, None]:
        """Iterate over the batches of an epoch; a loop that may end early closes the generator, to end its workers.

        Args:
            epoch: Number of the epoch, from 0.
            start: Number of batches to skip without loading them, for a resumed epoch.
        """
        return self.iter_rows(self.make_batch_order(epoch)[start:], epoch)

    def iter_rows(self, order: Sequence[Tensor], epoch: int) -> Generator[Batch, None, None]:
        """Iterate over batches of given rows; a loop that may end early closes the generator, to end its workers.

        Args:
            order: Row numbers (B,) of each batch.
            epoch: Number of the epoch, from 0.
        """
        source_order = [self._source_rows(index, epoch) for index in order]
        with closing(self._iter_batches(source_order, epoch)) as batches:
            for batch in batches:
                yield self._augmented_batch(batch, epoch)

    def _source_rows(self, index: Tensor, epoch: int) -> Tensor:
        """Return the indices of all rows that the augmentation of a batch needs."""
        return index if self.augment is None else self.augment.source_rows(index, len(self.split), epoch)

    def _augmented_batch(self, batch: Batch, epoch: int) -> Batch:
        """Convert a batch on the device to model inputs and augment it."""
        batch = self.split.to_model_inputs(batch)
        return self._to_channels_last(batch if self.augment is None else self.augment(batch, epoch))

    def _to_channels_last(self, batch: Batch) -> Batch:
        if self.channels_last:
            images = ((name, batch.inputs[name]) for name in self.image_inputs)
            converted = {name: x.contiguous(memory_format=torch.channels_last) for name, x in images}
            batch.inputs = batch.inputs | converted
        return batch

    def _iter_batches(self, order: list[Tensor], epoch: int) -> Generator[Batch, None, None]:
        """Iterate over batches on the device, before conversion and augmentation."""
        if self.is_resident:
            yield from self.split.iter_batches(order, epoch)
            return
        if not self.num_workers and self.split.count_bytes() is not None:
            yield from (batch.to(self.device) for batch in self.split.iter_batches(order, epoch))
            return
        # One for each epoch: a callback may iterate over the split within an epoch.
        self.worker_monitor = worker_processes.WorkerMonitor(self.worker_monitor.timeout)
        yield from worker_processes.fetch_batches(
            self.split,
            order,
            epoch,
            workers=self.num_workers,
            device=self.device,
            seed=self.seed,
            monitor=self.worker_monitor,
        )


def count_total_steps(train: Loader, settings: Settings) -> int:
    """Return the number of optimizer steps of a run: ``max_steps`` or, if it is not set, those of all epochs.

    Args:
        train: Loader of the training split.
        settings: Global keys of the configuration: ``max_steps``, ``epochs`` and ``accumulate``.
    """
    per_epoch = -(-len(train) // settings.accumulate)
    return settings.max_steps or settings.epochs * per_epoch
