"""Optimizers over one flat vector, by torch's fused kernels.

``torch.optim`` is not used: its first call imports the compiler, as slow as importing torch itself, and its loop over
parameters costs more than the update of a small network. The kernels and so the numbers are the same.

Each optimizer takes the learning rate of the step it is asked for; a schedule is not its business. ``found_inf``, a
float scalar on the device, makes a step a no-op where it is 1, without asking the host.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from trainer.core.types import Decay, NonNegativeFloat, PositiveFloat
from trainer.optim.flat_params import FlatParameters


class Optimizer(ABC):
    """Updates a flat vector in place.

    ``state_names`` names the running averages, one vector each.

    lr: the learning rate a schedule starts from.
    weight_decay: how strongly weights are pulled to zero.
    decay_norm_and_bias: whether biases and the gains of norms are pulled too.
    """

    state_names: ClassVar[tuple[str, ...]]

    def __init__(self, params: FlatParameters, lr: float, weight_decay: float, decay_norm_and_bias: bool):
        self.params = params
        self.lr = lr
        self.steps = torch.zeros((), dtype=torch.float32, device=params.data.device)
        whole = slice(0, len(params.data))
        kept, free = slice(0, params.num_decayed), slice(params.num_decayed, len(params.data))
        split = weight_decay and not decay_norm_and_bias
        parts = [(kept, weight_decay), (free, 0.0)] if split else [(whole, weight_decay)]
        self._decay_slices = [
            (params.data[s], params.grad[s], s, decay) for s, decay in parts if params.data[s].numel()
        ]

        self.averages = {name: torch.zeros_like(params.data) for name in self.state_names}

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """What torch's gradient scaler asks of an optimizer: something with a ``grad``."""
        vector = nn.Parameter(self.params.data)
        vector.grad = self.params.grad
        return [{"params": [vector]}]

    @abstractmethod
    def step(self, lr: float, momentum: float | None = None, found_inf: Tensor | None = None) -> None:
        """One update; ``momentum`` replaces the configured one where a schedule cycles it."""

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "averages": self.averages}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps.copy_(state["steps"])
        for name, average in self.averages.items():
            average.copy_(state["averages"][name])


class _Adaptive(Optimizer):
    """Adam and AdamW: they differ in the kernel alone."""

    state_names = ("mean", "square")
    _kernel: ClassVar[Callable[..., None]]

    def __init__(
        self,
        params: FlatParameters,
        lr: PositiveFloat = 0.001,
        betas: tuple[Decay, Decay] = (0.9, 0.999),
        eps: PositiveFloat = 1e-08,
        weight_decay: NonNegativeFloat = 0.0,
        decay_norm_and_bias: bool = True,
    ):
        super().__init__(params, lr, weight_decay, decay_norm_and_bias)
        self.betas = betas
        self.eps = eps

    def step(self, lr: float, momentum: float | None = None, found_inf: Tensor | None = None) -> None:
        self.steps += 1
        for data, grad, part, decay in self._decay_slices:
            self._kernel(
                [data],
                [grad],
                [self.averages["mean"][part]],
                [self.averages["square"][part]],
                [],
                [self.steps],
                lr=lr,
                beta1=self.betas[0] if momentum is None else momentum,
                beta2=self.betas[1],
                weight_decay=decay,
                eps=self.eps,
                amsgrad=False,
                maximize=False,
                found_inf=found_inf,
            )
        if found_inf is not None:
            self.steps -= found_inf


class Adam(_Adaptive):
    """Adam (Kingma and Ba 2015); weight decay, if any, is added to the gradient."""

    _kernel = staticmethod(torch._fused_adam_)


class AdamW(_Adaptive):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

    _kernel = staticmethod(torch._fused_adamw_)

    def __init__(
        self,
        params: FlatParameters,
        lr: PositiveFloat = 0.001,
        betas: tuple[Decay, Decay] = (0.9, 0.999),
        eps: PositiveFloat = 1e-08,
        weight_decay: NonNegativeFloat = 0.01,
        decay_norm_and_bias: bool = False,
    ):
        super().__init__(params, lr, betas, eps, weight_decay, decay_norm_and_bias)


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum (Polyak 1964) or Nesterov's (Sutskever et al. 2013)."""

    state_names = ("velocity",)

    def __init__(
        self,
        params: FlatParameters,
        lr: PositiveFloat = 0.1,
        momentum: Decay = 0.9,
        nesterov: bool = False,
        weight_decay: NonNegativeFloat = 0.0,
        decay_norm_and_bias: bool = True,
    ):
        super().__init__(params, lr, weight_decay, decay_norm_and_bias)
        self.momentum = momentum
        self.nesterov = nesterov

    def step(self, lr: float, momentum: float | None = None, found_inf: Tensor | None = None) -> None:
        momentum = self.momentum if momentum is None else momentum
        self.steps += 1
        for data, grad, part, decay in self._decay_slices:
            torch._fused_sgd_(
                [data],
                [grad],
                [self.averages["velocity"][part]] if momentum else [],
                lr=lr,
                momentum=momentum,
                dampening=0.0,
                weight_decay=decay,
                nesterov=self.nesterov and momentum > 0,
                maximize=False,
                is_first_step=False,
                found_inf=found_inf,
            )
        if found_inf is not None:
            self.steps -= found_inf


class RMSprop(Optimizer):
    """RMSprop (Tieleman and Hinton 2012): the gradient over the root of its running square."""

    state_names = ("square", "velocity")

    def __init__(
        self,
        params: FlatParameters,
        lr: PositiveFloat = 0.001,
        alpha: Decay = 0.99,
        momentum: Decay = 0.0,
        eps: PositiveFloat = 1e-08,
        weight_decay: NonNegativeFloat = 0.0,
        decay_norm_and_bias: bool = True,
    ):
        super().__init__(params, lr, weight_decay, decay_norm_and_bias)
        self.alpha = alpha
        self.momentum = momentum
        self.eps = eps

    def step(self, lr: float, momentum: float | None = None, found_inf: Tensor | None = None) -> None:
        momentum = self.momentum if momentum is None else momentum
        mine = (self.steps, self.params.data, *self.averages.values())
        before = [] if found_inf is None else [value.clone() for value in mine]
        self.steps += 1
        for data, grad, part, decay in self._decay_slices:
            pull = grad.add(data, alpha=decay) if decay else grad
            square = self.averages["square"][part].mul_(self.alpha).addcmul_(pull, pull, value=1 - self.alpha)
            update = pull / square.sqrt().add_(self.eps)
            if momentum:
                update = self.averages["velocity"][part].mul_(momentum).add_(update)
            data.sub_(update, alpha=lr)
        if found_inf is not None:
            # No fused kernel that looks at the flag: the step is taken, and taken back.
            for value, was in zip(mine, before, strict=True):
                value.copy_(torch.where(found_inf > 0, was, value))
