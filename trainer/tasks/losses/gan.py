"""GAN losses, gradient penalties and weight clipping."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

CriticFunction = Callable[[Tensor], Tensor]
"""Function from x (B, ...) to logits (B,)."""


class GANLoss(NamedTuple):
    """Losses of critic and generator.

    Attributes:
        critic: Loss of the critic, from its logits (B,) of real rows, its logits (B,) of generated rows, and the target
            of real rows.
        generator: Loss of the generator, from the logits (B,) of generated rows.
        supports_smoothing: Whether the critic has a target, for one-sided label smoothing.
        penalty: Default weight of the gradient penalty.
        clip: Default bound of the critic's weights; None if they are not clipped.
    """

    critic: Callable[[Tensor, Tensor, float], Tensor]
    generator: Callable[[Tensor], Tensor]
    supports_smoothing: bool = False
    penalty: float = 0.0
    clip: float | None = None


def _logistic(real: Tensor, fake: Tensor, target: float) -> Tensor:
    """Return the binary cross-entropy of real rows with ``target`` and of generated rows with 0.

    References:
        Goodfellow et al., Generative Adversarial Nets, NeurIPS 2014, eq. 1.
        Salimans et al., Improved Techniques for Training GANs, NeurIPS 2016, section 3.4 (one-sided label smoothing).
    """
    return (target * F.softplus(-real) + (1 - target) * F.softplus(real)).mean() + F.softplus(fake).mean()


def _least_squares(real: Tensor, fake: Tensor, target: float) -> Tensor:
    """Return ``E (real - target)^2 / 2 + E fake^2 / 2``.

    References:
        Mao et al., Least Squares Generative Adversarial Networks, ICCV 2017, eq. 2 (with a = 0, b = c = 1).
    """
    return ((real - target).square().mean() + fake.square().mean()) / 2


def _hinge(real: Tensor, fake: Tensor, _: float) -> Tensor:
    """Return ``E max(0, 1 - real) + E max(0, 1 + fake)``.

    References:
        Lim and Ye, Geometric GAN, 2017.
        Miyato et al., Spectral Normalization for Generative Adversarial Networks, ICLR 2018, eq. 16.
    """
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def _wasserstein(real: Tensor, fake: Tensor, _: float) -> Tensor:
    """Return ``E fake - E real``, an estimate of the negative Wasserstein-1 distance if the critic is 1-Lipschitz.

    References:
        Arjovsky et al., Wasserstein GAN, ICML 2017, eq. 2.
    """
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
"""Losses by name. The generator loss of ``bce`` is the non-saturating one."""


def input_gradient(critic: CriticFunction, x: Tensor) -> Tensor:
    """Return the gradient (B, ...) of the critic with respect to its input, differentiable in its parameters.

    Args:
        critic: Critic whose logits do not depend on other rows of the batch.
        x: Inputs (B, ...).
    """
    if torch.compiler.is_compiling():
        # torch.compile cannot trace autograd.grad, which is faster in eager mode and does not import the compiler.
        return torch.func.grad(lambda rows: critic(rows).sum())(x)
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return gradient


def gradient_penalty(critic: CriticFunction, real: Tensor, fake: Tensor) -> Tensor:
    """Return the gradient penalty ``E (|grad f(x)| - 1)^2``, x being random interpolates of real and generated rows.

    Args:
        critic: Critic f.
        real: Real rows (B, ...).
        fake: Generated rows (B, ...).

    References:
        Gulrajani et al., Improved Training of Wasserstein GANs, NeurIPS 2017, eq. 3.
    """
    t = torch.rand(len(real), *[1] * (real.dim() - 1), device=real.device)
    norm = torch.linalg.vector_norm(input_gradient(critic, torch.lerp(fake, real, t)).flatten(1), dim=1)
    return (norm - 1).square().mean()


def r1_penalty(critic: CriticFunction, real: Tensor) -> Tensor:
    """Return the R1 penalty ``E |grad f(x)|^2 / 2`` at real rows x.

    Args:
        critic: Critic f.
        real: Real rows (B, ...).

    References:
        Mescheder et al., Which Training Methods for GANs do actually Converge?, ICML 2018, eq. 9.
    """
    return input_gradient(critic, real).flatten(1).square().sum(1).mean() / 2


def clip_weights(module: nn.Module, bound: float) -> None:
    """Constrain all parameters of a module to [-bound, bound] by a parametrization.

    Args:
        module: Module whose parameters are replaced by parametrized ones.
        bound: Maximum absolute value of a parameter.
    """
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
    """Clamp whose gradient is zero where a step would move the weight further out of bounds.

    The unclamped weight therefore exceeds the bounds by at most about one step. This approximates the clipping after
    each step of Arjovsky et al. (2017) without modifying weights in place.
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
