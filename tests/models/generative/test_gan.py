"""Generators and critics: parameter counts, image sizes, class conditioning, spectral norm, styles."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.helpers.lab import configure
from trainer.engine import factory
from trainer.models.generative.gan import DCGAN, GAN, StyleGAN
from trainer.models.layers.generative.gan import Critic
from trainer.models.layers.generative.stylegan import ModulatedConv, ResidualDownsample, StyledLayer

SIZES = ((1, 28, 28), (1, 8, 8), (3, 5, 7), (2, 9, 4))
CONVOLUTIONAL = ("dcgan", "style_gan")


def make_model(
    kind: str, shape: tuple[int, int, int] = (1, 8, 8), classes: int | None = None, spectral: bool = False
) -> Any:
    sizes: dict[str, Any] = dict(zip(("in_channels", "height", "width"), shape, strict=True)) | {"latent": 6}
    common: dict[str, Any] = {"num_classes": classes, "embed_size": 3, "spectral_norm": spectral}
    if kind == "dcgan":
        return DCGAN(**sizes, **common, widths=[4, 8], norm="group", output_activation="tanh")
    if kind == "style_gan":
        return StyleGAN(**sizes, **common, mapping=[5, 5], widths=[4, 6, 8], critic_hidden=7)
    return GAN(64, latent=6, **common, generator_hidden=[8], critic_hidden=[9, 7], output_activation="none")


def build(*overrides: str) -> Any:
    """Build the model of a command line without its data."""
    return factory.instantiate_node(configure(*overrides)["model"], nn.Module)


def count_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


COUNTS = {
    "fully connected, 3x28x28": (
        ("model=gan", "model.flat_features=2352", "model.generator_hidden=[256,512]", "model.critic_hidden=[512,256]"),
        (1_364_016, 1_336_321),
    ),
    "small": (
        ("model=gan", "model.flat_features=784", "model.generator_hidden=[128]", "model.critic_hidden=[128]"),
        (114_064, 100_609),
    ),
    "conditional": (
        ("model=cgan", "model.flat_features=784", "model.generator_hidden=[256]", "model.num_classes=10"),
        (230_004, None),
    ),
}


@pytest.mark.parametrize("case", COUNTS)
def test_parameter_counts_match_references(case: str) -> None:
    overrides, (generator, critic) = COUNTS[case]
    model = build(*overrides, "model.latent=100", "model.output_activation=tanh", "model.embed_size=10")
    assert count_parameters(model.generator) == generator
    assert critic is None or count_parameters(model.critic) == critic


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("kind", CONVOLUTIONAL)
def test_images_of_any_size_are_generated_and_scored(kind: str, shape: tuple[int, int, int]) -> None:
    model = make_model(kind, shape)
    images = model.generate(torch.randn(3, 6))
    assert images.shape == (3, *shape)
    scores = model(images)
    assert scores.shape == (3,)
    torch.testing.assert_close(scores, model.critic.head(model.features(images))[:, 0])
    # Rows do not depend on the rest of the batch.
    torch.testing.assert_close(scores[:1], model(images[:1]))


def test_image_too_small_for_critic_raises() -> None:
    with pytest.raises(ValueError, match=r"one entry per halving of the image; 2 given for 3 x 9"):
        make_model("dcgan", (1, 3, 9))


@pytest.mark.parametrize("kind", ["gan", *CONVOLUTIONAL])
def test_generator_depends_on_class_and_noise_and_critic_on_class(kind: str) -> None:
    model = make_model(kind, classes=3)
    noise, label = torch.randn(4, 6), torch.tensor([0, 1, 2, 0])
    torch.manual_seed(1)
    rows = model.generate(noise, label)
    for other in (model.generate(noise, (label + 1) % 3), model.generate(torch.randn(4, 6), label)):
        assert ((rows - other).flatten(1).abs().amax(1) > 1e-4).all()
    scores = torch.stack([model(rows, torch.full((4,), k)) for k in range(3)])
    assert (scores.std(0) > 1e-4).all()
    # The projection of Miyato and Koyama: the class term is linear in the hidden layer, and absent without a label.
    added = model.features(rows) @ model.critic.class_embedding.weight.t()
    torch.testing.assert_close(scores - model(rows), added.t())


@pytest.mark.parametrize("kind", ["gan", *CONVOLUTIONAL])
def test_spectral_norm_bounds_singular_values_of_every_layer(kind: str) -> None:
    model = make_model(kind, classes=3, spectral=True)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(7)
    x = torch.randn(3, 1, 8, 8)
    for _ in range(80):  # the power method takes a step in each forward of training
        model(x, torch.arange(3))
    layers = [part for part in model.critic.modules() if isinstance(part, nn.Linear | nn.Conv2d | nn.Embedding)]
    assert len(layers) == sum(p.dim() > 1 for p in model.critic.parameters())
    for part in layers:
        assert torch.linalg.matrix_norm(part.weight.flatten(1), 2).item() == pytest.approx(1, abs=1e-2)
    if kind == "gan":
        # Leaky ReLU and layers of norm 1 make the critic 1-Lipschitz.
        a, b = torch.randn(2, 200, 1, 8, 8)
        assert ((model(a) - model(b)).abs() <= 1.01 * (a - b).flatten(1).norm(dim=1)).all()


def test_deepcopy_of_spectral_norm_critic_is_independent() -> None:
    model = make_model("gan", spectral=True)
    x = torch.randn(4, 64)
    clone = copy.deepcopy(model)
    torch.testing.assert_close(clone(x), model(x), rtol=0, atol=0)
    clone.load_state_dict(make_model("gan", spectral=True).state_dict())
    assert not torch.allclose(clone.eval()(x), model.eval()(x))


def test_modulated_conv_matches_per_row_kernels() -> None:
    layer = ModulatedConv(3, 5, 3, style=4, demodulate=True)
    x, style = torch.randn(2, 3, 6, 7), torch.randn(2, 4)
    expected = []
    for row, scale in zip(x, layer.affine(style), strict=True):
        kernel = layer.weight * scale[None, :, None, None]
        kernel = kernel / kernel.square().sum((1, 2, 3), keepdim=True).sqrt()
        expected.append(F.conv2d(row[None], kernel, padding=1))
    torch.testing.assert_close(layer(x, style), torch.cat(expected), rtol=1e-4, atol=1e-5)


def test_demodulation_keeps_unit_scale_for_any_style() -> None:
    x, style = torch.randn(64, 8, 16, 16), torch.randn(64, 4)

    def output_std(demodulate: bool, strength: float) -> float:
        torch.manual_seed(0)
        return ModulatedConv(8, 8, 3, 4, demodulate)(x, strength * style)[..., 1:-1, 1:-1].std().item()

    assert output_std(True, 50.0) == pytest.approx(1, abs=0.05)
    assert output_std(False, 50.0) > 10


def test_styled_layer_noise_has_learned_scale() -> None:
    layer = StyledLayer(3, 4, style=2)
    x, style = torch.randn(2, 3, 5, 5), torch.randn(2, 2)
    assert torch.equal(layer(x, style), layer(x, style))
    layer(x, style).square().sum().backward()
    assert layer.noise_scale.grad is not None
    assert layer.noise_scale.grad.abs() > 0
    nn.init.ones_(layer.noise_scale)
    assert not torch.equal(layer(x, style), layer(x, style))


def test_style_generator_depends_on_noise_only_through_style() -> None:
    model = make_model("style_gan", (1, 7, 9))
    net = model.generator.net
    assert net.constant.shape == (8, 2, 3)
    z = torch.randn(3, 6)
    # The noise is normalized before the mapping network: its length has no effect.
    torch.testing.assert_close(model.generate(z), model.generate(5 * z), rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        for part in net.modules():
            if isinstance(part, ModulatedConv):
                part.affine.weight.zero_()
    torch.testing.assert_close(model.generate(z), model.generate(torch.randn(3, 6)))


def test_residual_downsample_rounds_size_up() -> None:
    assert ResidualDownsample(2, 3)(torch.randn(1, 2, 7, 4)).shape == (1, 3, 4, 2)


@pytest.mark.parametrize(("activation", "low"), [("tanh", -1.0), ("sigmoid", 0.0)])
def test_output_activation_bounds_samples(activation: Any, low: float) -> None:
    model = GAN(2, None, 3, 3, [8], [8], activation, spectral_norm=False)
    with torch.no_grad():
        model.generator.net[-2].weight.mul_(100)  # type: ignore[index, union-attr, operator]
    rows = model.generate(torch.randn(200, 3))
    assert low <= rows.min() < low + 0.01
    assert 0.99 < rows.max() <= 1


def test_unconditional_critic_ignores_labels() -> None:
    critic = Critic(nn.Identity(), 3, None, spectral=False)
    x: Tensor = torch.randn(5, 3)
    torch.testing.assert_close(critic(x, torch.zeros(5, dtype=torch.long)), critic.head(x)[:, 0])
