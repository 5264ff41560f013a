"""Flow matching."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Unpack

import torch
from torch import Tensor, nn

from trainer.tasks.base import diffusion_process
from trainer.tasks.base.denoising import Denoising, DenoisingOptions


class FlowMatching(Denoising):
    """Flow matching on the linear path ``x_t = t x + (1 - t) e`` from noise e at time 0 to data x at time 1.

    The loss is ``|v_theta(x_t, t) - (x - e)|^2`` with t uniform in [0, 1). The optimal velocity, the conditional mean
    of ``x - e``, transports noise to data; sampling integrates ``dx/dt = v_theta(x, t)`` from 0 to 1.

    Args:
        model: Velocity field of x_t (B, ...) and t (B,), and labels (B,) if it is class-conditional.
        sampler: ODE solver, ``euler`` or ``heun``.
        options: Options of all denoising tasks, see ``DenoisingOptions``.

    References:
        Lipman et al., Flow Matching for Generative Modeling, ICLR 2023, eq. 23 (with sigma_min 0).
        Liu et al., Flow Straight and Fast: Learning to Generate and Transfer Data with Rectified Flow, ICLR 2023.
    """

    shapes = "(B, ...) -> ()"

    samplers: ClassVar[tuple[str, ...]] = tuple(diffusion_process.SOLVERS)

    def __init__(
        self, model: nn.Module, sampler: Literal["euler", "heun"] = "euler", **options: Unpack[DenoisingOptions]
    ):
        super().__init__(model, "velocity", sampler, **options)

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return t, 1 - t, t

    def draw_noise(self, count: int) -> dict[str, Tensor]:
        return {"noise": torch.randn(count, *self.shape, device=self.progress.device)}

    def transform_noise(self, noise: Mapping[str, Tensor], label: Tensor | None) -> Tensor:
        return diffusion_process.integrate_flow(
            lambda x, time: self.predict_with_guidance(x, time, label), noise["noise"], self.sampler, self.steps
        )
