"""Random changes of images, each a function of (seed, epoch, index) alone."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer import seeding
from trainer.data.base import Augment


def shift(pixels: int, seed: int, blank: float = 0.0, blank_class: int = 0) -> Augment | None:
    """Moves every image by up to ``pixels`` up, down, left and right; None for no pixels.

    What comes in at the edge is ``blank``, of class ``blank_class``: a target that is a map moves with its image.
    """
    if not pixels:
        return None

    def move(image: Tensor, rows: Tensor, columns: Tensor, value: float) -> Tensor:
        padded = F.pad(image, (pixels,) * 4, value=value)
        return padded[torch.arange(len(image), device=image.device)[:, None, None], ..., rows, columns]

    def augment(
        inputs: dict[str, Tensor], target: Tensor | None, index: Tensor, epoch: int
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        x = inputs["x"]  # (B, C, H, W)
        start = (seeding.uniform(index, 2, seed, epoch) * (2 * pixels + 1)).long()  # (B, 2), pixels in the middle
        rows = (start[:, :1] + torch.arange(x.shape[2], device=x.device))[:, :, None]
        columns = (start[:, 1:] + torch.arange(x.shape[3], device=x.device))[:, None, :]
        if target is not None and target.dim() == 3:
            target = move(target, rows, columns, blank_class)
        # Index tensors around an ellipsis put the indexed dimensions first: (B, H, W, C).
        moved = move(x, rows, columns, blank).permute(0, 3, 1, 2).contiguous()
        return {**inputs, "x": moved}, target

    return augment
