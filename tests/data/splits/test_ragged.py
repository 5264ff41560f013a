"""Rows of unequal length: padding, bucketing by length, order and resume."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from trainer.core.batch import IGNORE_INDEX
from trainer.data.splits.ragged import Ragged, RaggedSplit
from trainer.engine.dataloader import Loader
from trainer.utils.errors import DataError

CPU = torch.device("cpu")
ROWS = 103


def make_rows(seed: int = 0) -> list[Tensor]:
    random = torch.Generator().manual_seed(seed)
    return [torch.randint(1, 50, (int(n),), generator=random) for n in torch.randint(1, 30, (ROWS,), generator=random)]


def make_split() -> RaggedSplit:
    rows = make_rows()
    return RaggedSplit({"x": Ragged.from_rows(rows)}, Ragged.from_rows([row + 100 for row in rows]))


def make_loader(**options: object) -> Loader:
    arguments = {"batch_size": 8, "device": CPU, "train": True, "bucket": 4} | options
    return Loader(make_split(), "train", **arguments)  # type: ignore[arg-type]


def test_rows_are_padded_to_longest_of_batch() -> None:
    rows = make_rows()
    for batch in make_loader().iter_epoch(3):
        assert batch.target is not None
        lengths, x = batch.inputs["lengths"], batch.inputs["x"]
        assert x.shape == batch.target.shape == (len(batch), int(lengths.max()))
        for i, row in enumerate(batch.index.tolist()):
            n = int(lengths[i])
            assert torch.equal(x[i, :n], rows[row])
            assert not x[i, n:].any()
            assert torch.equal(batch.target[i, :n], rows[row] + 100)
            assert (batch.target[i, n:] == IGNORE_INDEX).all()


def test_float_rows_with_dense_target() -> None:
    rows = [torch.randn(n, 3) for n in (2, 5, 1)]
    batch = RaggedSplit({"x": Ragged.from_rows(rows)}, torch.tensor([7, 8, 9])).batch(torch.tensor([2, 0]), 0)
    assert torch.equal(batch.inputs["x"][1], rows[0])
    assert torch.equal(batch.inputs["x"][0, 0], rows[2][0])
    assert not batch.inputs["x"][0, 1].any()
    assert batch.target is not None
    assert batch.target.tolist() == [9, 7]


def test_select_rows_in_any_order() -> None:
    rows = make_rows()
    index = torch.tensor([5, 0, 5, 17])
    selection = Ragged.from_rows(rows).select_rows(index)
    assert torch.equal(selection.values, torch.cat([rows[i] for i in index]))
    assert selection.lengths.tolist() == [len(rows[i]) for i in index]


@pytest.mark.parametrize("options", [{}, {"train": False}, {"bucket": 1}, {"workers": 2}, {"drop_last": True}])
def test_epoch_has_every_row_once(options: dict[str, object]) -> None:
    loader = make_loader(**options)
    indices = [i for batch in loader.iter_epoch(1) for i in batch.index.tolist()]
    expected_count = ROWS - ROWS % 8 if options.get("drop_last") else ROWS
    assert len(set(indices)) == len(indices) == expected_count
    assert len(loader) == len(list(loader.iter_epoch(1)))


def padding_share(loader: Loader) -> float:
    batches = list(loader.iter_epoch(0))
    return 1 - sum(int(b.inputs["lengths"].sum()) for b in batches) / sum(b.inputs["x"].numel() for b in batches)


def test_bucketing_by_length_reduces_padding() -> None:
    mixed, few, all_sorted = (
        padding_share(make_loader(bucket=b, train=t)) for b, t in ((1, True), (4, True), (4, False))
    )
    assert all_sorted < few < mixed / 2


def test_bucketing_reduces_padding_of_inputs_and_targets() -> None:
    """Compare with sorting by input length alone, which leaves targets padded."""

    def compute_padding(lengths: Tensor, batches: list[Tensor]) -> float:
        return 1 - int(lengths.sum()) / sum(int(lengths[rows].max()) * len(rows) for rows in batches)

    random = torch.Generator().manual_seed(0)
    source = torch.randint(5, 40, (2000,), generator=random)
    target = (source + torch.randint(-4, 5, (2000,), generator=random)).clamp(min=1)
    inputs, targets = (Ragged(torch.zeros(int(n.sum()), dtype=torch.long), n) for n in (source, target))
    loader = Loader(RaggedSplit({"x": inputs}, targets), "train", batch_size=16, device=CPU, train=True, bucket=50)
    by_source = Loader(RaggedSplit({"x": inputs}, source), "train", batch_size=16, device=CPU, train=True, bucket=50)
    assert compute_padding(source, loader.make_batch_order(0)) < 0.12
    assert (
        compute_padding(target, loader.make_batch_order(0))
        < 0.12
        < compute_padding(target, by_source.make_batch_order(0))
    )


def test_bucketed_order_depends_on_epoch_and_batches_are_unsorted() -> None:
    one, again, later = (
        list(loader.iter_epoch(e)) for loader, e in ((make_loader(), 2), (make_loader(), 2), (make_loader(), 3))
    )
    assert all(torch.equal(a.index, b.index) for a, b in zip(one, again, strict=True))
    assert any(not torch.equal(a.index, b.index) for a, b in zip(one, later, strict=False))
    widths = [b.inputs["x"].shape[1] for b in one]
    assert widths not in (sorted(widths), sorted(widths, reverse=True))


def test_iter_epoch_from_start_yields_remaining_batches() -> None:
    rest = list(make_loader().iter_epoch(2, start=5))
    expected = list(make_loader().iter_epoch(2))[5:]
    assert all(torch.equal(a.inputs["x"], b.inputs["x"]) for a, b in zip(rest, expected, strict=True))


def test_empty_row_raises() -> None:
    with pytest.raises(DataError, match="row 1 is empty"):
        RaggedSplit({"x": Ragged.from_rows([torch.ones(2), torch.ones(0), torch.ones(1)])}, None)
