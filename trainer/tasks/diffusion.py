"""Diffusion: rows are drowned in noise step by step, and a model learns the way back."""

from __future__ import annotations

from typing import ClassVar, Literal, Unpack

import torch
from torch import Tensor, nn

from trainer.core.types import PositiveInt, Probability
from trainer.tasks.base import diffusion_process
from trainer.tasks.base.denoising import Denoising, DenoisingOptions
from trainer.utils.errors import ConfigError


class Diffusion(Denoising):
    """Ho et al. 2020: ``x_t = sqrt(alpha_bar_t) x + sqrt(1 - alpha_bar_t) e`` for one t of 1 to ``timesteps`` a row, of
    which the model, told ``t / timesteps``, gives the noise, the data, or ``v`` between them. Samples start as noise
    and go back through all the steps (``sample_ddpm``) or through a few (``sample_ddim``, Song et al. 2021). The cosine
    schedule ends with so little signal that ``eps`` can tell nothing of data that is not clipped, as pictures are; v
    and x0 can.
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
        self.levels = diffusion_process.NoiseSchedule(schedule, timesteps)
        self.timesteps = timesteps
        self.eta = eta

    def alpha_sigma(self, place: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        step = 1 + (place * self.timesteps).long().clamp(max=self.timesteps - 1)
        return self.levels.signal[step], self.levels.noise[step], step / self.timesteps

    def draw(self, count: int, label: Tensor | None) -> Tensor:
        def denoise(x: Tensor, step: int) -> Tensor:
            said = self.predict_with_guidance(x, step / self.timesteps, label)
            data = diffusion_process.predict_x0(
                self.prediction, said, x, self.levels.signal[step], self.levels.noise[step]
            )
            return data.clamp(*self.value_range) if self.is_scaled else data

        start = torch.randn(count, *self.shape, device=self.progress.device)
        if self.sampler == "ddpm":
            return diffusion_process.sample_ddpm(denoise, start, self.levels.alpha_bar)
        if self.steps > self.timesteps:
            raise ConfigError(
                f"task.steps: {self.steps} given; there are {self.timesteps} (task.timesteps) to choose from"
            )
        return diffusion_process.sample_ddim(denoise, start, self.levels.alpha_bar, self.steps, self.eta)
