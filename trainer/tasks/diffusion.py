"""Denoising diffusion."""

from __future__ import annotations

from typing import ClassVar, Literal, Unpack

import torch
from torch import Tensor, nn

from trainer.core.types import PositiveInt, Probability
from trainer.tasks.base import diffusion_process
from trainer.tasks.base.denoising import Denoising, DenoisingOptions
from trainer.utils.errors import ConfigError


class Diffusion(Denoising):
    """Denoising diffusion with ``x_t = sqrt(alpha_bar_t) x + sqrt(1 - alpha_bar_t) e``.

    t is uniform in 1..``timesteps``, and the model is conditioned on ``t / timesteps``. The cosine schedule ends with
    so little signal that ``eps`` does not determine data that is not clipped, as images are; ``v`` and ``x0`` do.

    Args:
        schedule: noise schedule.
        timesteps: number of diffusion steps T.
        prediction: ``eps`` predicts the noise, ``x0`` the data, ``v`` their v-combination.
        sampler: ``ddpm`` uses all steps, ``ddim`` a few.
        eta: noise of ``ddim``; 0 is deterministic.

    References:
        Ho et al. 2020, Denoising Diffusion Probabilistic Models.
        Song et al. 2021, Denoising Diffusion Implicit Models.
        Salimans and Ho 2022, Progressive Distillation (v-prediction).
    """

    shapes = "(B, ...) -> ()"

    samplers: ClassVar[tuple[str, ...]] = ("ddim", "ddpm")
    full_step_samplers: ClassVar[tuple[str, ...]] = ("ddpm",)

    def __init__(
        self,
        model: nn.Module,
        schedule: Literal["linear", "cosine"] = "cosine",
        timesteps: PositiveInt = 1000,
        prediction: Literal["eps", "x0", "v"] = "v",
        sampler: Literal["ddim", "ddpm"] = "ddim",
        eta: Probability = 0.0,
        **options: Unpack[DenoisingOptions],
    ):
        super().__init__(model, prediction, sampler, **options)
        self.noise_schedule = diffusion_process.NoiseSchedule(schedule, timesteps)
        self.timesteps = timesteps
        self.eta = eta

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        timestep = 1 + (t * self.timesteps).long().clamp(max=self.timesteps - 1)
        return self.noise_schedule.signal[timestep], self.noise_schedule.noise[timestep], timestep / self.timesteps

    def draw(self, count: int, label: Tensor | None) -> Tensor:
        def denoise(x: Tensor, timestep: int) -> Tensor:
            output = self.predict_with_guidance(x, timestep / self.timesteps, label)
            a, b = self.noise_schedule.signal[timestep], self.noise_schedule.noise[timestep]
            x0 = diffusion_process.predict_x0(self.prediction, output, x, a, b)
            return x0.clamp(*self.value_range) if self.is_scaled else x0

        noise = torch.randn(count, *self.shape, device=self.progress.device)
        if self.sampler == "ddpm":
            return diffusion_process.sample_ddpm(denoise, noise, self.noise_schedule.alpha_bar)
        if self.steps > self.timesteps:
            raise ConfigError(
                f"task.steps: {self.steps} given; at most {self.timesteps} (task.timesteps) are available"
            )
        return diffusion_process.sample_ddim(denoise, noise, self.noise_schedule.alpha_bar, self.steps, self.eta)
