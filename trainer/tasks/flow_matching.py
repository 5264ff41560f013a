"""Flow matching: a model learns in which direction, and how fast, noise moves to become data."""

from __future__ import annotations

from typing import ClassVar, Literal, Unpack

import torch
from torch import Tensor, nn

from trainer.tasks.base import diffusion_process
from trainer.tasks.base.denoising import Denoising, DenoisingOptions


class FlowMatching(Denoising):
    """Lipman et al. 2023; Liu et al. 2023: along the straight way ``x_t = t x + (1 - t) e`` from noise at time 0 to a
    row at time 1 the velocity is ``x - e``, and its mean at each place and time, which the model learns, carries noise
    to data. Samples follow it in so many ``steps`` of a solver of differential equations.
    """

    shapes = "(B, ...) -> ()"

    samplers: ClassVar[tuple[str, ...]] = tuple(diffusion_process.SOLVERS)

    def __init__(
        self, model: nn.Module, sampler: Literal["euler", "heun"] = "euler", **options: Unpack[DenoisingOptions]
    ):
        super().__init__(model, "velocity", sampler, **options)

    def alpha_sigma(self, place: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return place, 1 - place, place

    def draw(self, count: int, label: Tensor | None) -> Tensor:
        start = torch.randn(count, *self.shape, device=self.progress.device)
        return diffusion_process.integrate_flow(
            lambda x, time: self.predict_with_guidance(x, time, label), start, self.sampler, self.steps
        )
