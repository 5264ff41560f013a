"""VQ-VAE models: number and layout of codes."""

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
    model = ConvVQVAE(*size, widths=[4, 6], **CODES).eval()  # type: ignore[arg-type]
    x = torch.rand(2, *size)
    assert model.grid == grid
    assert model.quantize(model.encode(x))[1].shape == (2, grid[0] * grid[1])
    assert model(x).shape == model.generate(2).shape == x.shape


def test_code_grid_follows_image_layout() -> None:
    model = ConvVQVAE(1, 16, 16, widths=[4, 6], **CODES)  # type: ignore[arg-type]
    x = torch.rand(1, 1, 16, 16)
    other = x.clone()
    other[:, :, 13:, 14:] = 9
    changed = (model.encode(x) != model.encode(other)).any(2).view(4, 4)
    assert changed[3, 3]
    assert not changed[:2, :2].any()


def test_number_of_codes_per_point_is_groups() -> None:
    model = VQVAE(flat_features=6, hidden=[8], groups=4, **CODES).eval()  # type: ignore[arg-type]
    x = torch.rand(3, 2, 3)
    z = model.encode(x)
    assert z.shape == (3, 4, 3)
    assert model.code_scores(model.quantize(z)[1]).shape == (3, 4, 5)
    assert model(x).shape == x.shape
    assert model.generate(3).shape == (3, 6)


def test_empty_widths_raise() -> None:
    with pytest.raises(ValueError, match="widths needs at least one entry"):
        ConvVQVAE(1, 8, 8, widths=[], **CODES)  # type: ignore[arg-type]
