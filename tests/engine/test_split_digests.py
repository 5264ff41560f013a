"""Digests of the rows of each split."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from trainer.core.batch import Batch
from trainer.core.split import FullBatchSplit, Split, TensorSplit
from trainer.engine import split_digests


class RowSplit(Split):
    """Rows that are computed one by one, in memory or not."""

    def __init__(self, rows: Tensor, *, in_memory: bool):
        self.rows, self.in_memory = rows, in_memory
        self.num_read = 0

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, index: Tensor, epoch: int) -> Batch:
        self.num_read += len(index)
        return Batch({"x": self.rows[index]}, None, index)

    def count_bytes(self) -> int | None:
        return self.rows.nbytes if self.in_memory else None


@dataclass
class Splits:
    """The splits of a data set."""

    train: Split
    val: Split
    test: Split


def make_split(kind: str, changed: int | None) -> Split:
    rows = torch.arange(60.0).reshape(20, 3)
    if changed is not None:
        rows[changed, 1] += 0.5
    if kind == "tensors":
        return TensorSplit({"x": rows[:, :2]}, rows[:, 2])
    if kind == "graph":
        return FullBatchSplit({"x": rows, "adjacency": torch.eye(20).to_sparse()}, rows[:4, 0], torch.arange(4))
    return RowSplit(rows, in_memory=kind == "gathered")


@pytest.mark.parametrize("kind", ["tensors", "graph", "gathered"])
@pytest.mark.parametrize("row", [0, 7, 19])
def test_every_row_counts(kind: str, row: int) -> None:
    before, *changed = (
        split_digests.digest_splits(Splits(*(make_split(kind, row if name == other else None) for other in NAMES)))  # type: ignore[arg-type]
        for name in ("", *NAMES)
    )
    differences = [split_digests.find_differences(before, each) for each in changed]
    assert differences == [["training"], ["validation"], ["test"]]
    again = split_digests.digest_splits(Splits(*(make_split(kind, None) for _ in NAMES)))  # type: ignore[arg-type]
    assert not split_digests.find_differences(before, again)


NAMES = ("train", "val", "test")


def test_few_rows_are_read_of_a_split_that_is_not_in_memory() -> None:
    splits = [RowSplit(torch.arange(1000.0).reshape(500, 2), in_memory=False) for _ in NAMES]
    before = split_digests.digest_splits(Splits(*splits))  # type: ignore[arg-type]
    assert all(split.num_read <= split_digests.NUM_SAMPLED_ROWS + 1 for split in splits)
    splits[2].rows[-1] = 7.0
    after = split_digests.digest_splits(Splits(*splits))  # type: ignore[arg-type]
    assert split_digests.find_differences(before, after) == ["test"]


def test_rows_of_different_lengths_are_gathered_in_small_chunks() -> None:
    """A batch is padded to its longest row, whatever the length of the first one."""
    lengths = torch.ones(5000, dtype=torch.long)
    lengths[-1] = 1000
    sizes: list[int] = []

    class Padded(RowSplit):
        def batch(self, index: Tensor, epoch: int) -> Batch:
            sizes.append(len(index) * int(lengths[index].max()))
            return super().batch(index, epoch)

    split = Padded(lengths[:, None], in_memory=True)
    split_digests.digest_splits(Splits(split, split, split))  # type: ignore[arg-type]
    assert max(sizes) <= split_digests.MAX_CHUNK_ROWS * 1000 < len(lengths) * 1000


def test_the_type_and_the_order_of_rows_count() -> None:
    rows = torch.arange(10)
    digests = {
        split_digests.digest_splits(Splits(*[TensorSplit({"x": each})] * 3))["train"]  # type: ignore[arg-type]
        for each in (rows, rows.float(), rows.flip(0), rows.reshape(10, 1))
    }
    assert len(digests) == 4


def test_an_empty_split_has_a_digest() -> None:
    empty = RowSplit(torch.zeros(0, 2), in_memory=True)
    assert split_digests.digest_splits(Splits(empty, empty, empty))["test"]  # type: ignore[arg-type]


def test_rows_are_equal_by_inputs_and_target() -> None:
    x, target = torch.tensor([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0], [0.0, 2.0]]), torch.tensor([0, 0, 1, 0])
    first, second, other_target, other_input = split_digests.digest_rows(TensorSplit({"x": x}, target), 9)
    assert first == second
    assert len({first, other_target, other_input}) == 3
    assert len(split_digests.digest_rows(TensorSplit({"x": x.bfloat16()}, target > 0), 2)) == 2


def test_no_rows_and_the_nodes_of_a_graph_have_no_digests() -> None:
    assert split_digests.digest_rows(TensorSplit({"x": torch.zeros(0, 2)}), 9) == []
    assert split_digests.digest_rows(make_split("graph", None), 99) == []
