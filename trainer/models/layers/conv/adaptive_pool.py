"""Adaptive pooling that stays adaptive in exported programs.

Output i of n pools the pixels from ``floor(i H / n)`` up to ``ceil((i + 1) H / n)`` of H. Exported programs compute the
windows from the size of the image, because other runtimes pool only with windows of one size. So do deterministic runs
on CUDA, where the gradients of torch's kernels are sums in a free order.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainer.core.ordered_sums import needs_ordered_sums


class AdaptiveAvgPool(nn.AdaptiveAvgPool2d):
    """Average pooling of an image of any size to a fixed size, as ``torch.nn.AdaptiveAvgPool2d``.

    Args:
        output_size: (height, width) of the output; a number for a square.

    Shape:
        x: (B, C, H, W)
        output: (B, C, *output_size)
    """

    def forward(self, x: Tensor) -> Tensor:
        if not torch.compiler.is_exporting() and not needs_ordered_sums(x):
            return super().forward(x)
        rows, columns = find_windows(x, self.output_size)
        rows, columns = (windows / windows.sum(1, keepdim=True) for windows in (rows.to(x), columns.to(x)))
        return rows @ x @ columns.t()


class AdaptiveMaxPool(nn.AdaptiveMaxPool2d):
    """Max pooling of an image of any size to a fixed size, as ``torch.nn.AdaptiveMaxPool2d``.

    Args:
        output_size: (height, width) of the output; a number for a square.

    Shape:
        x: (B, C, H, W)
        output: (B, C, *output_size)
    """

    def forward(self, x: Tensor) -> Tensor:
        if not torch.compiler.is_exporting() and not needs_ordered_sums(x):
            return super().forward(x)
        rows, columns = find_windows(x, self.output_size)
        x = x[:, :, None].masked_fill(~rows[..., None], -torch.inf).amax(3)  # (B, C, h, W)
        return x[:, :, :, None].masked_fill(~columns, -torch.inf).amax(4)


def find_windows(x: Tensor, output_size: object) -> tuple[Tensor, Tensor]:
    """Return the masks (h, H) and (w, W) of the rows and columns of an image in the window of each output.

    Args:
        x: image (B, C, H, W).
        output_size: (h, w), or a number for both.
    """
    sizes = output_size if isinstance(output_size, tuple) else (output_size, output_size)
    windows = []
    for pixels, size in zip(x.shape[2:], sizes, strict=True):
        pixel = torch.arange(pixels, device=x.device)
        output = torch.arange(size, device=x.device)[:, None]
        windows.append((pixel >= output * pixels // size) & (pixel < ((output + 1) * pixels + size - 1) // size))
    return windows[0], windows[1]
