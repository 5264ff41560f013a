"""Memory tasks: targets, padding, seeds, and what a recurrent network learns."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.helpers.lab import lab
from trainer.core.split import TensorSplit
from trainer.data.datasets.sequence.memory_tasks import Adding, FirstPlusLast, FirstToken, VarLenSum
from trainer.utils.errors import DataError


def rows(split: Any) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    assert isinstance(split, TensorSplit)
    assert split.target is not None
    return split.inputs, split.target


def test_first_plus_last_target_and_error_of_one_end() -> None:
    data = FirstPlusLast(rows=20000, length=7, seed=0)
    inputs, y = rows(data.test)
    x = inputs["x"]
    torch.testing.assert_close(y, x[:, 0] + x[:, 6])
    assert y.shape == (4000, 1)
    assert data.info.baseline["mse"] == pytest.approx(1 / 6, abs=0.01)
    assert float((y - x[:, -1] - 0.5).square().mean()) == pytest.approx(1 / 12, abs=0.005)


def test_first_token_target_is_uniform() -> None:
    data = FirstToken(rows=5000, length=5, tokens=8, seed=0)
    inputs, y = rows(data.train)
    assert torch.equal(inputs["x"][:, 0].argmax(-1), y)
    assert torch.equal(inputs["x"].sum(-1), torch.ones(3000, 5))
    assert data.info.baseline["accuracy"] == pytest.approx(1 / 8, abs=0.03)
    assert data.info.sizes["out_features"] == 8
    assert FirstToken(rows=50, length=5, tokens=2, seed=0).info.sizes["out_features"] == 1


def test_var_len_sum_excludes_padding_of_same_distribution() -> None:
    data = VarLenSum(rows=10000, shortest=3, longest=20, seed=0)
    inputs, y = rows(data.train)
    x, lengths = inputs["x"], inputs["lengths"]
    assert (int(lengths.min()), int(lengths.max())) == (3, 20)
    for row in range(20):
        torch.testing.assert_close(y[row], x[row, : lengths[row]].sum(0) / 11.5**0.5)
    assert float(y.square().mean()) == pytest.approx(1, abs=0.05)
    padding = x[torch.arange(20) >= lengths[:, None]]
    assert float(padding.std()) == pytest.approx(1, abs=0.02)


def test_the_adding_problem_marks_one_step_per_half() -> None:
    data = Adding(rows=5000, length=9, seed=0)
    inputs, y = rows(data.train)
    value, mark = inputs["x"].unbind(-1)
    assert torch.equal(mark[:, :4].sum(1), torch.ones(3000))
    assert torch.equal(mark[:, 4:].sum(1), torch.ones(3000))
    torch.testing.assert_close(y[:, 0], (value * mark).sum(1))
    assert data.info.baseline["mse"] == pytest.approx(1 / 6, abs=0.02)


def test_rows_depend_on_data_seed() -> None:
    for make in (
        lambda seed: FirstPlusLast(50, 5, seed),
        lambda seed: FirstToken(50, 5, 4, seed),
        lambda seed: VarLenSum(50, 2, 5, seed),
        lambda seed: Adding(50, 5, seed),
    ):
        first, again, other = (rows(make(seed).train)[0]["x"] for seed in (3, 3, 4))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)


def test_invalid_sizes_are_refused() -> None:
    with pytest.raises(DataError, match=r"shortest: 9 is more than data\.longest, 4"):
        VarLenSum(rows=10, shortest=9, longest=4, seed=0)
    with pytest.raises(DataError, match=r"length: 1 given; two marks need at least 2 steps"):
        Adding(rows=10, length=1, seed=0)


OVERRIDES = ("model=gru", "data=var_len_sum", "data.rows=3000", "data.longest=10", "epochs=6")


@pytest.mark.slow
def test_var_len_sum_is_not_learned_without_lengths() -> None:
    assert lab(*OVERRIDES).test()["mse"] < 0.02
    run_without_lengths = lab(*OVERRIDES)
    run_without_lengths.task._forward_parameters = ("x",)
    assert run_without_lengths.test()["mse"] > 0.1


@pytest.mark.slow
def test_the_adding_problem_is_learned() -> None:
    run = lab("model=gru", "data=adding", "data.rows=3000", "data.length=6", "epochs=8", "batch_size=32")
    assert run.test()["mse"] < 0.02 < 0.1 < run.data.info.baseline["mse"]
