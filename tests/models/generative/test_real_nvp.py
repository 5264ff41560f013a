"""RealNVP: invertibility, Jacobian determinant, normalized density."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from trainer.models.generative.real_nvp import RealNVP


def make_flow(features: int = 5, blocks: int = 3, classes: int | None = None) -> RealNVP:
    """Build a flow far from its initial identity."""
    torch.manual_seed(3)
    model = RealNVP(flat_features=features, blocks=blocks, hidden=[16], max_log_scale=1.0, num_classes=classes)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.2 * torch.randn_like(value))
    return model


@pytest.mark.parametrize(("features", "blocks"), [(2, 3), (5, 3), (1, 0)])
def test_generate_inverts_encode(features: int, blocks: int) -> None:
    model, x = make_flow(features, blocks), torch.randn(200, features)
    z, _ = model.encode(x)
    assert (z - x).abs().max() > 0.1
    torch.testing.assert_close(model.generate(z), x, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model.encode(model.generate(x))[0], x, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("classes", [None, 3])
def test_log_volume_matches_jacobian_determinant(classes: int | None) -> None:
    model, x = make_flow(classes=classes).double(), torch.randn(6, 5, dtype=torch.double)
    label = None if classes is None else torch.arange(6) % 3

    def encode_row(row: Tensor, index: int) -> Tensor:
        return model.encode(row[None], None if label is None else label[index : index + 1])[0][0]

    for index, row in enumerate(x):
        jacobian = torch.autograd.functional.jacobian(lambda point, index=index: encode_row(point, index), row)
        _, log_volume = model.encode(row[None], None if label is None else label[index : index + 1])
        torch.testing.assert_close(log_volume[0], jacobian.slogdet().logabsdet, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("classes", [None, 2])
def test_density_integrates_to_one(classes: int | None) -> None:
    model = make_flow(features=2, blocks=2, classes=classes)
    side = torch.linspace(-15, 15, 301)
    grid = torch.cartesian_prod(side, side)
    area = float(side[1] - side[0]) ** 2
    for label in [None] if classes is None else [0, 1]:
        labels = None if label is None else torch.full((len(grid),), label)
        with torch.no_grad():
            total = model(grid, labels).double().exp().sum() * area
        assert float(total) == pytest.approx(1, abs=1e-3)


def test_conditional_density_depends_on_required_label() -> None:
    model, x = make_flow(classes=3), torch.randn(4, 5)
    first, second = (model(x, torch.full((4,), label)) for label in (0, 2))
    assert (first - second).abs().min() > 1e-3
    with pytest.raises(AssertionError, match="a class-conditional model needs labels"):
        model(x)


def test_block_changes_every_feature_and_permutations_differ() -> None:
    model = RealNVP(flat_features=9, blocks=1, hidden=[8], max_log_scale=1.0, num_classes=None)
    x = torch.randn(50, 9)
    torch.testing.assert_close(model(x), RealNVP(9, 0, [8], 1.0, None)(x))  # a block starts as the identity
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.5 * torch.randn_like(value))
    z = model.encode(x)[0][:, model.permutations[0].argsort()]
    assert ((z - (x * model.log_scale.exp() + model.shift)).abs().max(0).values > 1e-3).all()
    permutations = RealNVP(flat_features=9, blocks=6, hidden=[8], max_log_scale=1.0, num_classes=None).permutations
    assert torch.equal(permutations.sort(1).values, torch.arange(9).expand(6, 9))
    assert len({frozenset(order[:5].tolist()) for order in permutations}) > 3


def test_single_feature_raises() -> None:
    with pytest.raises(ValueError, match="needs at least 2 features; the data has 1"):
        RealNVP(flat_features=1, blocks=2, hidden=[8], max_log_scale=1.0, num_classes=None)
