"""Weight initialization with one rule for all models."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from trainer.core.weight_matrices import weight_matrices
from trainer.utils.choices import get_choice

INIT_FUNCTIONS = {
    "kaiming": lambda weight: nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu"),
    "xavier": nn.init.xavier_uniform_,
    "orthogonal": nn.init.orthogonal_,
}


def initialize_weights(model: nn.Module, rule: Literal["default", "kaiming", "xavier", "orthogonal"]) -> None:
    """Initialize the weight matrices and kernels of a model, and set the biases of their layers to zero.

    Each linear map of a layer is initialized separately, whatever its memory layout: a gate, a group of a convolution,
    the matrix of a relation; the vectors of H heads with C features are a map from C to H. Biases of recurrent gates,
    embeddings, positional encodings, normalization layers and mixing coefficients are unchanged.

    Args:
        model: The model.
        rule: ``kaiming``: normal with variance 2 / fan out, which is ``out * k * k`` of a convolution (He et al. 2015);
            ``xavier``: uniform with variance 2 / (fan in + fan out) (Glorot and Bengio 2010); ``orthogonal``: Saxe et
            al. 2014; ``default``: the initialization of each layer is unchanged.
    """
    if rule == "default":
        return
    initialize = get_choice("rule", rule, INIT_FUNCTIONS)
    for module in model.modules():
        matrices = weight_matrices(module)
        for weights in matrices.values():
            for weight in weights:
                # In a new tensor, because some rules cannot write to a transposed matrix.
                sample = torch.empty(weight.shape, dtype=weight.dtype, device=weight.device)
                weight.copy_(initialize(sample))
        own_parameters = dict(module.named_parameters(recurse=False))
        if matrices and "bias" in own_parameters:
            nn.init.zeros_(own_parameters["bias"])
