"""Kernels that update a vector in one call: the fused kernels of torch if they exist, else ``torch.optim``.

The fused kernels are not a public API of torch, and only this file uses them. ``torch.optim`` is avoided where
possible, because its first step imports the compiler, which takes as long as importing torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

FUSED_KERNELS = {name: getattr(torch, f"_fused_{name}_", None) for name in ("adam", "adamw", "sgd")}
"""Fused kernels of the installed torch; None for missing ones."""
Kernel = Callable[..., None]
"""In-place update ``kernel(lr, momentum, found_inf)``, which is skipped if ``found_inf`` is 1."""


def make_adam_kernel(
    data: Tensor,
    grad: Tensor,
    averages: tuple[Tensor, Tensor],
    step: Tensor,
    *,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    is_decoupled: bool,
) -> Kernel:
    """Make the update of Adam, or with decoupled weight decay of AdamW, for a vector.

    Args:
        data: The vector ``(P,)``.
        grad: Its gradient ``(P,)``.
        averages: Running means of the gradient and of its square, ``(P,)`` each.
        step: Number of updates, which the caller increments before each call.
        betas: Decay rates of the running means.
        eps: Added to the denominator for numerical stability.
        weight_decay: Factor of the weight decay.
        is_decoupled: Whether weight decay is decoupled from the gradient (AdamW).
    """
    kernel = FUSED_KERNELS["adamw" if is_decoupled else "adam"]
    if kernel is None:
        optimizer_class = torch.optim.AdamW if is_decoupled else torch.optim.Adam
        optimizer = optimizer_class([_as_parameter(data, grad)], betas=betas, eps=eps, weight_decay=weight_decay)
        return _TorchOptimKernel(optimizer, {"exp_avg": averages[0], "exp_avg_sq": averages[1]}, step)

    def update(lr: float, momentum: float | None, found_inf: Tensor | None) -> None:
        kernel(
            [data],
            [grad],
            [averages[0]],
            [averages[1]],
            [],
            [step],
            lr=lr,
            beta1=betas[0] if momentum is None else momentum,
            beta2=betas[1],
            weight_decay=weight_decay,
            eps=eps,
            amsgrad=False,
            maximize=False,
            found_inf=found_inf,
        )

    return update


def make_sgd_kernel(
    data: Tensor, grad: Tensor, velocity: Tensor, *, momentum: float, nesterov: bool, weight_decay: float
) -> Kernel:
    """Make the update of SGD for a vector.

    Args:
        data: The vector ``(P,)``.
        grad: Its gradient ``(P,)``.
        velocity: Momentum buffer ``(P,)``.
        momentum: Momentum, unless a schedule sets another one.
        nesterov: Whether to use Nesterov momentum.
        weight_decay: Factor of the weight decay.
    """
    kernel, default_momentum = FUSED_KERNELS["sgd"], momentum
    if kernel is None:
        optimizer = torch.optim.SGD([_as_parameter(data, grad)], lr=0.1, momentum=momentum, weight_decay=weight_decay)
        optimizer.param_groups[0]["nesterov"] = nesterov
        return _TorchOptimKernel(optimizer, {"momentum_buffer": velocity})

    def update(lr: float, momentum: float | None, found_inf: Tensor | None) -> None:
        momentum = default_momentum if momentum is None else momentum
        kernel(
            [data],
            [grad],
            [velocity] if momentum else [],
            lr=lr,
            momentum=momentum,
            dampening=0.0,
            weight_decay=weight_decay,
            nesterov=nesterov and momentum > 0,
            maximize=False,
            is_first_step=False,
            found_inf=found_inf,
        )

    return update


def _as_parameter(data: Tensor, grad: Tensor) -> nn.Parameter:
    parameter = nn.Parameter(data)
    parameter.grad = grad
    return parameter


class _TorchOptimKernel:
    """The same update by an optimizer of ``torch.optim``, whose state are the given vectors."""

    def __init__(self, optimizer: torch.optim.Optimizer, averages: dict[str, Tensor], step: Tensor | None = None):
        self.optimizer = optimizer
        self.step_count = step
        self.group = optimizer.param_groups[0]
        self.default_momentum = self.group.get("momentum")
        (self.vector,) = self.group["params"]
        self.averages = averages

    def __call__(self, lr: float, momentum: float | None, found_inf: Tensor | None) -> None:
        self.group["lr"] = lr
        set_momentum(self.group, self.default_momentum if momentum is None else momentum)
        tensors = [self.vector.data, *self.averages.values()]
        saved = None if found_inf is None else [value.clone() for value in tensors]
        state: dict[str, Any] = dict(self.averages)
        if self.step_count is not None:
            state["step"] = self.step_count.detach().cpu() - 1
        if self.group.get("momentum") == 0:
            state = {}
        self.optimizer.state[self.vector] = state
        self.optimizer.step()
        restore_if_nonfinite(found_inf, tensors, saved)


def set_momentum(group: dict[str, Any], momentum: float | None) -> None:
    """Set the momentum of a parameter group of a ``torch.optim`` optimizer; for Adam, the first beta.

    Args:
        group: The parameter group.
        momentum: Momentum; None to keep the current one.
    """
    if momentum is not None and "betas" in group:
        group["betas"] = (momentum, group["betas"][1])
    elif momentum is not None:
        group["momentum"] = momentum


def restore_if_nonfinite(found_inf: Tensor | None, tensors: list[Tensor], saved: list[Tensor] | None) -> None:
    """Restore tensors if ``found_inf`` is 1, without synchronizing with the device.

    Args:
        found_inf: Scalar on the device; None to keep the tensors.
        tensors: Tensors that have been modified.
        saved: Their previous values.
    """
    if found_inf is not None and saved is not None:
        for value, saved_value in zip(tensors, saved, strict=True):
            value.copy_(torch.where(found_inf.to(value.device) > 0, saved_value, value))
