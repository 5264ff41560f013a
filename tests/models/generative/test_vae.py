"""VAE and ConvVAE: shapes for every image size, layers, label conditioning."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from trainer.models.generative.vae import VAE, ConvVAE


def make_conv_vae(
    channels: int = 1, height: int = 8, width: int = 8, levels: int = 1, classes: int | None = None
) -> ConvVAE:
    return ConvVAE(channels, height, width, [4, 6], 16, 3, levels, classes)


def test_parameter_count() -> None:
    model = VAE(flat_features=784, hidden=[512, 256], latent=20, levels=1, num_classes=None)
    assert sum(p.numel() for p in model.parameters()) == 1_082_680


def test_every_hidden_layer_is_followed_by_relu() -> None:
    model = VAE(flat_features=6, hidden=[5, 4], latent=2, levels=1, num_classes=None)
    for part in (model.encoder, model.decoder):
        assert [type(layer) for layer in part] == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 7, 10), (2, 1, 5)])
@pytest.mark.parametrize("levels", [1, 4])
def test_reconstruction_has_image_shape(shape: tuple[int, int, int], levels: int) -> None:
    x, level_dims = torch.rand(2, *shape), () if levels == 1 else (levels,)
    for model in (VAE(x[0].numel(), [8], 2, levels, None), make_conv_vae(*shape, levels=levels)):
        assert model(x).shape == (*x.shape, *level_dims)
        assert model.decode(torch.randn(2, model.latent)).shape == (2, x[0].numel() * levels)


def test_decoded_levels_follow_pixel_order() -> None:
    """The output bias has one value per channel and level; flattened, the order is that of x with levels last."""
    model = make_conv_vae(channels=3, height=7, width=5, levels=4)
    last = [layer for layer in model.upsample if isinstance(layer, nn.ConvTranspose2d)][-1]
    nn.init.zeros_(last.weight)
    assert last.bias is not None
    last.bias.data = torch.arange(12.0)
    output = model.decode(torch.randn(2, 3)).view(2, 3, 7, 5, 4)
    expected = torch.arange(12.0).view(3, 4)[:, None, None].expand(2, 3, 7, 5, 4)
    assert torch.equal(output, expected)


def test_code_depends_on_most_pixels() -> None:
    model = make_conv_vae()
    x = torch.rand(1, 1, 8, 8, requires_grad=True)
    (grad,) = torch.autograd.grad(model.encode(x)[0].sum(), x)
    assert (grad != 0).float().mean() > 0.5


def make_conditional(kind: str) -> VAE | ConvVAE:
    return VAE(64, [16], 3, 1, num_classes=4) if kind == "dense" else make_conv_vae(classes=4)


@pytest.mark.parametrize("kind", ["dense", "conv"])
@torch.no_grad()
def test_encoder_and_decoder_depend_on_label(kind: str) -> None:
    model, x, z = make_conditional(kind), torch.rand(5, 1, 8, 8), torch.randn(5, 3)

    def all_differ(outputs: list[Tensor]) -> bool:
        return all(not torch.allclose(a, b) for i, a in enumerate(outputs) for b in outputs[:i])

    labels = [None, *(torch.full((5,), k) for k in range(4))]
    assert all_differ([model.encode(x, label)[0] for label in labels])
    assert all_differ([model.decode(z, label) for label in labels])
    rows = torch.tensor([3, 0, 1, 2, 0])
    per_row = torch.cat([model.decode(z[i : i + 1], rows[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(model.decode(z, rows), per_row)


def test_unconditional_model_ignores_labels() -> None:
    model, x = make_conv_vae(), torch.rand(2, 1, 8, 8)
    assert torch.equal(model(x), model(x, torch.tensor([0, 1])))
