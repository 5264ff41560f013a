from __future__ import annotations

import pytest
import torch
from torch import nn

from trainer.models.layers.conv.adaptive_pool import AdaptiveAvgPool, AdaptiveMaxPool, find_windows


def test_windows_cover_every_pixel_and_overlap_where_sizes_do_not_divide() -> None:
    rows, columns = find_windows(torch.zeros(1, 1, 7, 4), (3, 2))
    assert rows.int().tolist() == [[1, 1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1, 1]]
    assert columns.int().tolist() == [[1, 1, 0, 0], [0, 0, 1, 1]]


@pytest.mark.parametrize("pool", [AdaptiveAvgPool((3, 2)), AdaptiveMaxPool(3)])
def test_exported_pool_equals_torch_at_every_size(pool: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [torch.randn(2, 3, height, width) for height, width in ((3, 3), (7, 4), (5, 11), (2, 6))]
    expected = [pool(image) for image in images]
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    for image, output in zip(images, expected, strict=True):
        torch.testing.assert_close(pool(image), output)
