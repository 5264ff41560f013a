"""Denoisers known in closed form, and tasks with them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from trainer.core.batch import ScoreAccumulator
from trainer.data.datasets.generative.ring import Ring
from trainer.tasks.base import diffusion_process
from trainer.tasks.base.denoising import Denoising
from trainer.tasks.diffusion import Diffusion
from trainer.tasks.flow_matching import FlowMatching

SHARED: dict[str, Any] = {"guidance": 1.0, "label_dropout": 0.1, "samples": 500, "classifier": None}
DIFFUSION = {"schedule": "linear", "timesteps": 1000, "prediction": "eps", "sampler": "ddim", "steps": 50, "eta": 0.0}


def diffusion(model: nn.Module, **changes: Any) -> Diffusion:
    return Diffusion(model, **DIFFUSION | SHARED | changes)


def flow_matching(model: nn.Module, **changes: Any) -> FlowMatching:
    return FlowMatching(model, **{"sampler": "heun", "steps": 20} | SHARED | changes)


def ring(modes: int = 8, sigma: float = 0.1) -> Ring:
    return Ring(rows=5000, modes=modes, radius=2.0, sigma=sigma, seed=0)


class OptimalDenoiser(nn.Module):
    """The Bayes-optimal denoiser of a uniform mixture of Gaussians, or of the component of a label.

    is_flow_matching: on the path of flow matching instead of diffusion.
    """

    def __init__(self, data: Ring, prediction: str, *, is_conditional: bool = False, is_flow_matching: bool = False):
        super().__init__()
        assert data.info.density.modes is not None
        self.centres, self.sigma, self.prediction = data.info.density.modes, data.info.density.mode_sigma, prediction
        self.is_flow_matching = is_flow_matching
        self.num_classes = len(self.centres) if is_conditional else None
        self.levels = diffusion_process.NoiseSchedule("linear", 1000)

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        if self.is_flow_matching:
            a, b = time[:, None], (1 - time[:, None]).clamp(min=1e-4)
        else:
            step = (time[:, None] * 1000).round().long()
            a, b = self.levels.signal[step], self.levels.noise[step]
        spread = a**2 * self.sigma**2 + b**2
        odds = -(x[:, None] - a[:, :, None] * self.centres).square().sum(2) / (2 * spread)
        if label is not None:
            named = torch.eye(len(self.centres) + 1)[:, :-1][label].bool()
            odds = odds.masked_fill(~named & (label < len(self.centres))[:, None], -torch.inf)
        centre = odds.softmax(1) @ self.centres
        data = centre + a * self.sigma**2 / spread * (x - a * centre)
        return diffusion_process.compute_target(self.prediction, data, (x - a * data) / b, a, b)


class ZeroDenoiser(nn.Module):
    """Predicts zero, like an untrained denoiser."""

    num_classes = None

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        return torch.zeros_like(x)


class RecordingDenoiser(nn.Module):
    """Predicts the label, 0.5 for the null class, and records its inputs."""

    def __init__(self, num_classes: int | None = None):
        super().__init__()
        self.num_classes = num_classes
        self.times: list[Tensor] = []
        self.labels: list[Tensor | None] = []

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        self.times.append(time)
        self.labels.append(label)
        if label is None:
            return torch.full_like(x, 0.5)
        prediction = torch.where(label == self.num_classes, 0.5, label.float())
        return prediction.view(-1, *[1] * (x.dim() - 1)).expand_as(x)


def evaluate_test_split(task: Denoising, data: Ring) -> dict[str, float]:
    """Return the scores of a task on the test rows of its data."""
    task.setup(data)
    totals = ScoreAccumulator()
    with torch.no_grad():
        totals.update(task.score(data.test.batch(torch.arange(len(data.test)), 0)))
        return task.metrics(totals.compute_totals())
