"""Flow matching."""

from __future__ import annotations

from typing import ClassVar, Literal, Unpack

import torch
from torch import Tensor, nn

from trainer.tasks.base import diffusion_process
from trainer.tasks.base.denoising import Denoising, DenoisingOptions


class FlowMatching(Denoising):
    """Flow matching with linear interpolation ``x_t = t x + (1 - t) e`` from noise at time 0 to data at time 1.

    The model predicts the velocity ``x - e``. Its conditional mean transports noise to data; samples integrate it by
    ``steps`` steps of an ODE solver.

    Args:
        sampler: ODE solver, ``euler`` or ``heun``.

    References:
        Lipman et al. 2023, Flow Matching for Generative Modeling.
        Liu et al. 2023, Flow Straight and Fast (rectified flow).
    """

    shapes = "(B, ...) -> ()"

    samplers: ClassVar[tuple[str, ...]] = tuple(diffusion_process.SOLVERS)

    def __init__(
        self, model: nn.Module, sampler: Literal["euler", "heun"] = "euler", **options: Unpack[DenoisingOptions]
    ):
        super().__init__(model, "velocity", sampler, **options)

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return t, 1 - t, t

    def draw(self, count: int, label: Tensor | None) -> Tensor:
        noise = torch.randn(count, *self.shape, device=self.progress.device)
        return diffusion_process.integrate_flow(
            lambda x, time: self.predict_with_guidance(x, time, label), noise, self.sampler, self.steps
        )
