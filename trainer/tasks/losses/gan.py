"""What a critic and a generator minimise, and what keeps the slope of a critic small."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

CriticFunction = Callable[[Tensor], Tensor]
"""x (B, ...) -> (B)"""


class GANLoss(NamedTuple):
    """The losses of both players, given the critic's numbers for real and for generated rows, (B) each.

    critic: of real rows, generated rows, and what a real row should be told to be.
    generator: of generated rows.
    smooths: whether the critic has a target that can be smoothed.
    penalty, clip: the usual weight of the gradient penalty, and bound on the critic's weights, where there is one.
    """

    critic: Callable[[Tensor, Tensor, float], Tensor]
    generator: Callable[[Tensor], Tensor]
    supports_smoothing: bool = False
    penalty: float = 0.0
    clip: float | None = None


def _logistic(real: Tensor, fake: Tensor, target: float) -> Tensor:
    """Cross-entropy, with the share ``1 - target`` of each real row called generated (Salimans et al. 2016)."""
    return (target * F.softplus(-real) + (1 - target) * F.softplus(real)).mean() + F.softplus(fake).mean()


def _least_squares(real: Tensor, fake: Tensor, target: float) -> Tensor:
    return ((real - target).square().mean() + fake.square().mean()) / 2


def _hinge(real: Tensor, fake: Tensor, _: float) -> Tensor:
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def _wasserstein(real: Tensor, fake: Tensor, _: float) -> Tensor:
    return fake.mean() - real.mean()


def _negate_mean(fake: Tensor) -> Tensor:
    return -fake.mean()


GAN_LOSSES = {
    "bce": GANLoss(_logistic, lambda fake: F.softplus(-fake).mean(), supports_smoothing=True),
    "lsgan": GANLoss(_least_squares, lambda fake: (fake - 1).square().mean() / 2, supports_smoothing=True),
    "hinge": GANLoss(_hinge, _negate_mean),
    "wgan": GANLoss(_wasserstein, _negate_mean, clip=0.01),
    "wgan_gp": GANLoss(_wasserstein, _negate_mean, penalty=10.0),
}


def input_gradient(critic: CriticFunction, x: Tensor) -> Tensor:
    """The gradient of the critic at each of x (B, ...), itself differentiable in the critic's parameters."""
    if torch.compiler.is_compiling():
        # The compiler follows this form and not autograd.grad, which is quicker and does not import the compiler.
        return torch.func.grad(lambda rows: critic(rows).sum())(x)
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        (found,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return found


def gradient_penalty(critic: CriticFunction, real: Tensor, fake: Tensor) -> Tensor:
    """``E (|grad f| - 1)^2`` at a random place between each real and generated row (Gulrajani et al. 2017)."""
    place = torch.rand(len(real), *[1] * (real.dim() - 1), device=real.device)
    steepness = torch.linalg.vector_norm(input_gradient(critic, torch.lerp(fake, real, place)).flatten(1), dim=1)
    return (steepness - 1).square().mean()


def r1_penalty(critic: CriticFunction, real: Tensor) -> Tensor:
    """``E |grad f|^2 / 2`` at real rows (Mescheder et al. 2018)."""
    return input_gradient(critic, real).flatten(1).square().sum(1).mean() / 2


def clip_weights(module: nn.Module, limit: float) -> None:
    """Keeps every weight of a module in [-limit, limit] from here on, whatever an optimizer makes of it."""
    for part in list(module.modules()):
        for name in list(dict(part.named_parameters(recurse=False))):
            parametrize.register_parametrization(part, name, _WeightClipping(limit))


class _WeightClipping(nn.Module):
    """A weight cut to [-limit, limit]. The optimizer moves the one before the cut, by ``_ProjectedClamp``'s
    gradient."""

    def __init__(self, limit: float):
        super().__init__()
        self.limit = limit

    def forward(self, weight: Tensor) -> Tensor:
        clipped: Tensor = _ProjectedClamp.apply(weight, self.limit)
        return clipped

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight.clamp(-self.limit, self.limit)


class _ProjectedClamp(torch.autograd.Function):
    """A cut whose gradient keeps what leads back inside and drops what would lead a weight beyond the bound further.

    So the weight before the cut stays within a step or so of the bound, and the paper's clipping after each step
    (Arjovsky et al. 2017) is followed to within that step by a loss that changes nothing.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, limit: float) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.limit = limit
        return weight.clamp(-limit, limit)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (weight,) = ctx.saved_tensors
        outward = (weight.abs() >= ctx.limit) & (weight * grad < 0)
        return grad.masked_fill(outward, 0.0), None
