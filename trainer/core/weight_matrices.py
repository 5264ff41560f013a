"""Weight matrices of a model (linear maps between features), and parameters with weight decay."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.nn.utils import parametrize

MatricesByName = Mapping[str, Sequence[Tensor]]
"""Weight matrices (out, in, ...) of each parameter of a layer, by parameter name, as views of its data."""

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_GROUPED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *_TRANSPOSED)
_NORMS = (nn.LayerNorm, nn.RMSNorm)
"""Normalization layers, whose scale may have two or more dimensions."""
_NON_MATRIX_LAYERS = (nn.Embedding, *_NORMS)


class HasWeightMatrices(nn.Module, ABC):
    """Base class of layers whose weights are not stored as (out, in, ...) or not named ``weight``."""

    @abstractmethod
    def weight_matrices(self) -> MatricesByName:
        """Return the weight matrices of the layer itself, without those of submodules."""


def weight_matrices(module: nn.Module) -> MatricesByName:
    """Return the weight matrices of a layer, without those of submodules.

    Each gate of a recurrent layer and each group of a convolution is a separate matrix. For a parametrized weight, as
    under spectral normalization, it is the original parameter. Embeddings and normalization layers have none.
    """
    if isinstance(module, HasWeightMatrices):
        return module.weight_matrices()
    if isinstance(module, _NON_MATRIX_LAYERS):
        return {}
    parameters = dict(module.named_parameters(recurse=False))
    if parametrize.is_parametrized(module, "weight"):
        parameters["weight"] = module.parametrizations.weight.original  # type: ignore[union-attr, assignment]
    weights = {name: value.data for name, value in parameters.items() if name.startswith("weight") and value.dim() > 1}
    return {name: _split_matrices(module, value) for name, value in weights.items()}


def _split_matrices(module: nn.Module, weight: Tensor) -> Sequence[Tensor]:
    if isinstance(module, nn.RNNBase):
        gates: Sequence[Tensor] = weight.split(module.hidden_size)
        return gates
    parts = weight.chunk(module.groups) if isinstance(module, _GROUPED) else [weight]
    return [part.transpose(0, 1) for part in parts] if isinstance(module, _TRANSPOSED) else parts


def find_decayed_parameters(model: nn.Module) -> set[nn.Parameter]:
    """Return the parameters that weight decay applies to: weight matrices, convolution kernels and embeddings.

    Excluded are parameters named ``bias...``, those of normalization layers, and other vectors and scalars, unless the
    layer declares a vector as a weight matrix.
    """
    decayed = set()
    for module in model.modules():
        matrices = weight_matrices(module)
        for name, value in module.named_parameters(recurse=False):
            is_vector_or_norm = value.dim() < 2 or name.startswith("bias") or isinstance(module, _NORMS)
            if name in matrices or not is_vector_or_norm:
                decayed.add(value)
    return decayed


def find_matrix_parameters(model: nn.Module) -> set[nn.Parameter]:
    """Return the parameters that are weight matrices, without embeddings, scales and biases."""
    return {
        module.get_parameter(name)
        for module in model.modules()
        for name in weight_matrices(module)
        if name in dict(module.named_parameters(recurse=False))
    }
