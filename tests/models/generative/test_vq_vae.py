"""Models that say a row in a few codes: how many, and where they stand."""

from __future__ import annotations

import pytest
import torch

from trainer.models.generative.vq_vae import VQVAE, ConvVQVAE

CODES = {
    "codes": 5,
    "code_width": 3,
    "decay": 0.99,
    "restarts": True,
    "prior_width": 8,
    "prior_layers": 2,
    "prior_dropout": 0.0,
    "num_classes": None,
}


@pytest.mark.parametrize(("size", "grid"), [((1, 8, 8), (2, 2)), ((3, 5, 7), (2, 2)), ((1, 1, 9), (1, 3))])
def test_images_of_any_size_have_a_grid_of_codes(size: tuple[int, int, int], grid: tuple[int, int]) -> None:
    made = ConvVQVAE(*size, widths=[4, 6], **CODES).eval()  # type: ignore[arg-type]
    x = torch.rand(2, *size)
    assert made.grid == grid
    assert made.quantize(made.encode(x))[1].shape == (2, grid[0] * grid[1])
    assert made(x).shape == made.generate(2).shape == x.shape


def test_a_code_stands_where_its_part_of_the_image_does() -> None:
    made = ConvVQVAE(1, 16, 16, widths=[4, 6], **CODES)  # type: ignore[arg-type]
    x = torch.rand(1, 1, 16, 16)
    other = x.clone()
    other[:, :, 13:, 14:] = 9
    changed = (made.encode(x) != made.encode(other)).any(2).view(4, 4)
    assert changed[3, 3]
    assert not changed[:2, :2].any()


def test_points_have_as_many_codes_as_groups() -> None:
    made = VQVAE(flat_features=6, hidden=[8], groups=4, **CODES).eval()  # type: ignore[arg-type]
    x = torch.rand(3, 2, 3)
    z = made.encode(x)
    assert z.shape == (3, 4, 3)
    assert made.code_scores(made.quantize(z)[1]).shape == (3, 4, 5)
    assert made(x).shape == x.shape
    assert made.generate(3).shape == (3, 6)


def test_images_need_a_width() -> None:
    with pytest.raises(ValueError, match="widths needs at least one entry"):
        ConvVQVAE(1, 8, 8, widths=[], **CODES)  # type: ignore[arg-type]
