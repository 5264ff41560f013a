"""Shapes for every size of picture, the widths of the paper, and who sees the label."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from trainer.models.generative.vae import VAE, ConvVAE


def conv(channels: int = 1, height: int = 8, width: int = 8, levels: int = 1, classes: int | None = None) -> ConvVAE:
    return ConvVAE(channels, height, width, [4, 6], 16, 3, levels, classes)


def test_widths_by_hand() -> None:
    model = VAE(flat_features=784, hidden=[512, 256], latent=20, levels=1, num_classes=None)
    assert sum(p.numel() for p in model.parameters()) == 1_082_680


def test_every_hidden_layer_is_followed_by_a_relu() -> None:
    model = VAE(flat_features=6, hidden=[5, 4], latent=2, levels=1, num_classes=None)
    for part in (model.encoder, model.decoder):
        assert [type(layer) for layer in part] == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 7, 10), (2, 1, 5)])
@pytest.mark.parametrize("levels", [1, 4])
def test_what_is_rebuilt_has_the_shape_of_the_image(shape: tuple[int, int, int], levels: int) -> None:
    x, more = torch.rand(2, *shape), () if levels == 1 else (levels,)
    for model in (VAE(x[0].numel(), [8], 2, levels, None), conv(*shape, levels=levels)):
        assert model(x).shape == (*x.shape, *more)
        assert model.decode(torch.randn(2, model.latent)).shape == (2, x[0].numel() * levels)


def test_what_is_decoded_for_a_pixel_lies_where_the_pixel_does() -> None:
    """Each level of each channel is made by a weight of its own; flat, they stand in the order of x, levels last."""
    model = conv(channels=3, height=7, width=5, levels=4)
    last = [layer for layer in model.upsample if isinstance(layer, nn.ConvTranspose2d)][-1]
    nn.init.zeros_(last.weight)
    assert last.bias is not None
    last.bias.data = torch.arange(12.0)
    found = model.decode(torch.randn(2, 3)).view(2, 3, 7, 5, 4)
    wanted = torch.arange(12.0).view(3, 4)[:, None, None].expand(2, 3, 7, 5, 4)
    assert torch.equal(found, wanted)


def test_a_pixel_of_x_moves_only_what_is_near_in_the_first_map_and_all_of_the_code() -> None:
    model = conv()
    x = torch.rand(1, 1, 8, 8, requires_grad=True)
    (slope,) = torch.autograd.grad(model.encode(x)[0].sum(), x)
    assert (slope != 0).float().mean() > 0.5


def conditional(kind: str) -> VAE | ConvVAE:
    return VAE(64, [16], 3, 1, num_classes=4) if kind == "dense" else conv(classes=4)


@pytest.mark.parametrize("kind", ["dense", "conv"])
@torch.no_grad()
def test_the_label_reaches_encoder_and_decoder_and_its_absence_is_a_class_of_its_own(kind: str) -> None:
    model, x, z = conditional(kind), torch.rand(5, 1, 8, 8), torch.randn(5, 3)

    def apart(found: list[Tensor]) -> bool:
        return all(not torch.allclose(a, b) for i, a in enumerate(found) for b in found[:i])

    labels = [None, *(torch.full((5,), k) for k in range(4))]
    assert apart([model.encode(x, label)[0] for label in labels])
    assert apart([model.decode(z, label) for label in labels])
    rows = torch.tensor([3, 0, 1, 2, 0])
    one_by_one = torch.cat([model.decode(z[i : i + 1], rows[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(model.decode(z, rows), one_by_one)


def test_a_model_without_classes_ignores_labels() -> None:
    model, x = conv(), torch.rand(2, 1, 8, 8)
    assert torch.equal(model(x), model(x, torch.tensor([0, 1])))
