"""Random numbers as functions of (seed, epoch, index), and restored random states."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.core import rng
from trainer.utils.errors import ConfigError

CPU = torch.device("cpu")


def draw_from_all_generators() -> tuple[torch.Tensor, float, float, float, np.ndarray]:
    return torch.randn(3), random.random(), random.gauss(0, 1), np.random.normal(), np.random.randint(0, 99, 5)


def are_equal(a: tuple[object, ...], b: tuple[object, ...]) -> bool:
    return all(np.array_equal(np.asarray(x), np.asarray(y)) for x, y in zip(a, b, strict=True))


def test_uniform_draws_pass_a_chi_square_test() -> None:
    u = rng.draw_uniform(torch.arange(20000), 4, seed=0, epoch=0).double()
    assert u.min() >= 0
    assert u.max() < 1
    cells = torch.histc(u.flatten(), bins=64, min=0, max=1)
    chi_square = float(((cells - cells.mean()) ** 2 / cells.mean()).sum())
    assert 63 - 4 * 126**0.5 < chi_square < 63 + 4 * 126**0.5  # 63 degrees of freedom
    assert u.mean() == pytest.approx(0.5, abs=4 / (12 * u.numel()) ** 0.5)
    assert u.var() == pytest.approx(1 / 12, rel=0.02)


def compute_correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return abs(float(torch.corrcoef(torch.stack((a.flatten(), b.flatten()))).double()[0, 1]))


def test_uniform_draws_are_independent_over_columns_rows_epochs_and_seeds() -> None:
    rows = torch.arange(20000)
    u = rng.draw_uniform(rows, 4, seed=0, epoch=0)
    limit = 4.5 / len(rows) ** 0.5
    for other in (
        rng.draw_uniform(rows, 4, seed=0, epoch=1),
        rng.draw_uniform(rows, 4, seed=1, epoch=0),
        u.roll(1, dims=0),
        u.roll(1, dims=1),
        u.roll(7, dims=0),
    ):
        assert not torch.equal(u, other)
        assert all(compute_correlation(u[:, k], other[:, k]) < limit for k in range(4))


def test_uniform_draws_are_distinct_and_neighbors_independent() -> None:
    u = rng.draw_uniform(torch.arange(1000), 3, seed=0, epoch=0)
    assert len(u.unique()) > 2990  # 2**24 values: about 0.3 collisions are expected
    neighbors = rng.draw_uniform(torch.arange(4000), 1, 0, 0).flatten().view(2000, 2)
    pairs = (neighbors * 8).long()
    cells = torch.bincount(pairs[:, 0] * 8 + pairs[:, 1], minlength=64).double()
    assert float(((cells - cells.mean()) ** 2 / cells.mean()).sum()) < 63 + 4 * 126**0.5


@given(
    rows=st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=20),
    seed=st.integers(0, 2**63),
    epoch=st.integers(0, 999),
)
@settings(max_examples=100, deadline=None)
def test_uniform_of_a_row_does_not_depend_on_its_batch(rows: list[int], seed: int, epoch: int) -> None:
    together = rng.draw_uniform(torch.tensor(rows), 3, seed, epoch)
    alone = torch.cat([rng.draw_uniform(torch.tensor([row]), 3, seed, epoch) for row in rows])
    assert torch.equal(together, alone)
    assert torch.equal(rng.draw_uniform(torch.tensor(rows), 2, seed, epoch), together[:, :2])
    assert bool(((together >= 0) & (together < 1)).all())


def test_a_permutation_depends_on_seed_and_epoch_only() -> None:
    orders = [rng.make_permutation(50, seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert all(torch.equal(order.sort().values, torch.arange(50)) for order in orders)
    assert all(not torch.equal(a, b) for i, a in enumerate(orders) for b in orders[:i])
    torch.rand(5)
    assert torch.equal(rng.make_permutation(50, 1, 1), orders[3])


def test_hash_seed_is_unique_and_asymmetric() -> None:
    hashes = {rng.hash_seed(a, b) for a in range(100) for b in range(100)}
    assert len(hashes) == 10000
    assert all(0 <= value < 2**63 for value in hashes)
    assert rng.hash_seed(1, 2) != rng.hash_seed(2, 1)


def test_seed_everything_seeds_all_generators() -> None:
    rng.seed_everything(7)
    first = draw_from_all_generators()
    rng.seed_everything(7)
    assert are_equal(first, draw_from_all_generators())
    rng.seed_everything(8)
    assert not are_equal(first, draw_from_all_generators())
    rng.seed_everything(2**40 + 1)  # numpy takes 32 bits


def test_rng_state_restores_from_plain_values(tmp_path: Path) -> None:
    rng.seed_everything(3)
    draw_from_all_generators()
    random.gauss(0, 1)  # Python and numpy hold back the second of a pair
    np.random.normal()
    torch.save({"random": rng.get_rng_state(CPU)}, tmp_path / "state.pt")
    expected = draw_from_all_generators(), draw_from_all_generators()
    rng.seed_everything(99)
    assert not are_equal(expected[0], draw_from_all_generators())
    rng.set_rng_state(torch.load(tmp_path / "state.pt", weights_only=True)["random"], CPU)
    assert are_equal(expected[0], draw_from_all_generators())
    assert are_equal(expected[1], draw_from_all_generators())


@pytest.mark.slow
def test_fork_rng_restores_the_torch_state() -> None:
    torch.manual_seed(5)
    expected = torch.rand(4)
    torch.manual_seed(5)
    with rng.fork_rng(0):
        first = torch.rand(4)
    assert torch.equal(torch.rand(4), expected)
    before = torch.get_rng_state()
    with pytest.raises(KeyError), rng.fork_rng(0):
        raise KeyError(torch.testing.assert_close(torch.rand(4), first, rtol=0, atol=0))
    assert torch.equal(torch.get_rng_state(), before)


def test_preserve_global_state_restores_after_an_error() -> None:
    rng.seed_everything(5)
    expected = draw_from_all_generators()
    rng.seed_everything(5)
    torch.set_num_threads(1)

    def fail() -> None:
        with rng.preserve_global_state():
            torch.set_num_threads(2)
            rng.seed_everything(9)
            draw_from_all_generators()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert torch.get_num_threads() == 1
    assert are_equal(draw_from_all_generators(), expected)


def test_preserve_global_state_is_reentrant_in_one_thread_only() -> None:
    def enter() -> str:
        try:
            with rng.preserve_global_state():
                return "entered"
        except ConfigError as error:
            return str(error)

    with ThreadPoolExecutor(1) as executor:
        with rng.preserve_global_state(), rng.preserve_global_state():
            assert "another thread of this process is training" in executor.submit(enter).result()
        assert executor.submit(enter).result() == "entered"


def test_generator_of_a_cuda_device_is_seeded_and_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    current, states = 0, {0: "state 0", 1: "state 1"}

    @contextmanager
    def select(device: torch.device) -> Iterator[None]:
        nonlocal current
        current, previous = device.index, current
        yield
        current = previous

    monkeypatch.setattr(torch.cuda, "device", select)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: states[device.index])
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: states.update({device.index: state}))
    monkeypatch.setattr(torch.cuda, "manual_seed", lambda seed: states.update({current: f"seed {seed}"}))
    second = torch.device("cuda:1")
    with rng.fork_rng(7, second):
        assert states == {0: "state 0", 1: "seed 7"}
    assert states == {0: "state 0", 1: "state 1"}
    with rng.preserve_generators():
        torch.manual_seed(3)
        rng.set_rng_state(rng.get_rng_state(CPU), second)  # of a run that was saved on the CPU
    assert states == {0: "state 0", 1: "seed 3"}
