"""Batches: the order depends on seed and epoch, each row occurs once, workers and offsets change nothing."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from trainer.core import rng
from trainer.core.batch import Batch
from trainer.core.dataset_info import DatasetInfo
from trainer.core.split import FullBatchSplit, Split, TensorSplit
from trainer.data.augment.image_augment import Augment
from trainer.engine import dataloader as module
from trainer.engine.dataloader import Loader
from trainer.utils.errors import ConfigError, SystemFault

CPU = torch.device("cpu")


class Jitter(Augment):
    """Adds noise and half of another row, which depends on the index."""

    def source_rows(self, index: Tensor, rows: int, epoch: int) -> Tensor:
        return torch.cat((index, (index * 3 + epoch) % rows))

    def __call__(self, batch: Batch, epoch: int) -> Batch:
        x = batch.inputs["x"]
        x, other = (x + rng.draw_uniform(batch.index, x.shape[1], 0, epoch)).chunk(2)
        rows = len(x)
        kept = {name: value[:rows] for name, value in batch.inputs.items()}
        assert batch.target is not None
        return Batch(kept | {"x": x + other / 2}, batch.target[:rows], batch.index[:rows])


JITTER = Jitter(DatasetInfo(sizes={}))


def rows(n: int) -> TensorSplit:
    x = torch.arange(float(n))[:, None].repeat(1, 3)
    return TensorSplit({"x": x, "extra": torch.arange(n)}, torch.arange(n) % 2)


def loader(split: Split | int, **options: object) -> Loader:
    split = rows(split) if isinstance(split, int) else split
    defaults = {"batch_size": 4, "device": CPU, "train": True} | options
    return Loader(split, "train", **defaults)  # type: ignore[arg-type]


def flat(batches: Iterable[Batch]) -> list[list[Tensor]]:
    return [
        [batch.index, *batch.inputs.values(), *([] if batch.target is None else [batch.target])] for batch in batches
    ]


def equal(a: Iterable[Batch], b: Iterable[Batch]) -> bool:
    one, two = flat(a), flat(b)
    return len(one) == len(two) and all(
        torch.equal(x, y) for u, v in zip(one, two, strict=True) for x, y in zip(u, v, strict=True)
    )


def indices(batches: Iterable[Batch]) -> list[int]:
    return [int(i) for batch in batches for i in batch.index]


class Streamed(Split):
    """A split of unknown size in bytes, such as one that reads files row by row."""

    def __init__(self, n: int):
        self.inner = rows(n)
        self.num_calls = 0

    def __len__(self) -> int:
        return len(self.inner)

    def batch(self, index: Tensor, epoch: int) -> Batch:
        self.num_calls += 1
        return self.inner.batch(index, epoch)


@given(
    n=st.integers(1, 40),
    batch_size=st.integers(1, 12),
    drop_last=st.booleans(),
    train=st.booleans(),
    epoch=st.integers(0, 5),
    start=st.integers(0, 12),
)
@settings(max_examples=200, deadline=None)
def test_every_row_occurs_once_per_epoch(
    n: int, batch_size: int, drop_last: bool, train: bool, epoch: int, start: int
) -> None:
    if train and drop_last and n < batch_size:
        with pytest.raises(ConfigError):
            loader(n, batch_size=batch_size, drop_last=drop_last, train=train)
        return
    made = loader(n, batch_size=batch_size, drop_last=drop_last, train=train)
    batches = list(made.iter_epoch(epoch))
    found = indices(batches)
    assert len(found) == len(set(found)) == (n - n % batch_size if drop_last and train else n)
    assert len(batches) == len(made) == len(made.make_batch_order(epoch))
    assert all(1 <= len(batch) <= batch_size + 1 for batch in batches)
    assert not (train and batch_size > 1 and len(batches) > 1 and len(batches[-1]) == 1)
    assert equal(made.iter_epoch(epoch, start), batches[start:])
    assert all(torch.equal(batch.inputs["x"][:, 0].long(), batch.index) for batch in batches)


def test_order_depends_on_seed_and_epoch_alone() -> None:
    made = loader(30)
    first = indices(made.iter_epoch(0))
    assert first != sorted(first)
    assert indices(made.iter_epoch(1)) != first
    assert indices(loader(30, seed=1).iter_epoch(0)) != first
    torch.manual_seed(11)
    assert indices(made.iter_epoch(0)) == first
    assert indices(loader(30, seed=0).iter_epoch(0)) == first
    assert indices(loader(30, batch_size=7).iter_epoch(0)) == first


def test_validation_rows_are_in_order() -> None:
    made = loader(10, train=False, drop_last=True)
    assert indices(made.iter_epoch(3)) == list(range(10))
    assert [len(batch) for batch in made.iter_epoch(0)] == [4, 4, 2]


def test_a_single_leftover_row_joins_the_previous_batch() -> None:
    assert [len(batch) for batch in loader(9).iter_epoch(0)] == [4, 5]
    assert [len(batch) for batch in loader(9, train=False).iter_epoch(0)] == [4, 4, 1]
    assert [len(batch) for batch in loader(9, drop_last=True).iter_epoch(0)] == [4, 4]
    assert [len(batch) for batch in loader(1).iter_epoch(0)] == [1]
    assert [len(batch) for batch in loader(3, batch_size=1).iter_epoch(0)] == [1, 1, 1]


def test_split_without_batches_raises() -> None:
    with pytest.raises(ConfigError, match=r"data: the train split is empty \(0 rows\)"):
        loader(0)
    with pytest.raises(ConfigError, match="0 batches: 3 train rows < batch_size 8 with drop_last"):
        loader(3, batch_size=8, drop_last=True)
    assert len(loader(3, batch_size=8)) == 1


@pytest.mark.parametrize("start", [0, 2])
def test_workers_are_bit_exact(start: int) -> None:
    serial = loader(18, augment=JITTER)
    parallel = loader(18, augment=JITTER, workers=2, timeout=30.0)
    before = torch.get_rng_state()
    assert equal(serial.iter_epoch(3, start), parallel.iter_epoch(3, start))
    assert torch.equal(torch.get_rng_state(), before), "making batches drew from the generator that training uses"
    assert not equal(serial.iter_epoch(3), serial.iter_epoch(4))


def test_augmented_row_is_independent_of_batch_and_offset() -> None:
    large, small = (loader(18, augment=JITTER, batch_size=size) for size in (18, 5))

    def collect_rows(made: Loader, start: int = 0) -> dict[int, list[float]]:
        batches = made.iter_epoch(2, start)
        return {int(i): x.tolist() for batch in batches for i, x in zip(batch.index, batch.inputs["x"], strict=True)}

    assert collect_rows(large) == collect_rows(small)
    assert collect_rows(small, start=2).items() <= collect_rows(large).items()


def test_split_on_disk_is_read_batch_by_batch() -> None:
    split = Streamed(10)
    streamed = loader(split, augment=JITTER)
    iterator = streamed.iter_epoch(1)
    next(iterator)
    assert split.num_calls <= 2, "a split read from disk was read ahead"
    assert equal(streamed.iter_epoch(1), loader(10, augment=JITTER).iter_epoch(1))
    assert equal(streamed.iter_epoch(1), loader(Streamed(10), augment=JITTER, workers=1, timeout=30.0).iter_epoch(1))


class Counted(TensorSplit):
    def __init__(self) -> None:
        super().__init__(rows(1000).inputs, torch.arange(1000))
        self.calls: list[int] = []

    def batch(self, index: Tensor, epoch: int) -> Batch:
        self.calls.append(len(index))
        return super().batch(index, epoch)

    def to(self, device: torch.device) -> Counted:
        return self


class Broken(Streamed):
    """A split whose third row cannot be read."""

    def batch(self, index: Tensor, epoch: int) -> Batch:
        if 2 in index:
            raise SystemFault("row 2 is gone")
        return super().batch(index, epoch)


@pytest.mark.parametrize("workers", [0, 2])
def test_user_error_in_a_worker_is_raised_unchanged(workers: int) -> None:
    others = set(multiprocessing.active_children())
    with pytest.raises(SystemFault, match=r"^row 2 is gone$") as caught:
        list(loader(Broken(10), workers=workers, timeout=30.0).iter_epoch(0))
    assert caught.value
    assert set(multiprocessing.active_children()) <= others, "the workers are still alive"


def test_batches_are_gathered_in_one_call() -> None:
    split = Counted()
    made = loader(split, batch_size=32)
    batches = list(made.iter_epoch(0))
    assert split.calls == [1000]
    assert equal(batches, [split.batch(index, 0) for index in made.make_batch_order(0)])


def test_a_full_batch_split_is_one_constant_batch() -> None:
    whole = FullBatchSplit({"x": torch.randn(5, 2)}, torch.arange(5))
    made = loader(whole)
    assert len(made) == 1
    (batch,) = made.iter_epoch(7)
    assert torch.equal(batch.inputs["x"], whole.full_batch.inputs["x"])


def test_split_too_large_for_the_device_gives_same_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    split = TensorSplit({"x": torch.arange(20.0)[:, None]}, torch.arange(20))
    resident = Loader(split, "train", batch_size=6, device=torch.device("cpu"), train=True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2 * split.count_bytes(), 0))
    assert not module.can_fit_on_device(split, torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2 * split.count_bytes() + 1, 0))
    assert module.can_fit_on_device(split, torch.device("cuda"))
    monkeypatch.setattr(module, "can_fit_on_device", lambda *_: False)
    streamed = Loader(split, "train", batch_size=6, device=torch.device("cpu"), train=True)
    assert (resident.is_resident, streamed.is_resident) == (True, False)
    for one, other in zip(resident.iter_epoch(1), streamed.iter_epoch(1), strict=True):
        assert torch.equal(one.inputs["x"], other.inputs["x"])
        assert torch.equal(one.index, other.index)


class Bytes(TensorSplit):
    """Stored as bytes; numbers from 0 to 1 once they are on the device."""

    def to_model_inputs(self, batch: Batch) -> Batch:
        return Batch({"x": batch.inputs["x"].float() / 255}, batch.target, batch.index)

    def to(self, device: torch.device) -> Bytes:
        return self


@pytest.mark.parametrize("workers", [0, 1])
def test_to_model_inputs_is_applied_with_and_without_workers(workers: int) -> None:
    stored = torch.arange(24, dtype=torch.uint8).view(8, 3)
    made = Loader(Bytes({"x": stored}), "val", batch_size=3, device=torch.device("cpu"), workers=workers)
    found = torch.cat([batch.inputs["x"] for batch in made.iter_epoch(0)])
    assert torch.equal(found, stored.float() / 255)
    assert torch.equal(made.load_rows(torch.tensor([5])).inputs["x"], found[5:6])


class Uneven(TensorSplit):
    """Rows of 1, 2, 3, ... steps."""

    def get_lengths(self) -> Tensor:
        return torch.arange(len(self)) + 1

    def to(self, device: torch.device) -> Uneven:
        return self


@pytest.mark.parametrize("bucket", [1, 2, 50])
def test_drop_last_leaves_out_rows_of_any_length(bucket: int) -> None:
    split = Uneven(rows(23).inputs, torch.arange(23))
    made = loader(split, batch_size=6, drop_last=True, bucket=bucket)
    left_out = [set(range(23)) - set(indices(made.iter_epoch(epoch))) for epoch in range(60)]
    assert all(len(rows) == 5 for rows in left_out)
    assert set().union(*left_out) == set(range(23)), "some rows are never left out"
    assert not set.intersection(*left_out), "some rows are never trained on"
    lengths = [row + 1.0 for rows in left_out for row in rows]
    assert abs(sum(lengths) / len(lengths) - 12) < 1.2  # the mean of all, and two standard errors around it
    assert [len(batch) for batch in made.iter_epoch(0)] == [6, 6, 6]
