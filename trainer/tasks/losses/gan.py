"""GAN losses, gradient penalties and weight clipping."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

CriticFunction = Callable[[Tensor], Tensor]
"""Critic from x (B, ...) to logits (B)."""


class GANLoss(NamedTuple):
    """Losses of critic and generator.

    Attributes:
        critic: loss given logits of real rows (B), logits of generated rows (B), and the target of real rows.
        generator: loss given logits of generated rows (B).
        supports_smoothing: True if the critic has a target for one-sided label smoothing.
        penalty: default weight of the gradient penalty.
        clip: default bound of the critic's weights, if they are clipped.
    """

    critic: Callable[[Tensor, Tensor, float], Tensor]
    generator: Callable[[Tensor], Tensor]
    supports_smoothing: bool = False
    penalty: float = 0.0
    clip: float | None = None


def _logistic(real: Tensor, fake: Tensor, target: float) -> Tensor:
    """Binary cross-entropy with one-sided label smoothing ``1 - target`` (Salimans et al. 2016)."""
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
    """Return the gradient of the critic at each x (B, ...), differentiable in the critic's parameters."""
    if torch.compiler.is_compiling():
        # torch.compile cannot trace autograd.grad; eager mode prefers it, being faster and free of the compiler import.
        return torch.func.grad(lambda rows: critic(rows).sum())(x)
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return gradient


def gradient_penalty(critic: CriticFunction, real: Tensor, fake: Tensor) -> Tensor:
    """Compute the gradient penalty ``E (|grad f| - 1)^2`` at random interpolates of real and generated rows.

    References:
        Gulrajani et al. 2017, Improved Training of Wasserstein GANs
    """
    t = torch.rand(len(real), *[1] * (real.dim() - 1), device=real.device)
    norm = torch.linalg.vector_norm(input_gradient(critic, torch.lerp(fake, real, t)).flatten(1), dim=1)
    return (norm - 1).square().mean()


def r1_penalty(critic: CriticFunction, real: Tensor) -> Tensor:
    """Compute the R1 penalty ``E |grad f|^2 / 2`` at real rows.

    References:
        Mescheder et al. 2018, Which Training Methods for GANs do actually Converge?
    """
    return input_gradient(critic, real).flatten(1).square().sum(1).mean() / 2


def clip_weights(module: nn.Module, bound: float) -> None:
    """Constrain all weights of a module to [-bound, bound] by a parametrization."""
    for submodule in list(module.modules()):
        for name in list(dict(submodule.named_parameters(recurse=False))):
            parametrize.register_parametrization(submodule, name, _WeightClipping(bound))


class _WeightClipping(nn.Module):
    """Parametrization that clamps a weight to [-bound, bound].

    The optimizer updates the unclamped weight with the gradient of ``_ProjectedClamp``.
    """

    def __init__(self, bound: float):
        super().__init__()
        self.bound = bound

    def forward(self, weight: Tensor) -> Tensor:
        clipped: Tensor = _ProjectedClamp.apply(weight, self.bound)
        return clipped

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight.clamp(-self.bound, self.bound)


class _ProjectedClamp(torch.autograd.Function):
    """Clamp whose gradient is zero where a step would move the weight further outside the bounds.

    The unclamped weight therefore stays within about one step of the bounds, which matches the clipping after each step
    (Arjovsky et al. 2017) to within that step, without modifying weights in place.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bound: float) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.bound = bound
        return weight.clamp(-bound, bound)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (weight,) = ctx.saved_tensors
        outward = (weight.abs() >= ctx.bound) & (weight * grad < 0)
        return grad.masked_fill(outward, 0.0), None
