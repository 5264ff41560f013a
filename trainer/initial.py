"""Initial weights by one rule for every kind of model."""

from __future__ import annotations

from typing import Literal

from torch import nn
from torch.nn.utils import parametrize

RULES = {
    "kaiming": lambda weight: nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu"),
    "xavier": nn.init.xavier_uniform_,
    "orthogonal": nn.init.orthogonal_,
}


def initialise(model: nn.Module, rule: Literal["default", "kaiming", "xavier", "orthogonal"]) -> None:
    """Draws the matrices and kernels of a model anew, and sets the biases beside them to zero.

    ``kaiming``: normal, of variance 2 / fan out, which is out * k * k of a convolution (He et al. 2015); ``xavier``:
    uniform, of variance 2 / (fan in + fan out) (Glorot and Bengio 2010); ``orthogonal``: Saxe et al. 2014.
    ``default`` leaves what each layer chose. Recurrent gates count as matrices of their own and keep their biases,
    which may be set for a reason; embeddings and norms are left. Of a weight that is computed from another, as under
    spectral norm, that other one is drawn.
    """
    if rule == "default":
        return
    for module in model.modules():
        own = {} if isinstance(module, nn.Embedding) else dict(module.named_parameters(recurse=False))
        if parametrize.is_parametrized(module, "weight") and not isinstance(module, nn.Embedding):
            own["weight"] = module.parametrizations.weight.original  # type: ignore[union-attr, index, assignment]
        weights = [value for name, value in own.items() if name.startswith("weight") and value.dim() > 1]
        for weight in weights:
            for part in weight.data.split(module.hidden_size if isinstance(module, nn.RNNBase) else len(weight)):
                RULES[rule](part)
        if weights and "bias" in own:
            nn.init.zeros_(own["bias"])
