"""Initial weights by one rule for every kind of model."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from trainer.core.weight_matrices import weight_matrices

INIT_FUNCTIONS = {
    "kaiming": lambda weight: nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu"),
    "xavier": nn.init.xavier_uniform_,
    "orthogonal": nn.init.orthogonal_,
}


def initialize_weights(model: nn.Module, rule: Literal["default", "kaiming", "xavier", "orthogonal"]) -> None:
    """Draws the matrices and kernels of a model anew, and sets the biases beside them to zero.

    ``kaiming``: normal, of variance 2 / fan out, which is out * k * k of a convolution (He et al. 2015); ``xavier``:
    uniform, of variance 2 / (fan in + fan out) (Glorot and Bengio 2010); ``orthogonal``: Saxe et al. 2014.
    ``default`` leaves what each layer chose. Every map that a layer names is drawn by itself, whichever way it lies:
    a gate, a group of a convolution, the matrix of a relation; the vectors of H heads over C numbers are a map from C
    to H. Recurrent gates keep their biases, which may be set for a reason; embeddings, places, norms and the
    coefficients by which matrices are mixed are left.
    """
    if rule == "default":
        return
    for module in model.modules():
        matrices = weight_matrices(module)
        for weights in matrices.values():
            for weight in weights:
                # Drawn apart: some rules cannot write to a matrix that lies transposed.
                sample = torch.empty(weight.shape, dtype=weight.dtype, device=weight.device)
                weight.copy_(INIT_FUNCTIONS[rule](sample))
        own_parameters = dict(module.named_parameters(recurse=False))
        if matrices and "bias" in own_parameters:
            nn.init.zeros_(own_parameters["bias"])
