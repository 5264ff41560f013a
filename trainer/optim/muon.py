"""Muon for matrices, AdamW for the rest."""

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
    """Muon: momentum whose update is made orthogonal by a Newton-Schulz iteration (Jordan et al. 2024).

    It updates weight matrices, the kernels of convolutions as matrices (out, in * k * k). What is none, such as biases,
    gains and tables of embeddings, is updated by AdamW with the same learning rate and weight decay: with
    ``match_rms_adamw`` (Liu et al. 2025) an update is as large as one of AdamW. Its authors leave the last layer to
    AdamW too; ``adamw`` names it.
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
        self.inner, self.slots = [], []
        others = set(find_matches("optimizer.adamw", adamw, params.names, params.former_names))
        matrices = {place for place, name in enumerate(params.names) if params.matrices[place] and name not in others}
        if not matrices:
            raise ValueError("muon updates matrices, and there are none to train; choose another optimizer")
        muon = {"momentum": momentum, "nesterov": nesterov, "ns_steps": ns_steps, "adjust_lr_fn": adjust_lr_fn}
        groups = [_flatten_kernels(group) for group in parameter_groups(params, matrices)]
        self._add(torch.optim.Muon, {"lr": lr, "weight_decay": weight_decay, **muon}, groups)
        rest = parameter_groups(params, set(range(len(params.names))) - matrices)
        if rest:
            adam = {"lr": lr, "weight_decay": weight_decay, "betas": tuple(betas), "eps": eps}
            self._add(torch.optim.AdamW, adam, rest)


def _flatten_kernels(group: SegmentTensors) -> SegmentTensors:
    segment, tensors = group
    return segment, [(as_matrix(parameter), places) for parameter, places in tensors]


def as_matrix(parameter: nn.Parameter) -> nn.Parameter:
    """A parameter, and its gradient, as a matrix (out, ...) in the same memory."""
    if parameter.ndim == 2:
        return parameter
    assert parameter.grad is not None
    strides = parameter.stride()
    inner = sorted(range(1, parameter.ndim), key=lambda axis: -strides[axis])  # as they lie in memory
    matrix, gradient = (t.permute(0, *inner).flatten(1) for t in (parameter.detach(), parameter.grad))
    assert matrix.data_ptr() == parameter.data_ptr(), "a kernel whose first axis is not outermost"
    made = nn.Parameter(matrix)
    made.grad = gradient
    return made
