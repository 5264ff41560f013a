from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.lab import lab
from trainer.data.datasets.sequence.oscillator import exact_trajectory
from trainer.models.sequence import neural_ode
from trainer.models.sequence.neural_ode import NeuralODE

FREQUENCY, DAMPING = 2.0, 0.2
START, TIMES = torch.tensor([[1.0, 0.0], [0.5, -1.0]]), torch.tensor([[0.4, 1.0, 1.5], [0.1, 0.2, 2.0]])


def make(**options: Any) -> NeuralODE:
    torch.manual_seed(0)
    defaults: dict[str, Any] = {
        "in_features": 2,
        "hidden": [8],
        "solver": "rk4",
        "steps_per_interval": 1,
        "tolerance": 1e-7,
    }
    return NeuralODE(**defaults | options)


def make_exact_ode(**options: Any) -> NeuralODE:
    """Build a model whose vector field is the damped oscillator's, in double precision."""
    model = make(**options)
    model.field = nn.Linear(2, 2, bias=False, dtype=torch.float64)
    model.field.weight.data = torch.tensor([[0, 1], [-(FREQUENCY**2), -2 * DAMPING]], dtype=torch.float64)
    return model


def euler(field: neural_ode.VectorField, y: Tensor, gap: Tensor, steps: int) -> Tensor:
    """Integrate by Euler's method, which has order one."""
    for _ in range(steps):
        y = y + gap / steps * field(y)
    return y


def convergence_orders(solver: Any) -> list[float]:
    """Return the observed order of convergence at each halving of the step."""
    start, times = START.double(), TIMES.double()
    exact = exact_trajectory(start, times, FREQUENCY, DAMPING)
    errors = []
    for steps in (4, 8, 16, 32):
        model = make_exact_ode()
        model.solve_interval = lambda *args, steps=steps: solver(*args, steps)
        errors.append(float((model(start, times) - exact).detach().abs().max()))
    return [math.log2(a / b) for a, b in pairwise(errors)]


def test_rk4_has_order_four_and_euler_order_one() -> None:
    assert convergence_orders(neural_ode.solve_rk4) == pytest.approx([4, 4, 4], abs=0.3)
    assert convergence_orders(euler) == pytest.approx([1, 1, 1], abs=0.3)


def test_rows_have_independent_times_and_zero_time_is_identity() -> None:
    model = make(steps_per_interval=3)
    output = model(START, TIMES)
    torch.testing.assert_close(output, torch.cat([model(START[i : i + 1], TIMES[i : i + 1]) for i in (0, 1)]))
    torch.testing.assert_close(model(START, torch.zeros(2, 1))[:, 0], START)
    assert output.shape == (2, 3, 2)


def test_gradients_match_finite_differences() -> None:
    model = make(hidden=[4]).double()
    assert torch.autograd.gradcheck(lambda start: model(start, TIMES.double()), START.double().requires_grad_())


def test_adaptive_solver_error_follows_tolerance() -> None:
    pytest.importorskip("torchdiffeq")
    start, times = START.double(), TIMES.double()
    exact = exact_trajectory(start, times, FREQUENCY, DAMPING)
    coarse, fine = (
        float((make_exact_ode(solver="dopri5", tolerance=tolerance)(start, times) - exact).detach().abs().max())
        for tolerance in (1e-3, 1e-9)
    )
    assert fine < 1e-7 < coarse < 1e-2
    model, fixed = make(solver="dopri5"), make(steps_per_interval=32)
    torch.testing.assert_close(model(START, TIMES), fixed(START, TIMES), atol=1e-5, rtol=0)
    for network in (model, fixed):
        network(START, TIMES).square().sum().backward()
    for adaptive, expected in zip(model.parameters(), fixed.parameters(), strict=True):
        torch.testing.assert_close(adaptive.grad, expected.grad, atol=1e-4, rtol=1e-3)


def test_missing_package_error_names_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neural_ode, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"solver: dopri5 needs torchdiffeq: pip install 'train-zoo\[ode\]'"):
        make(solver="dopri5")


SHORT = ("data.rows=500", "data.horizon=6", "epochs=40", "batch_size=16")


@pytest.mark.slow
def test_learns_vector_field_of_oscillator() -> None:
    run = lab("model=neural_ode", "data=damped_oscillator", *SHORT)
    assert run.test()["mse"] < 0.02
    model = run.task.model.eval()
    unseen_times = torch.linspace(0.1, 2.9, 29)[None]
    with torch.no_grad():
        rate = model.field(START)
        path = model(START[:1], unseen_times)
    matrix = torch.tensor([[0, 1], [-(FREQUENCY**2), -2 * DAMPING]])
    assert float((rate - START @ matrix.T).norm() / (START @ matrix.T).norm()) < 0.1
    assert float((path - exact_trajectory(START[:1], unseen_times, FREQUENCY, DAMPING)).square().mean()) < 0.02


@pytest.mark.slow
def test_coarse_euler_solver_misses_gate() -> None:
    run = lab("model=neural_ode", "data=damped_oscillator", *SHORT)
    run.task.model.solve_interval = lambda *args: euler(*args, steps=2)
    assert run.test()["mse"] > 0.02
