"""Diagram of average ranks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainer.viz.rank_plot import draw_ranks


@pytest.mark.slow
@pytest.mark.parametrize("settings", [2, 3, 25])
def test_every_setting_has_a_line_within_the_picture(settings: int, tmp_path: Path) -> None:
    ranks = [1 + index * 0.9 for index in range(settings)]
    labels = [f"model.hidden=[{index}] $x_1$ a_long_key_of_a_setting={index}" for index in range(settings)]
    groups = [tuple(range(settings))]
    draw_ranks(labels, ranks, 1.2, groups, "Average rank over 6 data sets", tmp_path / "a.png")
    draw_ranks(labels, ranks, 1.2, [], "Average rank over 6 data sets", tmp_path / "b.png")
    with Image.open(tmp_path / "a.png") as image, Image.open(tmp_path / "b.png") as without:
        pixels = np.asarray(image.convert("RGB")).astype(int)
        plain = np.asarray(without.convert("RGB")).astype(int)
    is_blue = (pixels[..., 2] - pixels[..., 0]) > 100
    assert is_blue.any(), "the bar of the group"
    assert not ((plain[..., 2] - plain[..., 0]) > 100).any()
    border = np.concatenate((pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]))
    assert (border == 255).all(), "nothing is cut off"
