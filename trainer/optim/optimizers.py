"""Adam, AdamW, SGD and RMSprop over a flat vector, with the fused kernels of torch.

``torch.optim`` is not used, because its first step imports the compiler, which takes as long as importing torch, and
because its loop over parameters costs more than the update of a small network. The kernels and the results are the
same. All other optimizers of ``torch.optim`` are available, too; see ``torch_optimizers``.

The learning rate is an argument of ``step``, so that optimizers are independent of schedules. ``found_inf`` is a float
scalar on the device; if it is 1, the step is skipped without a synchronization.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from trainer.core.types import Decay, NonNegativeFloat, PositiveFloat
from trainer.optim.flat_params import FlatParameters, FlatVector, UpdateSlice, make_update_slices
from trainer.optim.fused_kernels import Kernel, make_adam_kernel, make_sgd_kernel, restore_if_nonfinite


class Optimizer(ABC):
    """Base class of optimizers that update a flat vector in place.

    ``state_names`` are the names of the running averages, one vector each; ``has_momentum`` is whether a schedule may
    set the momentum.

    Args:
        params: Parameters of the group.
        lr: Learning rate that a schedule starts from.
        weight_decay: Factor of the weight decay.
        decay_norm_and_bias: Whether weight decay also applies to biases and scales of normalization layers.
    """

    state_names: ClassVar[tuple[str, ...]] = ()
    has_momentum: bool = True
    _step_supports_amp_scaling = True
    """torch's gradient scaler then sets ``found_inf`` for a step, instead of reading it on the host in each step."""
    found_inf: Tensor | None = None
    is_elementwise: ClassVar[bool] = False
    """Whether the update of an element depends on no other one, so that parts of the vector can be updated alone."""

    def __init__(self, params: FlatVector, lr: float, weight_decay: float, decay_norm_and_bias: bool):
        self.params = params
        self.lr = lr
        self.steps = torch.zeros((), dtype=torch.float32, device=params.data.device)
        self.update_slices = make_update_slices(params, weight_decay, decay_norm_and_bias)
        self.averages = {name: torch.zeros_like(params.data) for name in self.state_names}

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Parameter groups as the gradient scaler of torch reads them: the vector with its gradient."""
        vector = nn.Parameter(self.params.data)
        vector.grad = self.params.grad
        return [{"params": [vector]}]

    @abstractmethod
    def step(self, lr: float, momentum: float | None = None, found_inf: Tensor | None = None) -> Tensor | None:
        """Update the parameters from their gradient.

        Args:
            lr: Learning rate of the step.
            momentum: Momentum of the step; None for the configured one.
            found_inf: Scalar on the device, 1 to skip the step; None to never skip it.

        Returns:
            ``found_inf``, also of the gradient scaler: a scalar that is 1 if the step was skipped; None if it was not.
        """

    def merge_found_inf(self, found_inf: Tensor | None) -> Tensor | None:
        """Return the scalar that skips a step if the caller or the gradient scaler has found a non-finite value.

        Args:
            found_inf: That of the caller; None if it has found none.
        """
        if found_inf is None or self.found_inf is None:
            return self.found_inf if found_inf is None else found_inf
        return torch.maximum(found_inf, self.found_inf)

    def state_dict(self) -> dict[str, Any]:
        """Return the number of updates, and the running averages by parameter name."""
        assert isinstance(self.params, FlatParameters), "a part of the vector has no parameter names"
        return {
            "steps": self.steps,
            "averages": {name: self.params.gather_by_name(average) for name, average in self.averages.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state."""
        assert isinstance(self.params, FlatParameters), "a part of the vector has no parameter names"
        self.steps.copy_(state["steps"])
        for name, average in self.averages.items():
            self.params.load_by_name(average, state["averages"][name])

    def example_state_dict(self, *, has_stepped: bool) -> dict[str, Any]:
        """Return a state with the keys, shapes and types of the state before or after the first step."""
        return self.state_dict()


