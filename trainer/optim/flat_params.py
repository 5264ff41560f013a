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

    places: range
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
        former_names: Current names by former name, see ``trainer.config.renamed_parameters``.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        decayed: Container[nn.Parameter] | None = None,
        names: Mapping[nn.Parameter, str] | None = None,
        options: Mapping[nn.Parameter, ParamOptions] | None = None,
        matrices: Container[nn.Parameter] | None = None,
        former_names: Mapping[str, str] | None = None,
    ):
        trained = [p for p in dict.fromkeys(parameters) if p.requires_grad]
        assert trained, "a parameter group without parameters"
        shrinks = {p: p.ndim >= 2 if decayed is None else p in decayed for p in trained}
        called = names or {p: str(place) for place, p in enumerate(trained)}
        ranks = _rank_options(trained, options or {})
        self.parameters = sorted(trained, key=lambda p: (not shrinks[p], ranks[p]))
        self.names = [called[p] for p in self.parameters]
        self.former_names = former_names or {}
        self.matrices = [p.ndim >= 2 and (matrices is None or p in matrices) for p in self.parameters]
        first = self.parameters[0]
        lengths = [-(-p.numel() // _ALIGN) * _ALIGN for p in self.parameters]
        self._starts = [0, *accumulate(lengths)]
        self.data = first.new_zeros(sum(lengths), requires_grad=False)
        self.grad = torch.zeros_like(self.data)
        self.num_decayed = sum(n for p, n in zip(self.parameters, lengths, strict=True) if shrinks[p])
        keys = [(shrinks[p], ranks[p]) for p in self.parameters]
        self.segments = []
        for (is_decayed, _), group in groupby(range(len(keys)), key=lambda place: keys[place]):
            places = [*group]
            own = (options or {}).get(self.parameters[places[0]], {})
            self.segments.append(Segment(range(places[0], places[-1] + 1), is_decayed, own))
        for parameter, start in zip(self.parameters, self._starts, strict=False):
            view = self._view_like(self.data, start, parameter)
            view.copy_(parameter.detach())
            parameter.data = view
            parameter.grad = self._view_like(self.grad, start, parameter)

    @staticmethod
    def _view_like(vector: Tensor, start: int, like: Tensor) -> Tensor:
        # Same strides as the parameter had, so that a channels-last kernel stays channels-last; a parameter cut out
        # of a larger tensor has holes, which empty_like closes.
        return vector.as_strided(like.shape, torch.empty_like(like).stride(), vector.storage_offset() + start)

    def zero_grad(self) -> None:
        self.grad.zero_()

    def get_slice(self, places: range) -> slice:
        """The part of the vector that consecutive parameters, by their places in ``parameters``, take up."""
        return slice(self._starts[places[0]], self._starts[places[-1] + 1])

    def split_by_name(self, vector: Tensor, places: range | None = None) -> dict[str, Tensor]:
        """Views of a vector as long as ``data``, or as a slice of it: one for each parameter, shaped like it."""
        places = range(len(self.parameters)) if places is None else places
        first = self._starts[places[0]]
        return {self.names[i]: self._view_like(vector, self._starts[i] - first, self.parameters[i]) for i in places}

    def nonfinite_parameter_names(self, named: Iterable[tuple[str, nn.Parameter]]) -> list[str]:
        """The parameters whose gradient holds a NaN or an infinity."""
        mine = {id(p) for p in self.parameters}
        return [name for name, p in named if id(p) in mine and p.grad is not None and not p.grad.isfinite().all()]


def _rank_options(
    parameters: Sequence[nn.Parameter], options: Mapping[nn.Parameter, ParamOptions]
) -> dict[nn.Parameter, int]:
    """Which of the different options each parameter has, counted in the order in which they first occur."""
    kinds: list[ParamOptions] = []
    ranks = {}
    for parameter in parameters:
        own = options.get(parameter, {})
        if own not in kinds:
            kinds.append(own)
        ranks[parameter] = kinds.index(own)
    return ranks
