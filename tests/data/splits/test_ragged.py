"""Rows of unequal length: each comes back whole, padded to its batch, in an order of (seed, epoch)."""

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


def drawn(seed: int = 0) -> list[Tensor]:
    random = torch.Generator().manual_seed(seed)
    return [torch.randint(1, 50, (int(n),), generator=random) for n in torch.randint(1, 30, (ROWS,), generator=random)]


def split() -> RaggedSplit:
    rows = drawn()
    return RaggedSplit({"x": Ragged.from_rows(rows)}, Ragged.from_rows([row + 100 for row in rows]))


def loader(**options: object) -> Loader:
    given = {"batch_size": 8, "device": CPU, "train": True, "bucket": 4} | options
    return Loader(split(), "train", **given)  # type: ignore[arg-type]


def test_rows_come_back_whole_and_padded_to_the_longest_of_their_batch() -> None:
    rows = drawn()
    for batch in loader().iter_epoch(3):
        assert batch.target is not None
        lengths, x = batch.inputs["lengths"], batch.inputs["x"]
        assert x.shape == batch.target.shape == (len(batch), int(lengths.max()))
        for i, row in enumerate(batch.index.tolist()):
            n = int(lengths[i])
            assert torch.equal(x[i, :n], rows[row])
            assert not x[i, n:].any()
            assert torch.equal(batch.target[i, :n], rows[row] + 100)
            assert (batch.target[i, n:] == IGNORE_INDEX).all()


def test_rows_of_numbers_with_features_and_a_dense_target() -> None:
    rows = [torch.randn(n, 3) for n in (2, 5, 1)]
    batch = RaggedSplit({"x": Ragged.from_rows(rows)}, torch.tensor([7, 8, 9])).batch(torch.tensor([2, 0]), 0)
    assert torch.equal(batch.inputs["x"][1], rows[0])
    assert torch.equal(batch.inputs["x"][0, 0], rows[2][0])
    assert not batch.inputs["x"][0, 1].any()
    assert batch.target is not None
    assert batch.target.tolist() == [9, 7]


def test_rows_can_be_picked_in_any_order() -> None:
    rows = drawn()
    index = torch.tensor([5, 0, 5, 17])
    picked = Ragged.from_rows(rows).select_rows(index)
    assert torch.equal(picked.values, torch.cat([rows[i] for i in index]))
    assert picked.lengths.tolist() == [len(rows[i]) for i in index]


@pytest.mark.parametrize("options", [{}, {"train": False}, {"bucket": 1}, {"workers": 2}, {"drop_last": True}])
def test_every_row_comes_once(options: dict[str, object]) -> None:
    made = loader(**options)
    seen = [i for batch in made.iter_epoch(1) for i in batch.index.tolist()]
    kept = ROWS - ROWS % 8 if options.get("drop_last") else ROWS
    assert len(set(seen)) == len(seen) == kept
    assert len(made) == len(list(made.iter_epoch(1)))


def padding(made: Loader) -> float:
    batches = list(made.iter_epoch(0))
    return 1 - sum(int(b.inputs["lengths"].sum()) for b in batches) / sum(b.inputs["x"].numel() for b in batches)


def test_sorting_by_length_spares_most_of_the_padding() -> None:
    mixed, few, all_sorted = (padding(loader(bucket=b, train=t)) for b, t in ((1, True), (4, True), (4, False)))
    assert all_sorted < few < mixed / 2


def test_neither_side_of_a_pair_is_padded_much() -> None:
    """Sorted by their inputs alone, targets of other lengths are."""

    def empty(lengths: Tensor, batches: list[Tensor]) -> float:
        return 1 - int(lengths.sum()) / sum(int(lengths[rows].max()) * len(rows) for rows in batches)

    random = torch.Generator().manual_seed(0)
    source = torch.randint(5, 40, (2000,), generator=random)
    target = (source + torch.randint(-4, 5, (2000,), generator=random)).clamp(min=1)
    inputs, targets = (Ragged(torch.zeros(int(n.sum()), dtype=torch.long), n) for n in (source, target))
    order = Loader(RaggedSplit({"x": inputs}, targets), "train", batch_size=16, device=CPU, train=True, bucket=50)
    by_source = Loader(RaggedSplit({"x": inputs}, source), "train", batch_size=16, device=CPU, train=True, bucket=50)
    assert empty(source, order.make_batch_order(0)) < 0.12
    assert empty(target, order.make_batch_order(0)) < 0.12 < empty(target, by_source.make_batch_order(0))


def test_the_order_is_of_seed_and_epoch_and_neither_rows_nor_batches_go_by_length() -> None:
    one, again, later = (list(made.iter_epoch(e)) for made, e in ((loader(), 2), (loader(), 2), (loader(), 3)))
    assert all(torch.equal(a.index, b.index) for a, b in zip(one, again, strict=True))
    assert any(not torch.equal(a.index, b.index) for a, b in zip(one, later, strict=False))
    widths = [b.inputs["x"].shape[1] for b in one]
    assert widths not in (sorted(widths), sorted(widths, reverse=True))


def test_a_resumed_epoch_continues_at_its_batch() -> None:
    rest = list(loader().iter_epoch(2, start=5))
    whole = list(loader().iter_epoch(2))[5:]
    assert all(torch.equal(a.inputs["x"], b.inputs["x"]) for a, b in zip(rest, whole, strict=True))


def test_a_row_without_a_step_is_refused_by_its_number() -> None:
    with pytest.raises(DataError, match="row 1 is empty"):
        RaggedSplit({"x": Ragged.from_rows([torch.ones(2), torch.ones(0), torch.ones(1)])}, None)
