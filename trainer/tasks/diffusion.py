"""Denoising diffusion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Unpack

import torch
from torch import Tensor, nn

from trainer.core.types import PositiveInt, Probability
from trainer.tasks.base import diffusion_process
from trainer.tasks.base.denoising import Denoising, DenoisingOptions
from trainer.utils.errors import ConfigError


class Diffusion(Denoising):
    """Denoising diffusion with ``x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps``, t uniform in 1..T.

    The loss is the mean squared error of the prediction: ``|eps - eps_theta(x_t, t)|^2`` for ``eps``, and likewise for
    ``x0`` and ``v = sqrt(alpha_bar_t) eps - sqrt(1 - alpha_bar_t) x_0``. The model is conditioned on t / T.

    The cosine schedule ends with so little signal that x_0 cannot be computed from ``eps`` there; images are clamped to
    their range, but other data needs ``v`` or ``x0``.

    Args:
        model: Denoiser of x_t (B, ...) and t / T (B,), and labels (B,) if it is class-conditional.
        schedule: Noise schedule, ``linear`` or ``cosine``.
        timesteps: Number of diffusion steps T.
        prediction: Output of the model: ``eps`` is the noise, ``x0`` the data, ``v`` the v-prediction.
        sampler: ``ddpm`` uses all timesteps, ``ddim`` uses ``steps`` of them.
        eta: Noise of ``ddim`` in [0, 1]: 0 is deterministic, 1 has the noise of DDPM.
        options: Options of all denoising tasks, see ``DenoisingOptions``.

    References:
        Ho et al., Denoising Diffusion Probabilistic Models, NeurIPS 2020, eq. 14.
        Song et al., Denoising Diffusion Implicit Models, ICLR 2021.
        Salimans and Ho, Progressive Distillation for Fast Sampling of Diffusion Models, ICLR 2022 (v-prediction).
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
        noise = torch.randn(count, *self.shape, device=self.progress.device)
        return self.transform_noise({"noise": noise}, label)  # the noise of the steps is drawn one by one

    def draw_noise(self, count: int) -> dict[str, Tensor]:
        steps = self.timesteps if self.sampler == "ddpm" else self.steps
        diffusion_process.list_timesteps(self.timesteps, steps)  # cached before the sampler is traced
        noise = {"noise": torch.randn(count, *self.shape, device=self.progress.device)}
        if self.sampler == "ddpm" or self.eta:
            noise["step_noise"] = torch.randn(count, steps, *self.shape, device=self.progress.device)
        return noise

    def transform_noise(self, noise: Mapping[str, Tensor], label: Tensor | None) -> Tensor:
        def denoise(x: Tensor, timestep: Tensor | int) -> Tensor:
            output = self.predict_with_guidance(x, timestep / self.timesteps, label)
            a, b = self.noise_schedule.get_scales(timestep)
            x0 = diffusion_process.predict_x0(self.prediction, output, x, a, b)
            return x0.clamp(*self.value_range) if self.is_scaled else x0

        x, alpha_bar, step_noise = noise["noise"], self.noise_schedule.alpha_bar, noise.get("step_noise")
        if self.sampler == "ddpm":
            return diffusion_process.sample_ddpm(denoise, x, alpha_bar, step_noise)
        if self.steps > self.timesteps:
            raise ConfigError(
                f"task.steps: {self.steps} given; at most {self.timesteps} (task.timesteps) are available"
            )
        return diffusion_process.sample_ddim(denoise, x, alpha_bar, self.steps, self.eta, step_noise)
