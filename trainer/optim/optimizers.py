"""Optimizers over one flat vector, by torch's fused kernels.

``torch.optim`` is not used: its first call imports the compiler, as slow as importing torch itself, and its loop over
parameters costs more than the update of a small network. The kernels and so the numbers are the same. Every optimizer
of ``torch.optim`` can be chosen beside these; see ``torch_optimizers``.

Each optimizer takes the learning rate of the step it is asked for; a schedule is not its business. ``found_inf``, a
float scalar on the device, makes a step a no-op where it is 1, without asking the host.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from trainer.core.types import Decay, NonNegativeFloat, PositiveFloat
from trainer.optim.flat_params import FlatParameters
from trainer.optim.fused_kernels import Kernel, make_adam_kernel, make_sgd_kernel, restore_if_nonfinite


@dataclass(frozen=True)
class UpdateSlice:
    """A part of the vector that is updated by one call: its weight decay, and what its rate is multiplied by."""

    part: slice
    weight_decay: float
    lr_scale: float


class Optimizer(ABC):
    """Updates a flat vector in place.

    ``state_names`` names the running averages, one vector each; ``has_momentum`` says whether a schedule may set one.

    lr: the learning rate a schedule starts from.
    weight_decay: how strongly weights are pulled to zero.
    decay_norm_and_bias: whether biases and the gains of norms are pulled too.
    """

    state_names: ClassVar[tuple[str, ...]] = ()
    has_momentum: bool = True

    def __init__(self, params: FlatParameters, lr: float, weight_decay: float, decay_norm_and_bias: bool):
        self.params = params
        self.lr = lr
        self.steps = torch.zeros((), dtype=torch.float32, device=params.data.device)
        self.update_slices = make_update_slices(params, weight_decay, decay_norm_and_bias)
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
        """The number of updates, and each running average by the names of the parameters."""
        return {
            "steps": self.steps,
            "averages": {name: self.params.split_by_name(average) for name, average in self.averages.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps.copy_(state["steps"])
        for name, average in self.averages.items():
            for key, view in self.params.split_by_name(average).items():
                view.copy_(state["averages"][name][key])

    def example_state_dict(self) -> dict[str, Any]:
        """A state with the keys, shapes and types of one after some steps."""
        return self.state_dict()


def make_update_slices(params: FlatParameters, weight_decay: float, decay_norm_and_bias: bool) -> list[UpdateSlice]:
    """The vector cut where weight decay or rate change; neighbors that are updated alike stay one slice."""
    slices: list[UpdateSlice] = []
    for segment in params.segments:
        default_decay = weight_decay if segment.is_decayed or decay_norm_and_bias else 0.0
        options = segment.options
        new_slice = UpdateSlice(
            params.get_slice(segment.indices), options.get("weight_decay", default_decay), options.get("lr_scale", 1.0)
        )
        last_slice = slices[-1] if slices else None
        if last_slice and last_slice == replace(new_slice, part=last_slice.part):
            slices[-1] = replace(new_slice, part=slice(last_slice.part.start, new_slice.part.stop))
        else:
            slices.append(new_slice)
    return slices


class _FusedOptimizer(Optimizer):
    """One whose update of a slice is a kernel of ``fused_kernels``."""

    _kernels: list[tuple[Kernel, float]]

    def _make_kernels(self) -> list[tuple[Kernel, float]]:
        """A kernel for each slice, with what its rate is multiplied by."""
        return [
            (self._make_kernel(self.params.data[s.part], self.params.grad[s.part], s), s.lr_scale)
            for s in self.update_slices
        ]

    @abstractmethod
    def _make_kernel(self, data: Tensor, grad: Tensor, update_slice: UpdateSlice) -> Kernel:
        """The kernel that updates one slice, given as views of the vector and of its gradient."""

    def step(self, lr: float, momentum: float | None = None, found_inf: Tensor | None = None) -> None:
        self.steps += 1
        for update, lr_scale in self._kernels:
            update(lr * lr_scale, momentum, found_inf)
        if found_inf is not None:
            self.steps -= found_inf


class _AdamBase(_FusedOptimizer):
    """Adam and AdamW: they differ in how weight decay is applied alone."""

    state_names = ("mean", "square")
    _is_decoupled: ClassVar[bool]

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
        self._kernels = self._make_kernels()

    def _make_kernel(self, data: Tensor, grad: Tensor, update_slice: UpdateSlice) -> Kernel:
        return make_adam_kernel(
            data,
            grad,
            (self.averages["mean"][update_slice.part], self.averages["square"][update_slice.part]),
            self.steps,
            betas=self.betas,
            eps=self.eps,
            weight_decay=update_slice.weight_decay,
            is_decoupled=self._is_decoupled,
        )


class Adam(_AdamBase):
    """Adam (Kingma and Ba 2015); weight decay, if any, is added to the gradient."""

    _is_decoupled = False


class AdamW(_AdamBase):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

    _is_decoupled = True

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


class SGD(_FusedOptimizer):
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
        self._kernels = self._make_kernels()

    def _make_kernel(self, data: Tensor, grad: Tensor, update_slice: UpdateSlice) -> Kernel:
        return make_sgd_kernel(
            data,
            grad,
            self.averages["velocity"][update_slice.part],
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=update_slice.weight_decay,
        )


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
        tensors = [self.steps, self.params.data, *self.averages.values()]
        saved = None if found_inf is None else [value.clone() for value in tensors]
        self.steps += 1
        for update_slice in self.update_slices:
            part, decay = update_slice.part, update_slice.weight_decay
            data, grad = self.params.data[part], self.params.grad[part]
            grad = grad.add(data, alpha=decay) if decay else grad
            square = self.averages["square"][part].mul_(self.alpha).addcmul_(grad, grad, value=1 - self.alpha)
            update = grad / square.sqrt().add_(self.eps)
            if momentum:
                update = self.averages["velocity"][part].mul_(momentum).add_(update)
            data.sub_(update, alpha=lr * update_slice.lr_scale)
        # No fused kernel that looks at the flag: the step is taken, and taken back.
        restore_if_nonfinite(found_inf, tensors, saved)
