"""Muon for weight matrices, with AdamW for all other parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from trainer.core.types import Decay, NonNegativeFloat, PositiveFloat, PositiveInt
from trainer.optim.flat_params import FlatParameters
from trainer.optim.optimizers import Optimizer
from trainer.optim.param_patterns import find_matches
from trainer.optim.torch_optimizers import SegmentTensors, TorchOptimizer, parameter_groups


class Muon(TorchOptimizer):
    """Muon: momentum SGD whose updates are orthogonalized by a Newton-Schulz iteration.

    It updates weight matrices, and kernels of convolutions as matrices ``(out, in * k * k)``. Other parameters, such as
    biases, scales of normalization layers and embeddings, are updated by AdamW with the same learning rate and weight
    decay. The authors use AdamW for the last layer, too, which can be named in ``adamw``.

    Args:
        params: Parameters of the group.
        lr: Learning rate.
        momentum: Momentum.
        nesterov: Whether to use Nesterov momentum.
        ns_steps: Number of Newton-Schulz iterations.
        adjust_lr_fn: Scale of the updates: ``match_rms_adamw`` (Liu et al. 2025) makes them as large as those of AdamW.
        weight_decay: Decoupled weight decay.
        betas: Decay rates of AdamW.
        eps: Epsilon of AdamW.
        adamw: Patterns of names of further parameters for AdamW.

    Raises:
        ValueError: There are no weight matrices to train.

    References:
        Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024.
        Liu et al., "Muon is Scalable for LLM Training", 2025.
    """

    def __init__(
        self,
        params: FlatParameters,
        lr: PositiveFloat = 0.001,
        momentum: Decay = 0.95,
        nesterov: bool = True,
        ns_steps: PositiveInt = 5,
        adjust_lr_fn: Literal["match_rms_adamw", "original"] = "match_rms_adamw",
        weight_decay: NonNegativeFloat = 0.01,
        betas: tuple[Decay, Decay] = (0.9, 0.999),
        eps: PositiveFloat = 1e-08,
        adamw: Sequence[str] = (),
    ):
        Optimizer.__init__(self, params, lr, weight_decay, decay_norm_and_bias=True)
        self.optimizers, self.slots, self._has_stepped = [], [], False
        adamw_names = set(find_matches("optimizer.adamw", adamw, params.names, params.former_names))
        matrices = {
            index for index, name in enumerate(params.names) if params.matrices[index] and name not in adamw_names
        }
        if not matrices:
            raise ValueError("muon updates matrices, and there are none to train; choose another optimizer")
        options = {"momentum": momentum, "nesterov": nesterov, "ns_steps": ns_steps, "adjust_lr_fn": adjust_lr_fn}
        groups = [_flatten_kernels(group) for group in parameter_groups(params, matrices)]
        self._add(torch.optim.Muon, {"lr": lr, "weight_decay": weight_decay, **options}, groups)
        adamw_groups = parameter_groups(params, set(range(len(params.names))) - matrices)
        if adamw_groups:
            adamw_options = {"lr": lr, "weight_decay": weight_decay, "betas": tuple(betas), "eps": eps}
            self._add(torch.optim.AdamW, adamw_options, adamw_groups)


def _flatten_kernels(group: SegmentTensors) -> SegmentTensors:
    segment, tensors = group
    return segment, [(as_matrix(parameter), indices) for parameter, indices in tensors]


def as_matrix(parameter: nn.Parameter) -> nn.Parameter:
    """Return a parameter of two or more dimensions and its gradient as views of shape ``(out, ...)``."""
    if parameter.ndim == 2:
        return parameter
    assert parameter.grad is not None
    strides = parameter.stride()
    inner_axes = sorted(range(1, parameter.ndim), key=lambda axis: -strides[axis])  # in the order of memory
    matrix, gradient = (t.permute(0, *inner_axes).flatten(1) for t in (parameter.detach(), parameter.grad))
    assert matrix.data_ptr() == parameter.data_ptr(), "the first axis of the kernel is not outermost"
    matrix_parameter = nn.Parameter(matrix)
    matrix_parameter.grad = gradient
    return matrix_parameter
