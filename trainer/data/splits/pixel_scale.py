"""Normalization of uint8 images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.core.device_copy import copy_to_device
from trainer.core.preprocessing import Preprocessing

NUM_LEVELS = 256


@dataclass(frozen=True)
class PixelScale:
    """Normalization of uint8 images by mean and standard deviation.

    Args:
        mean: Mean of each channel, (C, 1, 1).
        std: Standard deviation of each channel, (C, 1, 1).
    """

    mean: Tensor
    std: Tensor

    @classmethod
    def from_images(cls, x: Tensor) -> PixelScale:
        """Compute from uint8 (N, C, H, W) by histograms, without a float copy; constant channels have std 1."""
        counts = torch.stack([x[:, channel].flatten().bincount(minlength=NUM_LEVELS) for channel in range(x.shape[1])])
        frequency = counts / counts.sum(1, keepdim=True, dtype=torch.double)
        level = torch.arange(NUM_LEVELS, dtype=torch.double)
        mean = (frequency * level).sum(1, keepdim=True)
        std = (frequency * (level - mean).square()).sum(1, keepdim=True).sqrt()
        return cls(mean.float()[..., None], torch.where(std > 0, std, 1).float()[..., None])

    @classmethod
    def get_or_fit(cls, fitted: Preprocessing, fit: Callable[[], PixelScale]) -> PixelScale:
        """Return the scale stored by a run, or fit it.

        Args:
            fitted: Preprocessing, which stores the scale of a run.
            fit: Function that computes the scale.
        """

        def fit_state() -> dict[str, Tensor]:
            scale = fit()
            return {"mean": scale.mean, "std": scale.std}

        return cls(**fitted.get_or_fit("scale", fit_state))

    @classmethod
    def from_range(cls, black: Sequence[float], white: Sequence[float]) -> PixelScale:
        """Create the scale that maps bytes 0 and 255 of each channel to these values.

        Args:
            black: Value of byte 0 in each channel.
            white: Value of byte 255 in each channel.
        """
        black_value, white_value = (torch.tensor(list(end)).view(-1, 1, 1) for end in (black, white))
        std = (NUM_LEVELS - 1) / (white_value - black_value)
        return cls(-black_value * std, std)

    def to(self, device: torch.device) -> PixelScale:
        return PixelScale(self.mean.to(device), self.std.to(device))

    @property
    def black_level(self) -> list[float]:
        """Normalized value of byte 0 in each channel."""
        return (-self.mean / self.std).flatten().tolist()

    @property
    def pixel_bounds(self) -> tuple[list[float], list[float]]:
        """Normalized values of bytes 0 and 255 in each channel."""
        return self.black_level, ((NUM_LEVELS - 1 - self.mean) / self.std).flatten().tolist()

    def __call__(self, x: Tensor) -> Tensor:
        return (x.float() - copy_to_device(self.mean, x.device)) / copy_to_device(self.std, x.device)
