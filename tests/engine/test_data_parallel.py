"""Data parallel training: the same bits on 1, 2 and 4 processes, and the gradient of the whole batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers import own_files
from tests.helpers.digest import digest
from tests.helpers.families import COMMON, FAMILIES, FURTHER_FAMILIES
from tests.helpers.lab import configure, lab
from tests.helpers.process_groups import run_processes
from trainer.config import compatible_options, registry
from trainer.core.batch import Batch
from trainer.engine import evaluation
from trainer.engine.data_parallel import DataParallel
from trainer.engine.param_group import ParamGroup
from trainer.engine.process_group import ProcessGroup, SingleProcess
from trainer.engine.shard_sum import ShardSum
from trainer.engine.shards import Node, find_largest_nodes, split_rows, sum_tree
from trainer.engine.trainer import Trainer

ON_FOUR = ("cnn with batch norm", "lstm", "transformer", "dcgan with spectral norm")
OPTIONS = (*COMMON, "accumulate=2", "max_steps=20", "val_every=2")
FEW_STEPS = (*COMMON, "accumulate=2", "max_steps=4", "val_every=1")
MLP = ("model=mlp", "data=synthetic_tabular", "data.rows=200", "batch_size=30", "max_steps=6", "model.dropout=0.3")


def train(overrides: Sequence[str], kind: type[DataParallel] = DataParallel) -> Callable[[ProcessGroup], str]:
    """Return a function that trains with four shards on a process group and returns the digest of the state."""
    configure(*overrides)  # composed once, before the fork

    def train_on(group: ProcessGroup) -> str:
        trainer = lab(*overrides, strategy=kind(group, 4)).trainer
        trainer.fit()
        return digest(trainer.state_dict() | {"best weights": trainer.best.weights})

    return train_on


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_any_number_of_processes_gives_the_same_bits(family: str) -> None:
    train_on = train((*FAMILIES[family], *OPTIONS))
    sizes = (1, 2, 4) if family in ON_FOUR else (1, 2)
    assert len({value for size in sizes for value in run_processes(size, train_on)}) == 1


@pytest.mark.slow
@pytest.mark.parametrize("family", FURTHER_FAMILIES)
def test_two_processes_give_the_same_bits(family: str) -> None:
    train_on = train((*FURTHER_FAMILIES[family], *FEW_STEPS))
    assert len({value for size in (1, 2) for value in run_processes(size, train_on)}) == 1


@pytest.mark.slow
def test_a_pretrained_model_has_the_same_bits_on_two_processes() -> None:
    words = ("model=pretrained", "data=text_folder", f"data.path={own_files.texts()}/kinds", "batch_size=8", "bucket=3")
    train_on = train((*words, f"model.name={own_files.saved()}", *FEW_STEPS))
    assert len({value for size in (1, 2) for value in run_processes(size, train_on)}) == 1


def find_task(words: Sequence[str]) -> str:
    """Return the task of a run: the chosen one, that of its model, or that of its data set."""
    chosen = dict(word.split("=", 1) for word in words)
    options = (registry.list_options(group)[chosen[group]].task_name for group in ("model", "data"))
    return chosen.get("task") or next(filter(None, options), compatible_options.DEFAULT_TASK)


def test_every_task_has_a_run() -> None:
    """A task that is added needs a run in one of the two tables."""
    tasks = {find_task(words) for words in (FAMILIES | FURTHER_FAMILIES).values()}
    assert tasks == set(registry.list_options("task"))
    assert "ranking" not in {find_task(words) for words in FAMILIES.values()}, "the test would not notice its loss"


class RandomByRank(DataParallel):
    """Broken twin: random numbers belong to a process."""

    def _hash_seed(self, trainer: Trainer, group: ParamGroup, shard: int) -> int:
        return super()._hash_seed(trainer, group, self.process_group.rank)


class SumByRank(DataParallel):
    """Broken twin: each process adds its shards one after another, and then these sums are added."""

    def __init__(self, group: ProcessGroup, count: int):
        super().__init__(group, count)
        self._shard_sum = ShardSumByRank(group, count)


class ShardSumByRank(ShardSum):
    def __init__(self, group: ProcessGroup, count: int):
        super().__init__(group, count)
        self._nodes_by_rank[group.rank] = [Node(shard, shard + 1) for shard in self.shards]

    def _sum_processes(self, own_sums: list[Tensor]) -> Tensor:
        sums = self.process_group.all_gather(sum(own_sums[1:], start=own_sums[0]))
        return sum(sums[1:], start=sums[0])


class MeanOfMeans(DataParallel):
    """Broken twin: every shard has the same weight, however many terms its loss has."""

    def _start_weights(self, task: Any, batches: Any) -> Callable[[], Tensor]:
        weights = super()._start_weights(task, batches)
        return lambda: (weights() > 0).double() / 4


@pytest.mark.slow
def test_broken_twins_give_other_bits() -> None:
    def count_results(kind: type[DataParallel]) -> int:
        return len({value for size in (1, 2) for value in run_processes(size, train(MLP, kind))})

    assert count_results(DataParallel) == 1
    assert count_results(RandomByRank) > 1
    assert count_results(SumByRank) > 1


def compute_gradients(strategy: Any, *overrides: str) -> Tensor:
    """Return the gradient of the first two batches, accumulated."""
    trainer = lab(*MLP, "model.dropout=0", *overrides, strategy=strategy).trainer
    trainer.strategy.start(trainer)
    batches = trainer.strategy.iter_epoch(trainer.train_loader, 0, 0)
    loss = trainer.strategy.compute_gradient(trainer, trainer.param_groups["model"], [next(batches), next(batches)])
    return torch.cat([trainer.param_groups["model"].params.grad, loss[None]])


@pytest.mark.parametrize("overrides", [(), ("task.class_weights=[1,9]",), ("batch_size=7",)], ids=str)
def test_the_gradient_is_that_of_the_whole_batch(overrides: tuple[str, ...]) -> None:
    expected = compute_gradients(None, *overrides)
    found = compute_gradients(DataParallel(SingleProcess(), 4), *overrides)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)
    broken = compute_gradients(MeanOfMeans(SingleProcess(), 4), *overrides)
    assert (broken - expected).norm() > 1e-2 * expected.norm()


@pytest.mark.parametrize("rows", [37, 8, 1])
def test_evaluation_on_two_processes_equals_one_to_the_digit(rows: int) -> None:
    def evaluate(group: ProcessGroup) -> dict[str, float]:
        run = lab(*MLP, "batch_size=2")
        loader = run.loaders["test"]
        loader.batch_size = 5
        loader.make_batch_order = lambda _: [*torch.arange(rows).split(5)]
        return evaluation.evaluate_split(run.task, loader, run.settings, process_group=group)

    (expected,) = run_processes(1, evaluate)
    assert run_processes(2, evaluate) == [expected] * 2


def test_padded_duplicates_would_change_the_metrics() -> None:
    run = lab(*MLP)
    rows = torch.arange(37)
    loader = run.loaders["test"]
    padded = torch.cat((rows, rows[-1:]))
    scores = []
    for index in (rows, padded):
        loader.make_batch_order = lambda _, index=index: [index]
        scores.append(evaluation.evaluate_split(run.task, loader, run.settings))
    assert scores[0] != scores[1]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6, 7])
@pytest.mark.parametrize("rows", [1, 2, 3, 5, 30])
def test_rows_are_split_into_nearly_equal_parts(rows: int, count: int) -> None:
    parts = split_rows(torch.arange(rows), count)
    sizes = [len(part) for part in parts if len(part)]
    assert torch.equal(torch.cat(parts), torch.arange(rows))
    assert len(parts) == count
    assert max(sizes) - min(sizes) <= 1
    assert rows == 1 or min(sizes) >= 2


@pytest.mark.parametrize(("count", "size"), [(4, 2), (6, 2), (6, 3), (8, 4), (12, 3), (7, 7)])
def test_processes_add_the_same_tree(count: int, size: int) -> None:
    values = torch.randn(count, 50, generator=torch.Generator().manual_seed(0))
    root, each = Node(0, count), count // size
    nodes = [node for rank in range(size) for node in find_largest_nodes(root, range(rank * each, (rank + 1) * each))]
    sums = {node: sum_tree(node, lambda shard: values[shard].clone(), {}) for node in nodes}
    expected = sum_tree(root, lambda shard: values[shard].clone(), {})
    assert torch.equal(sum_tree(root, pytest.fail, sums), expected)


def test_num_loss_terms_of_ints_and_tensors_are_weights() -> None:
    strategy = DataParallel(SingleProcess(), 2)
    run = lab(*MLP, strategy=strategy)
    batch = next(strategy.iter_epoch(run.loaders["train"], 0, 0))
    assert isinstance(batch.parts[0], Batch)
    weights = strategy._start_weights(run.task, [batch, batch])()
    assert weights.shape == (2, 2)
    torch.testing.assert_close(weights.sum(), torch.tensor(1.0, dtype=torch.float64))
