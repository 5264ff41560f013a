"""Damped oscillator: exact trajectories, times and invalid options."""

from __future__ import annotations

import pytest
import torch

from trainer.core.split import TensorSplit
from trainer.data.datasets.sequence.oscillator import DampedOscillator, exact_trajectory
from trainer.utils.errors import DataError

OPTIONS = {"rows": 500, "horizon": 6, "duration": 3.0, "frequency": 2.0, "damping": 0.2, "seed": 0}


def test_exact_trajectory_satisfies_the_differential_equation() -> None:
    start = torch.randn(5, 2, dtype=torch.float64)
    times = (3 * torch.rand(5, 1, dtype=torch.float64)).requires_grad_()
    (position, speed) = exact_trajectory(start, times, 2.0, 0.2).unbind(-1)
    (velocity,) = torch.autograd.grad(position.sum(), times, create_graph=True)
    (acceleration,) = torch.autograd.grad(speed.sum(), times)
    torch.testing.assert_close(velocity, speed)
    torch.testing.assert_close(acceleration, -4 * position - 0.4 * speed)
    torch.testing.assert_close(exact_trajectory(start, 0 * times, 2.0, 0.2)[:, 0], start)


def test_times_ascend_and_differ_between_rows() -> None:
    data = DampedOscillator(**OPTIONS)  # type: ignore[arg-type]
    assert isinstance(data.train, TensorSplit)
    times = data.train.inputs["times"]
    assert (times.diff(dim=1) >= 0).all()
    assert 0 <= times.min() < 0.1 < 2.9 < times.max() < 3
    assert len(times.unique(dim=0)) == 300
    assert data.info.baseline["mse"] == pytest.approx(float(data.test.get_targets().square().mean()), rel=0.05)


def test_overdamped_oscillator_raises() -> None:
    with pytest.raises(DataError, match=r"damping: 2 must be less than data\.frequency, 2"):
        DampedOscillator(**OPTIONS | {"damping": 2.0})  # type: ignore[arg-type]
