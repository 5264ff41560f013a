"""Schedules, predictions and samplers against what is known of them in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from trainer.tasks.base import diffusion_process

LINEAR = diffusion_process.NoiseSchedule("linear", 1000)
MEAN, SPREAD = 0.7, 0.4


def test_linear_ends_where_the_source_says() -> None:
    betas = np.linspace(1e-4, 0.02, 1000)
    wanted = np.concatenate(([1.0], np.cumprod(1 - betas)))
    assert LINEAR.alpha_bar[-1] == pytest.approx(4.04e-5, abs=5e-8)
    np.testing.assert_allclose(LINEAR.alpha_bar, wanted, rtol=1e-12)
    np.testing.assert_allclose(LINEAR.signal.numpy(), np.sqrt(wanted), rtol=1e-6)
    np.testing.assert_allclose(LINEAR.noise.numpy(), np.sqrt(1 - wanted), rtol=1e-6)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("timesteps", [1, 2, 50, 4000])
def test_any_number_of_steps_goes_from_data_to_noise(schedule: str, timesteps: int) -> None:
    levels = diffusion_process.NoiseSchedule(schedule, timesteps)  # type: ignore[arg-type]
    assert len(levels.alpha_bar) == timesteps + 1
    assert levels.alpha_bar[0] == 1
    assert 0 < levels.alpha_bar[-1] < 2e-3
    assert np.all(np.diff(levels.alpha_bar) < 0)
    torch.testing.assert_close(levels.signal.square() + levels.noise.square(), torch.ones(timesteps + 1))


def test_cosine_is_the_papers_but_for_its_last_step() -> None:
    found = diffusion_process.NoiseSchedule("cosine", 1000).alpha_bar
    f = np.cos((np.arange(1001) / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2
    np.testing.assert_allclose(found[:-1], (f / f[0])[:-1], rtol=1e-9)
    assert found[-1] == pytest.approx(0.001 * found[-2])


@pytest.mark.parametrize("prediction", ["eps", "x0", "v", "velocity"])
def test_the_data_comes_back_from_every_prediction(prediction: str) -> None:
    x, e = torch.randn(2, 6, 3, dtype=torch.float64)
    a = torch.tensor([0.999, 0.9, 0.5, 0.1, 0.01, 1e-4], dtype=torch.float64)[:, None]
    b = 1 - a if prediction == "velocity" else (1 - a**2).sqrt()
    said = diffusion_process.compute_target(prediction, x, e, a, b)
    wanted = {"eps": e, "x0": x, "v": a * e - b * x, "velocity": x - e}
    torch.testing.assert_close(said, wanted[prediction])
    torch.testing.assert_close(
        diffusion_process.predict_x0(prediction, said, a * x + b * e, a, b), x, atol=1e-9, rtol=1e-9
    )


def test_taking_one_prediction_for_another_is_seen() -> None:
    x, e, a = torch.randn(5, 2), torch.randn(5, 2), torch.tensor(0.6)
    said = diffusion_process.compute_target("eps", x, e, a, (1 - a**2).sqrt())
    assert not torch.allclose(
        diffusion_process.predict_x0("x0", said, a * x + 0.8 * e, a, torch.tensor(0.8)), x, atol=0.1
    )


def optimal(x: Tensor, step: int) -> Tensor:
    """``E[x_0 | x_t]`` where ``x_0 ~ N(MEAN, SPREAD^2)``."""
    a2 = LINEAR.alpha_bar[step]
    return MEAN + SPREAD**2 * math.sqrt(a2) / (a2 * SPREAD**2 + 1 - a2) * (x - math.sqrt(a2) * MEAN)


@pytest.mark.parametrize(("steps", "close"), [(1000, 0.005), (50, 0.08)])
def test_ddim_carries_a_gaussian_to_a_gaussian(steps: int, close: float) -> None:
    """Without fresh noise the way from start to end is a line: its height and slope are the mean and the spread."""
    ends = diffusion_process.sample_ddim(
        optimal, torch.tensor([0.0, 1.0], dtype=torch.float64), LINEAR.alpha_bar, steps, eta=0.0
    )
    assert float(ends[0]) == pytest.approx(MEAN, abs=0.01)
    assert float(ends[1] - ends[0]) == pytest.approx(SPREAD, rel=close)


@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_fresh_noise_leaves_mean_and_spread(eta: float) -> None:
    drawn = diffusion_process.sample_ddim(optimal, torch.randn(20000), LINEAR.alpha_bar, 200, eta)
    assert float(drawn.mean()) == pytest.approx(MEAN, abs=0.015)
    assert float(drawn.std()) == pytest.approx(SPREAD, rel=0.06)


def posterior_chain(x: Tensor) -> Tensor:
    """Ho et al. 2020, algorithm 2 with equation 7, from betas: the last 200 steps."""
    betas = np.linspace(1e-4, 0.02, 1000)
    bar = np.concatenate(([1.0], np.cumprod(1 - betas)))
    for t in range(200, 0, -1):
        beta, now, before = betas[t - 1], bar[t], bar[t - 1]
        mean = np.sqrt(before) * beta / (1 - now) * optimal(x, t) + np.sqrt(1 - beta) * (1 - before) / (1 - now) * x
        x = mean if t == 1 else mean + np.sqrt(beta * (1 - before) / (1 - now)) * torch.randn_like(x)
    return x


def test_ddpm_is_the_posterior_of_the_paper_and_ddim_with_all_noise_and_steps() -> None:
    last = LINEAR.alpha_bar[:201]
    start = MEAN * last[200] ** 0.5 + (last[200] * SPREAD**2 + 1 - last[200]) ** 0.5 * torch.randn(5000).double()

    def from_seed(draw: object) -> Tensor:
        torch.manual_seed(1)
        return draw(start)  # type: ignore[operator]

    wanted = from_seed(posterior_chain)
    torch.testing.assert_close(from_seed(lambda x: diffusion_process.sample_ddpm(optimal, x, last)), wanted)
    torch.testing.assert_close(from_seed(lambda x: diffusion_process.sample_ddim(optimal, x, last, 200, 1.0)), wanted)
    assert not torch.allclose(diffusion_process.sample_ddim(optimal, start, last, 200, 0.0), wanted, atol=0.1)
    assert float(wanted.mean()) == pytest.approx(MEAN, abs=0.04)
    assert float(wanted.std()) == pytest.approx(SPREAD, rel=0.05)


@pytest.mark.parametrize(("steps", "wanted"), [(1, [1000]), (4, [1000, 750, 500, 250])])
def test_ddim_looks_once_a_step_from_the_noisiest_on(steps: int, wanted: list[int]) -> None:
    looked: list[int] = []

    def denoise(x: Tensor, step: int) -> Tensor:
        looked.append(step)
        return 3 * torch.ones_like(x)

    assert torch.equal(
        diffusion_process.sample_ddim(denoise, torch.randn(3), LINEAR.alpha_bar, steps, 0.0), torch.full((3,), 3.0)
    )
    assert looked == wanted


def velocity(x: Tensor, time: float) -> Tensor:
    """``E[x_1 - x_0 | x_t]`` where ``x_1 ~ N(MEAN, SPREAD^2)`` and x_0 is noise."""
    slope = (time * SPREAD**2 - (1 - time)) / (time**2 * SPREAD**2 + (1 - time) ** 2)
    return MEAN + slope * (x - time * MEAN)


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2)])
def test_a_flow_carries_noise_to_the_gaussian_with_the_order_of_its_solver(solver: str, order: int) -> None:
    def wrong(steps: int) -> float:
        ends = diffusion_process.integrate_flow(velocity, torch.tensor([0.0, 1.0], dtype=torch.float64), solver, steps)
        assert float(ends[0]) == pytest.approx(MEAN, abs=1e-9)
        return abs(float(ends[1] - ends[0]) - SPREAD)

    assert wrong(100) < 0.02
    assert math.log2(wrong(100) / wrong(200)) == pytest.approx(order, abs=0.25)
