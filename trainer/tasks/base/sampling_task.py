"""Base class of tasks that generate rows from noise, and their sampler as a module."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trainer.core.batch import Batch
from trainer.core.inference_module import InferenceModule
from trainer.core.task import Task
from trainer.utils.errors import ConfigError


class SamplingTask(Task):
    """Base class of tasks that generate rows (B, ...) from noise, conditioned on labels if the model is.

    A subclass implements ``draw_noise`` and ``transform_noise``, from which ``draw`` follows and which ``train export``
    needs, or only ``draw``.

    Attributes:
        num_classes: Number of classes that the model is conditioned on; None for an unconditional model.
    """

    num_classes: int | None

    def draw(self, count: int, label: Tensor | None) -> Tensor:
        """Return generated rows (count, ...) in the range of the model, using torch's global generator.

        Args:
            count: Number of rows.
            label: Labels (count,); None for an unconditional model.
        """
        return self.transform_noise(self.draw_noise(count), label)

    def draw_noise(self, count: int) -> dict[str, Tensor]:
        """Return the noise (count, ...) of generated rows, by name, from torch's global generator.

        Raises:
            ConfigError: The task implements ``draw`` alone.
        """
        raise ConfigError(f"task: {type(self).__name__} has no sampler as a function of noise, which an export needs")

    def transform_noise(self, noise: Mapping[str, Tensor], label: Tensor | None) -> Tensor:
        """Return the rows (count, ...), in the range of the model, that noise is transformed to.

        Args:
            noise: Result of ``draw_noise``.
            label: Labels (count,); None for an unconditional model.
        """
        raise NotImplementedError

    @abstractmethod
    def denormalize(self, x: Tensor) -> Tensor:
        """Return rows x (B, ...) of the model in the range of the data."""

    def make_inference_module(self) -> InferenceModule:
        """Return the sampler: from noise and labels to rows in the range of the data."""
        noise = self.draw_noise(1)

        def make_inputs(batch: Batch) -> dict[str, Tensor]:
            inputs = self.draw_noise(len(batch))
            if self.num_classes is not None:
                inputs["label"] = torch.arange(len(batch), device=self.progress.device) % self.num_classes
            return inputs

        dims = {name: ("B", *(f"D{dim}" for dim in range(1, value.dim()))) for name, value in noise.items()}
        if self.num_classes is not None:
            dims["label"] = ("B",)
        declared = ", ".join(f"{name} ({', '.join(names)})" for name, names in dims.items())
        return InferenceModule(_Sampler(self), make_inputs, f"{declared} -> (B, ...)")


class _Sampler(nn.Module):
    """Sampler of a task, with noise and labels as named inputs."""

    def __init__(self, task: SamplingTask):
        super().__init__()
        self.task = task

    def forward(self, **inputs: Tensor) -> Tensor:
        label = inputs.pop("label", None)
        return self.task.denormalize(self.task.transform_noise(inputs, label))
