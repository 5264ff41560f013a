"""Adapter for the optimizers of ``torch.optim`` and of plugins.

Elementwise optimizers get slices of the flat vector, with the same results as for separate parameters. Other optimizers
and those of plugins get the parameters.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trainer.optim.flat_params import FlatParameters, Segment
from trainer.optim.fused_kernels import restore_if_nonfinite, set_momentum
from trainer.optim.optimizers import Optimizer

ELEMENTWISE = {
    *("ASGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "Rprop", "SGD"),
}
"""Classes of ``torch.optim`` whose updates are elementwise."""
MAX_LISTED_NAMES = 3
SegmentTensors = tuple[Segment, list[tuple[nn.Parameter, range]]]
"""A segment and the tensors to update in it, each with the indices of its parameters."""


@dataclass(frozen=True)
class TorchSlot:
    """A tensor that an optimizer of torch updates.

    Args:
        tensor: Slice of the vector, or one parameter.
        indices: Indices of the parameters in it.
        is_slice: Whether it is a slice.
        optimizer: The optimizer.
    """

    tensor: nn.Parameter
    indices: range
    is_slice: bool
    optimizer: torch.optim.Optimizer


class TorchOptimizer(Optimizer):
    """Applies an optimizer of ``torch.optim`` or of a plugin to a parameter group.

    Args:
        params: Parameters of the group.
        optimizer_class: Class of the optimizer.
        options: Its keyword arguments.

    Raises:
        ValueError: The class does not accept these options or parameters.
    """

    params: FlatParameters

    def __init__(
        self, params: FlatParameters, optimizer_class: type[torch.optim.Optimizer], options: Mapping[str, Any]
    ):
        super().__init__(params, 0.0, 0.0, decay_norm_and_bias=True)
        self.optimizers: list[torch.optim.Optimizer] = []
        self.slots: list[TorchSlot] = []
        self._has_stepped = False
        if optimizer_class is torch.optim.Muon:
            check_all_matrices(params)
        is_elementwise = (
            optimizer_class.__module__.startswith("torch.optim") and optimizer_class.__name__ in ELEMENTWISE
        )
        groups = _slice_groups(params) if is_elementwise else parameter_groups(params)
        self._add(optimizer_class, options, groups, are_slices=is_elementwise)
        self.lr = self.optimizers[0].defaults["lr"]
        self.has_momentum = not {"betas", "momentum"}.isdisjoint(self.optimizers[0].defaults)

    def _add(
        self,
        optimizer_class: type[torch.optim.Optimizer],
        options: Mapping[str, Any],
        groups: Sequence[SegmentTensors],
        *,
        are_slices: bool = False,
    ) -> None:
        """Add an optimizer of the tensors of some segments."""
        defaults = {"lr_scale": 1.0}
        groups_with_options = [
            {"params": [t for t, _ in tensors], **defaults, **segment.options} for segment, tensors in groups
        ]
        device_options = choose_device_options(optimizer_class, self.params.data.device)
        optimizer = optimizer_class(groups_with_options, **{**device_options, **options})
        self.optimizers.append(optimizer)
        for _, tensors in groups:
            for tensor, indices in tensors:
                self.slots.append(TorchSlot(tensor, indices, are_slices, optimizer))

    def step(self, lr: float, momentum: float | None = None, found_inf: Tensor | None = None) -> Tensor | None:
        found_inf = self.merge_found_inf(found_inf)
        if found_inf is not None and not self._has_stepped and not self._has_state() and bool(found_inf):
            return found_inf  # the first step, which creates the state, could not be undone
        tensors = [] if found_inf is None else [self.steps, self.params.data, *self._iter_state_tensors()]
        saved = None if found_inf is None else [value.clone() for value in tensors]
        self.steps += 1
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr * group["lr_scale"]
                set_momentum(group, momentum)
            optimizer.step()
        self._has_stepped = True
        restore_if_nonfinite(found_inf, tensors, saved)
        return found_inf

    def _has_state(self) -> bool:
        return all(slot.optimizer.state.get(slot.tensor) for slot in self.slots)

    def _iter_state_tensors(self) -> Iterator[Tensor]:
        for slot in self.slots:
            for value in slot.optimizer.state.get(slot.tensor, {}).values():
                if isinstance(value, Tensor):
                    yield value

    def state_dict(self) -> dict[str, Any]:
        """Return the state by parameter name.

        ``averages`` are tensors with the shape of the parameter; ``others`` are all other values, such as step counts.
        """
        state: dict[str, Any] = {"steps": self.steps, "averages": {}, "others": {}}
        for slot in self.slots:
            for key, value in slot.optimizer.state.get(slot.tensor, {}).items():
                if value is None:
                    continue
                if not isinstance(value, Tensor) or value.shape != slot.tensor.shape:
                    values = {self.params.names[index]: value for index in slot.indices}
                    state["others"].setdefault(key, {}).update(values)
                elif slot.is_slice:
                    state["averages"].setdefault(key, {}).update(self.params.gather_by_name(value, slot.indices))
                else:
                    state["averages"].setdefault(key, {})[self.params.names[slot.indices[0]]] = value
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps.copy_(state["steps"])
        for optimizer in self.optimizers:
            slots = [slot for slot in self.slots if slot.optimizer is optimizer]
            states = {
                index: slot_state for index, slot in enumerate(slots) if (slot_state := self._gather_state(slot, state))
            }
            optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})

    def _gather_state(self, slot: TorchSlot, state: Mapping[str, Any]) -> dict[str, Any]:
        """Gather the state of a tensor from those of the parameters in it."""
        first_name = self.params.names[slot.indices[0]]
        slot_state = {
            key: copy.deepcopy(values[first_name]) for key, values in state["others"].items() if first_name in values
        }
        for key, values_by_name in state["averages"].items():
            if first_name in values_by_name and slot.is_slice:
                slot_state[key] = torch.zeros_like(slot.tensor.detach())
                self.params.load_by_name(slot_state[key], values_by_name, slot.indices)
            elif first_name in values_by_name:
                slot_state[key] = values_by_name[first_name].clone()
        return slot_state

    def example_state_dict(self, *, has_stepped: bool) -> dict[str, Any]:
        """Return a state as before or after a step; torch creates it in the first step, which is undone here."""
        if not has_stepped or (self._has_state() and float(self.steps)):
            return self.state_dict()
        data, grad = self.params.data.clone(), self.params.grad.clone()
        saved = [copy.deepcopy(optimizer.state_dict()) for optimizer in self.optimizers]
        self.params.zero_grad()
        for optimizer in self.optimizers:
            optimizer.step()
        example = copy.deepcopy(self.state_dict())
        self.params.data.copy_(data)
        self.params.grad.copy_(grad)
        for optimizer, state in zip(self.optimizers, saved, strict=True):
            optimizer.state.clear()
            optimizer.load_state_dict(state)
        return example


def choose_device_options(optimizer_class: type[torch.optim.Optimizer], device: torch.device) -> dict[str, Any]:
    """Return the option that keeps step counts on a CUDA device, so that no step waits for the device.

    Args:
        optimizer_class: Class of the optimizer; those of plugins get no option.
        device: Device of the parameters.
    """
    is_capturable = "capturable" in inspect.signature(optimizer_class).parameters
    is_own = optimizer_class.__module__.startswith("torch.optim")
    return {"capturable": True} if device.type == "cuda" and is_own and is_capturable else {}


def _slice_groups(params: FlatParameters) -> list[SegmentTensors]:
    """Return each segment with its slice of the vector."""
    groups: list[SegmentTensors] = []
    for segment in params.segments:
        segment_slice = params.get_slice(segment.indices)
        vector = nn.Parameter(params.data[segment_slice])
        vector.grad = params.grad[segment_slice]
        groups.append((segment, [(vector, segment.indices)]))
    return groups


def parameter_groups(params: FlatParameters, selected: Container[int] | None = None) -> list[SegmentTensors]:
    """Return each segment with its parameters.

    Args:
        params: Parameters of the group.
        selected: Indices of the parameters to include; by default all.
    """
    parameters = params.get_full_parameters()
    groups_with_options = [
        (
            segment,
            [(parameters[i], range(i, i + 1)) for i in segment.indices if selected is None or i in selected],
        )
        for segment in params.segments
    ]
    return [(segment, tensors) for segment, tensors in groups_with_options if tensors]


def check_all_matrices(params: FlatParameters) -> None:
    """Raise ValueError if a parameter is not a matrix, as ``torch.optim.Muon`` requires."""
    invalid = [
        f"{name} {list(p.shape)}" for name, p in zip(params.names, params.parameters, strict=True) if p.ndim != 2
    ]
    if invalid:
        names = ", ".join(invalid[:MAX_LISTED_NAMES]) + (", ..." if len(invalid) > MAX_LISTED_NAMES else "")
        raise ValueError(
            f"torch.optim.Muon updates matrices only; {len(invalid)} of {len(params.names)} parameters are not matrices"
            f" ({names}); optimizer=muon leaves those to AdamW"
        )
