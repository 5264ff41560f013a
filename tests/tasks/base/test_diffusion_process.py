"""Noise schedules, predictions and samplers against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from trainer.tasks.base import diffusion_process

LINEAR = diffusion_process.NoiseSchedule("linear", 1000)
MEAN, STD = 0.7, 0.4


def test_linear_schedule_matches_closed_form() -> None:
    betas = np.linspace(1e-4, 0.02, 1000)
    expected = np.concatenate(([1.0], np.cumprod(1 - betas)))
    assert LINEAR.alpha_bar[-1] == pytest.approx(4.04e-5, abs=5e-8)
    np.testing.assert_allclose(LINEAR.alpha_bar, expected, rtol=1e-12)
    np.testing.assert_allclose(LINEAR.signal.numpy(), np.sqrt(expected), rtol=1e-6)
    np.testing.assert_allclose(LINEAR.noise.numpy(), np.sqrt(1 - expected), rtol=1e-6)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("timesteps", [1, 2, 50, 4000])
def test_schedule_goes_from_data_to_noise_for_any_timesteps(schedule: str, timesteps: int) -> None:
    levels = diffusion_process.NoiseSchedule(schedule, timesteps)  # type: ignore[arg-type]
    assert len(levels.alpha_bar) == timesteps + 1
    assert levels.alpha_bar[0] == 1
    assert 0 < levels.alpha_bar[-1] < 2e-3
    assert np.all(np.diff(levels.alpha_bar) < 0)
    torch.testing.assert_close(levels.signal.square() + levels.noise.square(), torch.ones(timesteps + 1))


def test_cosine_schedule_matches_paper_except_last_step() -> None:
    found = diffusion_process.NoiseSchedule("cosine", 1000).alpha_bar
    f = np.cos((np.arange(1001) / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2
    np.testing.assert_allclose(found[:-1], (f / f[0])[:-1], rtol=1e-9)
    assert found[-1] == pytest.approx(0.001 * found[-2])


@pytest.mark.parametrize("prediction", ["eps", "x0", "v", "velocity"])
def test_predict_x0_inverts_every_target(prediction: str) -> None:
    x, e = torch.randn(2, 6, 3, dtype=torch.float64)
    a = torch.tensor([0.999, 0.9, 0.5, 0.1, 0.01, 1e-4], dtype=torch.float64)[:, None]
    b = 1 - a if prediction == "velocity" else (1 - a**2).sqrt()
    target = diffusion_process.compute_target(prediction, x, e, a, b)
    expected = {"eps": e, "x0": x, "v": a * e - b * x, "velocity": x - e}
    torch.testing.assert_close(target, expected[prediction])
    torch.testing.assert_close(
        diffusion_process.predict_x0(prediction, target, a * x + b * e, a, b), x, atol=1e-9, rtol=1e-9
    )


def test_wrong_prediction_type_does_not_recover_data() -> None:
    x, e, a = torch.randn(5, 2), torch.randn(5, 2), torch.tensor(0.6)
    target = diffusion_process.compute_target("eps", x, e, a, (1 - a**2).sqrt())
    assert not torch.allclose(
        diffusion_process.predict_x0("x0", target, a * x + 0.8 * e, a, torch.tensor(0.8)), x, atol=0.1
    )


def optimal_denoiser(x: Tensor, step: int) -> Tensor:
    """``E[x_0 | x_t]`` where ``x_0 ~ N(MEAN, STD^2)``."""
    a2 = LINEAR.alpha_bar[step]
    return MEAN + STD**2 * math.sqrt(a2) / (a2 * STD**2 + 1 - a2) * (x - math.sqrt(a2) * MEAN)


@pytest.mark.parametrize(("steps", "tolerance"), [(1000, 0.005), (50, 0.08)])
def test_deterministic_ddim_recovers_gaussian_moments(steps: int, tolerance: float) -> None:
    """Without fresh noise the map from start to end is linear: offset and slope are mean and standard deviation."""
    ends = diffusion_process.sample_ddim(
        optimal_denoiser, torch.tensor([0.0, 1.0], dtype=torch.float64), LINEAR.alpha_bar, steps, eta=0.0
    )
    assert float(ends[0]) == pytest.approx(MEAN, abs=0.01)
    assert float(ends[1] - ends[0]) == pytest.approx(STD, rel=tolerance)


@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_stochastic_ddim_recovers_gaussian_moments(eta: float) -> None:
    samples = diffusion_process.sample_ddim(optimal_denoiser, torch.randn(20000), LINEAR.alpha_bar, 200, eta)
    assert float(samples.mean()) == pytest.approx(MEAN, abs=0.015)
    assert float(samples.std()) == pytest.approx(STD, rel=0.06)


def sample_posterior_chain(x: Tensor) -> Tensor:
    """Ho et al. 2020, algorithm 2 with equation 7, from betas: the last 200 steps."""
    betas = np.linspace(1e-4, 0.02, 1000)
    bar = np.concatenate(([1.0], np.cumprod(1 - betas)))
    for t in range(200, 0, -1):
        beta, now, before = betas[t - 1], bar[t], bar[t - 1]
        mean = (
            np.sqrt(before) * beta / (1 - now) * optimal_denoiser(x, t)
            + np.sqrt(1 - beta) * (1 - before) / (1 - now) * x
        )
        x = mean if t == 1 else mean + np.sqrt(beta * (1 - before) / (1 - now)) * torch.randn_like(x)
    return x


def test_ddpm_matches_paper_and_ddim_with_eta_one() -> None:
    last = LINEAR.alpha_bar[:201]
    start = MEAN * last[200] ** 0.5 + (last[200] * STD**2 + 1 - last[200]) ** 0.5 * torch.randn(5000).double()

    def sample_with_seed(sampler: object) -> Tensor:
        torch.manual_seed(1)
        return sampler(start)  # type: ignore[operator]

    expected = sample_with_seed(sample_posterior_chain)
    torch.testing.assert_close(
        sample_with_seed(lambda x: diffusion_process.sample_ddpm(optimal_denoiser, x, last)), expected
    )
    torch.testing.assert_close(
        sample_with_seed(lambda x: diffusion_process.sample_ddim(optimal_denoiser, x, last, 200, 1.0)), expected
    )
    assert not torch.allclose(
        diffusion_process.sample_ddim(optimal_denoiser, start, last, 200, 0.0), expected, atol=0.1
    )
    assert float(expected.mean()) == pytest.approx(MEAN, abs=0.04)
    assert float(expected.std()) == pytest.approx(STD, rel=0.05)


@pytest.mark.parametrize(("steps", "expected"), [(1, [1000]), (4, [1000, 750, 500, 250])])
def test_ddim_evaluates_once_per_step_from_noisiest(steps: int, expected: list[int]) -> None:
    visited: list[int] = []

    def denoise(x: Tensor, step: int) -> Tensor:
        visited.append(step)
        return 3 * torch.ones_like(x)

    assert torch.equal(
        diffusion_process.sample_ddim(denoise, torch.randn(3), LINEAR.alpha_bar, steps, 0.0), torch.full((3,), 3.0)
    )
    assert visited == expected


def optimal_velocity(x: Tensor, time: float) -> Tensor:
    """``E[x_1 - x_0 | x_t]`` where ``x_1 ~ N(MEAN, STD^2)`` and x_0 is noise."""
    slope = (time * STD**2 - (1 - time)) / (time**2 * STD**2 + (1 - time) ** 2)
    return MEAN + slope * (x - time * MEAN)


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2)])
def test_flow_solver_has_expected_convergence_order(solver: str, order: int) -> None:
    def std_error(steps: int) -> float:
        ends = diffusion_process.integrate_flow(
            optimal_velocity, torch.tensor([0.0, 1.0], dtype=torch.float64), solver, steps
        )
        assert float(ends[0]) == pytest.approx(MEAN, abs=1e-9)
        return abs(float(ends[1] - ends[0]) - STD)

    assert std_error(100) < 0.02
    assert math.log2(std_error(100) / std_error(200)) == pytest.approx(order, abs=0.25)


def test_given_step_noise_replaces_what_is_drawn() -> None:
    alpha_bar = diffusion_process.NoiseSchedule("linear", 8).alpha_bar
    x, step_noise = torch.randn(4, 3), torch.randn(4, 8, 3)
    draws = iter(step_noise.unbind(1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "randn_like", lambda _: next(draws))
        expected = diffusion_process.sample_ddpm(lambda x, _: x / 2, x, alpha_bar)
    given = diffusion_process.sample_ddpm(lambda x, _: x / 2, x, alpha_bar, step_noise)
    assert torch.equal(given, expected)
