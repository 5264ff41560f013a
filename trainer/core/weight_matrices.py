"""Which parameters of a model are weight matrices, maps from features to features, and which decay."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.nn.utils import parametrize

MatricesByName = Mapping[str, Sequence[Tensor]]
"""For each parameter of a layer that is a weight, by name, the maps (out, in, ...) in it, as views of its data."""

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_GROUPED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *_TRANSPOSED)
_NORMS = (nn.LayerNorm, nn.RMSNorm)
"""Those whose gains may have two dimensions or more."""
_NON_MATRIX_LAYERS = (nn.Embedding, *_NORMS)


class HasWeightMatrices(nn.Module, ABC):
    """A layer whose weights do not lie as torch's do, (out, in, ...), or are not called ``weight``: it says how."""

    @abstractmethod
    def weight_matrices(self) -> MatricesByName:
        """Its own weights, and not those of the layers in it."""


def weight_matrices(module: nn.Module) -> MatricesByName:
    """The maps that a layer's own parameters are.

    The gates of a recurrent layer and the groups of a convolution are maps of their own. Of a weight that is computed
    from another, as under spectral norm, it is that other one.
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
    """The parameters that weight decay is for: maps, kernels and tables.

    Not those called ``bias...`` and not the gains of norms, however many dimensions they have, nor other vectors and
    numbers, such as scales; a vector that a layer names as a map of its own is one.
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
    """The parameters that hold maps from features to features: neither tables of embeddings nor gains and biases."""
    return {
        module.get_parameter(name)
        for module in model.modules()
        for name in weight_matrices(module)
        if name in dict(module.named_parameters(recurse=False))
    }