class _FusedOptimizer(Optimizer):
    """Optimizer that updates each slice with a kernel of ``fused_kernels``."""

    is_elementwise = True
    _kernels: list[tuple[Kernel, float]]

    def _make_kernels(self) -> list[tuple[Kernel, float]]:
        """Make a kernel for each slice, with the factor of its learning rate."""
        return [
            (self._make_kernel(self.params.data[s.part], self.params.grad[s.part], s), s.lr_scale)
            for s in self.update_slices
        ]

    @abstractmethod
    def _make_kernel(self, data: Tensor, grad: Tensor, update_slice: UpdateSlice) -> Kernel:
        """Make the kernel of one slice, given views of the vector and of its gradient."""

    def step(self, lr: float, momentum: float | None = None, found_inf: Tensor | None = None) -> Tensor | None:
        found_inf = self.merge_found_inf(found_inf)
        self.steps += 1
        for update, lr_scale in self._kernels:
            update(lr * lr_scale, momentum, found_inf)
        if found_inf is not None:
            self.steps -= found_inf
        return found_inf


class _AdamBase(_FusedOptimizer):
    """Base class of Adam and AdamW, which differ only in their weight decay."""

    state_names = ("mean", "square")
    _is_decoupled: ClassVar[bool]

    def __init__(
        self,
        params: FlatVector,
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
    """Adam.

    Args:
        params: Parameters of the group.
        lr: Learning rate.
        betas: Decay rates of the first and second moments.
        eps: Added to the denominator for numerical stability.
        weight_decay: L2 penalty, which is added to the gradient.
        decay_norm_and_bias: Whether weight decay also applies to biases and scales of normalization layers.

    References:
        Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015.
    """

    _is_decoupled = False


class AdamW(_AdamBase):
    """Adam with decoupled weight decay.

    Args:
        params: Parameters of the group.
        lr: Learning rate.
        betas: Decay rates of the first and second moments.
        eps: Added to the denominator for numerical stability.
        weight_decay: Decoupled weight decay.
        decay_norm_and_bias: Whether weight decay also applies to biases and scales of normalization layers.

    References:
        Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019.
    """

    _is_decoupled = True

    def __init__(
        self,
        params: FlatVector,
        lr: PositiveFloat = 0.001,
        betas: tuple[Decay, Decay] = (0.9, 0.999),
        eps: PositiveFloat = 1e-08,
        weight_decay: NonNegativeFloat = 0.01,
        decay_norm_and_bias: bool = False,
    ):
        super().__init__(params, lr, betas, eps, weight_decay, decay_norm_and_bias)


class SGD(_FusedOptimizer):
    """Stochastic gradient descent with momentum.

    Args:
        params: Parameters of the group.
        lr: Learning rate.
        momentum: Momentum (Polyak 1964).
        nesterov: Whether to use Nesterov momentum (Sutskever et al. 2013).
        weight_decay: L2 penalty, which is added to the gradient.
        decay_norm_and_bias: Whether weight decay also applies to biases and scales of normalization layers.
    """

    state_names = ("velocity",)

    def __init__(
        self,
        params: FlatVector,
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
    """RMSprop: the gradient is divided by the root of the running mean of its square.

    Args:
        params: Parameters of the group.
        lr: Learning rate.
        alpha: Decay rate of the running mean.
        momentum: Momentum.
        eps: Added to the denominator for numerical stability.
        weight_decay: L2 penalty, which is added to the gradient.
        decay_norm_and_bias: Whether weight decay also applies to biases and scales of normalization layers.

    References:
        Tieleman and Hinton, "Lecture 6.5 - RMSprop", Coursera 2012.
    """

    state_names = ("square", "velocity")
    is_elementwise = True

    def __init__(
        self,
        params: FlatVector,
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

    def step(self, lr: float, momentum: float | None = None, found_inf: Tensor | None = None) -> Tensor | None:
        momentum, found_inf = self.momentum if momentum is None else momentum, self.merge_found_inf(found_inf)
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
        # There is no fused kernel with found_inf, so the step is undone.
        restore_if_nonfinite(found_inf, tensors, saved)
        return found_inf
