"""Parameters of a parameter group as a single flat vector.

Clipping, updating, averaging and checking then take one call each instead of one per parameter, which would dominate
the step of a small network. For the model the parameters are unchanged; they become views of the vector.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, groupby
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from trainer.utils.text import format_dtype

_ALIGN = 16
"""Alignment of the parameters in elements, so that kernels find them aligned as separate tensors are."""
ParamOptions = Mapping[str, Any]
"""Options of the optimizer for a single parameter: ``lr_scale``, ``weight_decay``."""


@dataclass(frozen=True)
class Segment:
    """Consecutive parameters of the vector with the same options.

    Args:
        indices: Their indices in ``FlatParameters.parameters``.
        is_decayed: Whether weight decay applies to them.
        options: Their options.
    """

    indices: range
    is_decayed: bool
    options: ParamOptions = field(default_factory=dict)


class FlatVector(Protocol):
    """A flat vector ``data`` ``(P,)`` with its gradient ``grad`` ``(P,)``, in segments with the same options."""

    data: Tensor
    grad: Tensor

    def iter_segments(self) -> Iterator[tuple[Segment, slice]]:
        """Yield the segments in order, with their slices of the vector."""


class FlatParameters:
    """Flat vector ``data`` ``(P,)`` and its gradient ``grad`` ``(P,)``; the parameters become views of them.

    Parameters with weight decay come first, ``data[:num_decayed]``, followed by biases and the scales of normalization
    layers. Within both parts, parameters with the same options are consecutive.

    Args:
        parameters: Parameters of the group; frozen ones are left out.
        decayed: Parameters with weight decay; by default those with two or more dimensions.
        names: Name of each parameter in checkpoints; by default its index.
        options: Options of single parameters.
        matrices: Parameters that are linear maps of features; by default those with two or more dimensions.
        former_names: Current names by former name, see ``trainer.config.renamed_parameters``.

    Raises:
        ValueError: The parameters have several dtypes or devices.
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
        is_decayed_by_param = {p: p.ndim >= 2 if decayed is None else p in decayed for p in trained}
        names_by_param = names or {p: str(index) for index, p in enumerate(trained)}
        ranks = _rank_options(trained, options or {})
        self.parameters = sorted(trained, key=lambda p: (not is_decayed_by_param[p], ranks[p]))
        self.names = [names_by_param[p] for p in self.parameters]
        self.former_names = former_names or {}
        self.matrices = [p.ndim >= 2 and (matrices is None or p in matrices) for p in self.parameters]
        self._check_same_kind()
        tensors = [self.get_tensor(p) for p in self.parameters]
        lengths = [-(-tensor.numel() // _ALIGN) * _ALIGN for tensor in tensors]
        self._offsets = [0, *accumulate(lengths)]
        self.data, self.grad = self.allocate(tensors[0], sum(lengths))
        self._shapes = [p.shape for p in self.parameters]
        self.num_decayed = sum(n for p, n in zip(self.parameters, lengths, strict=True) if is_decayed_by_param[p])
        keys = [(is_decayed_by_param[p], ranks[p]) for p in self.parameters]
        self.segments = []
        for (is_decayed, _), group in groupby(range(len(keys)), key=lambda index: keys[index]):
            indices = [*group]
            own_options = (options or {}).get(self.parameters[indices[0]], {})
            self.segments.append(Segment(range(indices[0], indices[-1] + 1), is_decayed, own_options))
        self._bind()

    def allocate(self, like: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """Return memory for the vector and for its gradient, with zeros.

        Args:
            like: Tensor of the dtype and on the device of the vector.
            length: Length of the vector.
        """
        data = like.new_zeros(length, requires_grad=False)
        return data, torch.zeros_like(data)

    @staticmethod
    def get_tensor(parameter: nn.Parameter) -> Tensor:
        """Return the part of a parameter that is in the vector; here all of it."""
        return parameter

    def _check_same_kind(self) -> None:
        kinds: dict[tuple[torch.dtype, torch.device], str] = {}
        for name, parameter in zip(self.names, self.parameters, strict=True):
            kinds.setdefault((parameter.dtype, parameter.device), name)
        if len(kinds) > 1:
            listing = ", ".join(
                f"{name} is {format_dtype(dtype)} on {device}" for (dtype, device), name in kinds.items()
            )
            raise ValueError(f"the parameters of a group must have one dtype and device: {listing}")

    def _bind(self) -> None:
        """Copy the parameters to the vector and make them views of it."""
        for parameter, offset in zip(self.parameters, self._offsets, strict=False):
            view = self._view_like(self.data, offset, parameter)
            view.copy_(parameter.detach())
            parameter.data = view
            parameter.grad = self._view_like(self.grad, offset, parameter)
        # The first and the last parameter are enough to notice a change of the whole model, at no cost per parameter.
        self._bound = [(p, p.grad, p.data_ptr()) for p in (self.parameters[0], self.parameters[-1])]

    def rebind(self) -> None:
        """Make the parameters views of the vector again if they were replaced.

        ``model.zero_grad()`` in a callback removes the gradients, ``model.double().float()`` replaces the values; the
        optimizer would then update a vector that the model does not use.

        Raises:
            RuntimeError: A parameter has another dtype, device or shape than before.
        """
        for bound, grad, address in self._bound:
            if bound.grad is not grad or bound.data_ptr() != address:
                break
        else:
            return
        expected = self.data.dtype, self.data.device
        for name, parameter, shape in zip(self.names, self.parameters, self._shapes, strict=True):
            if (parameter.dtype, parameter.device) != expected or parameter.shape != shape:
                raise RuntimeError(
                    f"parameter {name} was changed to {format_dtype(parameter.dtype)} {list(parameter.shape)} on"
                    f" {parameter.device} during training; the optimizer has it as {format_dtype(self.data.dtype)}"
                    f" {list(shape)} on {self.data.device}"
                )
        self._bind()

    @staticmethod
    def _view_like(vector: Tensor, offset: int, parameter: Tensor) -> Tensor:
        # With the strides of the parameter, so that a channels-last kernel remains channels-last; empty_like makes the
        # strides dense for a parameter that is a slice of a larger tensor.
        return vector.as_strided(
            parameter.shape, torch.empty_like(parameter).stride(), vector.storage_offset() + offset
        )

    def zero_grad(self) -> None:
        """Set the gradient to zero, after ``rebind``."""
        self.rebind()
        self.grad.zero_()

    def write_back(self) -> None:
        """Update the parameters after a change of ``data``; as views of it, they need nothing."""

    def compute_grad_norm(self) -> Tensor:
        """Return the norm of the gradient of all parameters, a scalar."""
        return self.compute_norm(self.grad)

    def compute_norm(self, vector: Tensor) -> Tensor:
        """Return the norm of a vector like ``data``, a scalar."""
        return torch.linalg.vector_norm(vector)

    def get_full_parameters(self) -> Sequence[nn.Parameter]:
        """Return the parameters for an optimizer that does not update each element by itself."""
        return self.parameters

    def iter_segments(self) -> Iterator[tuple[Segment, slice]]:
        """Yield the segments in order, with their slices of the vector."""
        return ((segment, self.get_slice(segment.indices)) for segment in self.segments)

    def get_slice(self, indices: range) -> slice:
        """Return the slice of the vector with the parameters of consecutive indices."""
        return slice(self._offsets[indices[0]], self._offsets[indices[-1] + 1])

    def split_by_name(self, vector: Tensor, indices: range | None = None) -> dict[str, Tensor]:
        """Split a vector into views with the shapes of the parameters, by name.

        Args:
            vector: Vector like ``data``, or like the slice of ``indices``.
            indices: Consecutive indices of parameters; by default all.
        """
        indices = range(len(self.parameters)) if indices is None else indices
        first_offset = self._offsets[indices[0]]
        return {
            self.names[i]: self._view_like(vector, self._offsets[i] - first_offset, self.get_tensor(self.parameters[i]))
            for i in indices
        }

    def gather_by_name(self, vector: Tensor, indices: range | None = None) -> dict[str, Tensor]:
        """Return the parts of a vector with the shapes of the whole parameters, by name, for a checkpoint.

        Args:
            vector: Vector like ``data``, or like the slice of ``indices``.
            indices: Consecutive indices of parameters; by default all.
        """
        return self.split_by_name(vector, indices)

    def load_by_name(self, vector: Tensor, values: Mapping[str, Tensor], indices: range | None = None) -> None:
        """Copy what ``gather_by_name`` has returned into a vector.

        Args:
            vector: Vector like ``data``, or like the slice of ``indices``.
            values: Value of each parameter, by name.
            indices: Consecutive indices of parameters; by default all.
        """
        for name, view in self.split_by_name(vector, indices).items():
            view.copy_(values[name])

    def nonfinite_parameter_names(self, named_parameters: Iterable[tuple[str, nn.Parameter]]) -> list[str]:
        """Return the names of the parameters of the group whose gradient is not finite.

        Args:
            named_parameters: Names and parameters, such as those of a task.
        """
        own_ids = {id(p) for p in self.parameters}
        return [
            name
            for name, p in named_parameters
            if id(p) in own_ids and p.grad is not None and not p.grad.isfinite().all()
        ]


@dataclass(frozen=True)
class UpdateSlice:
    """Part of the vector that is updated by one call.

    Args:
        part: Slice of the vector.
        weight_decay: Its weight decay.
        lr_scale: Factor of its learning rate.
    """

    part: slice
    weight_decay: float
    lr_scale: float


def make_update_slices(params: FlatVector, weight_decay: float, decay_norm_and_bias: bool) -> list[UpdateSlice]:
    """Split the vector into the largest slices with constant weight decay and learning rate.

    Args:
        params: The vector of the group, or a part of it.
        weight_decay: Weight decay of parameters without their own option.
        decay_norm_and_bias: Whether it also applies to biases and scales of normalization layers.
    """
    slices: list[UpdateSlice] = []
    for segment, part in params.iter_segments():
        default_decay = weight_decay if segment.is_decayed or decay_norm_and_bias else 0.0
        options = segment.options
        new_slice = UpdateSlice(part, options.get("weight_decay", default_decay), options.get("lr_scale", 1.0))
        last_slice = slices[-1] if slices else None
        if last_slice and last_slice == replace(new_slice, part=last_slice.part):
            slices[-1] = replace(new_slice, part=slice(last_slice.part.start, new_slice.part.stop))
        else:
            slices.append(new_slice)
    return slices


def _rank_options(
    parameters: Sequence[nn.Parameter], options: Mapping[nn.Parameter, ParamOptions]
) -> dict[nn.Parameter, int]:
    """Return the rank of each parameter: the number of its options, in order of occurrence."""
    distinct_options: list[ParamOptions] = []
    ranks = {}
    for parameter in parameters:
        own_options = options.get(parameter, {})
        if own_options not in distinct_options:
            distinct_options.append(own_options)
        ranks[parameter] = distinct_options.index(own_options)
    return ranks
