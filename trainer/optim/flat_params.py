"""The parameters of one parameter group as a single vector.

Clipping, updating, averaging and checking then cost one call each instead of one per parameter, which for a small
network is most of a step. The parameters stay what they were to the model: views into the vector.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, groupby
from typing import Any

import torch
from torch import Tensor, nn

_ALIGN = 16
"""Parameters start on multiples of 16 numbers, so that kernels see them as aligned as if they stood alone."""
ParamOptions = Mapping[str, Any]
"""The options of the optimizer that one parameter has for itself: ``lr_scale``, ``weight_decay``."""


@dataclass(frozen=True)
class Segment:
    """Consecutive parameters of the vector that are updated alike.

    places: in ``FlatParameters.parameters``. is_decayed: whether weight decay is for them. options: their own.
    """

    indices: range
    is_decayed: bool
    options: ParamOptions = field(default_factory=dict)


class FlatParameters:
    """The vector ``data`` (P,), its gradient ``grad`` (P,), and the views the model holds.

    Parameters that weight decay may shrink come first, ``data[:num_decayed]``: those in ``decayed``, or where that is
    not given those of two dimensions or more, matrices and kernels. Biases and the gains of norms follow. Among either,
    parameters of the same ``options`` stand together.

    Args:
        parameters: Those of the group; those that need no gradient are left out.
        decayed: The ones weight decay is for.
        names: How each is called, in checkpoints too; their place in ``parameters`` where it is not given.
        options: The options that some of them have for themselves.
        matrices: Those that are maps from features to features; where not given, those of two dimensions or more.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        decayed: Container[nn.Parameter] | None = None,
        names: Mapping[nn.Parameter, str] | None = None,
        options: Mapping[nn.Parameter, ParamOptions] | None = None,
        matrices: Container[nn.Parameter] | None = None,
    ):
        trained = [p for p in dict.fromkeys(parameters) if p.requires_grad]
        assert trained, "a parameter group without parameters"
        is_decayed_by_param = {p: p.ndim >= 2 if decayed is None else p in decayed for p in trained}
        names_by_param = names or {p: str(index) for index, p in enumerate(trained)}
        ranks = _rank_options(trained, options or {})
        self.parameters = sorted(trained, key=lambda p: (not is_decayed_by_param[p], ranks[p]))
        self.names = [names_by_param[p] for p in self.parameters]
        self.matrices = [p.ndim >= 2 and (matrices is None or p in matrices) for p in self.parameters]
        first = self.parameters[0]
        lengths = [-(-p.numel() // _ALIGN) * _ALIGN for p in self.parameters]
        self._offsets = [0, *accumulate(lengths)]
        self.data = first.new_zeros(sum(lengths), requires_grad=False)
        self.grad = torch.zeros_like(self.data)
        self.num_decayed = sum(n for p, n in zip(self.parameters, lengths, strict=True) if is_decayed_by_param[p])
        keys = [(is_decayed_by_param[p], ranks[p]) for p in self.parameters]
        self.segments = []
        for (is_decayed, _), group in groupby(range(len(keys)), key=lambda index: keys[index]):
            indices = [*group]
            own_options = (options or {}).get(self.parameters[indices[0]], {})
            self.segments.append(Segment(range(indices[0], indices[-1] + 1), is_decayed, own_options))
        for parameter, offset in zip(self.parameters, self._offsets, strict=False):
            view = self._view_like(self.data, offset, parameter)
            view.copy_(parameter.detach())
            parameter.data = view
            parameter.grad = self._view_like(self.grad, offset, parameter)

    @staticmethod
    def _view_like(vector: Tensor, offset: int, parameter: Tensor) -> Tensor:
        # Same strides as the parameter had, so that a channels-last kernel stays channels-last; a parameter cut out
        # of a larger tensor has holes, which empty_like closes.
        return vector.as_strided(
            parameter.shape, torch.empty_like(parameter).stride(), vector.storage_offset() + offset
        )

    def zero_grad(self) -> None:
        self.grad.zero_()

    def get_slice(self, indices: range) -> slice:
        """The part of the vector that consecutive parameters, by their places in ``parameters``, take up."""
        return slice(self._offsets[indices[0]], self._offsets[indices[-1] + 1])

    def split_by_name(self, vector: Tensor, indices: range | None = None) -> dict[str, Tensor]:
        """Views of a vector as long as ``data``, or as a slice of it: one for each parameter, shaped like it."""
        indices = range(len(self.parameters)) if indices is None else indices
        first_offset = self._offsets[indices[0]]
        return {
            self.names[i]: self._view_like(vector, self._offsets[i] - first_offset, self.parameters[i]) for i in indices
        }

    def nonfinite_parameter_names(self, named_parameters: Iterable[tuple[str, nn.Parameter]]) -> list[str]:
        """The parameters whose gradient holds a NaN or an infinity."""
        own_ids = {id(p) for p in self.parameters}
        return [
            name
            for name, p in named_parameters
            if id(p) in own_ids and p.grad is not None and not p.grad.isfinite().all()
        ]


def _rank_options(
    parameters: Sequence[nn.Parameter], options: Mapping[nn.Parameter, ParamOptions]
) -> dict[nn.Parameter, int]:
    """Which of the different options each parameter has, counted in the order in which they first occur."""
    distinct_options: list[ParamOptions] = []
    ranks = {}
    for parameter in parameters:
        own_options = options.get(parameter, {})
        if own_options not in distinct_options:
            distinct_options.append(own_options)
        ranks[parameter] = distinct_options.index(own_options)
    return ranks
