"""Every optimizer of ``torch.optim``, and those of a plugin, over the vector of a parameter group.

Those whose update of a number depends on that number alone get the vector in slices, which gives the same numbers as
one call for each parameter; the others, and those of plugins, get the parameters.
"""

from __future__ import annotations

import copy
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trainer.optim.flat_params import FlatParameters, Segment
from trainer.optim.fused_kernels import restore_if, set_momentum
from trainer.optim.optimizers import Optimizer

ELEMENTWISE = {
    *("ASGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "Rprop", "SGD"),
}
"""Classes of ``torch.optim`` that update each number by itself."""
MAX_SHOWN = 3
SegmentTensors = tuple[Segment, list[tuple[nn.Parameter, range]]]
"""What is updated of a segment: tensors, each with the places of the parameters in it."""


@dataclass(frozen=True)
class TorchSlot:
    """A tensor that an optimizer of torch updates: a slice of the vector, or one parameter.

    places: of the parameters in it. is_slice: whether it is a slice.
    """

    tensor: nn.Parameter
    places: range
    is_slice: bool
    optimizer: torch.optim.Optimizer


class TorchOptimizer(Optimizer):
    """Runs an optimizer of ``torch.optim`` on a parameter group.

    Args:
        kind: The class.
        options: Its keyword arguments.

    Raises:
        ValueError: It does not take these options, or these parameters.
    """

    def __init__(self, params: FlatParameters, kind: type[torch.optim.Optimizer], options: Mapping[str, Any]):
        super().__init__(params, 0.0, 0.0, decay_norm_and_bias=True)
        self.inner: list[torch.optim.Optimizer] = []
        self.slots: list[TorchSlot] = []
        if kind is torch.optim.Muon:
            refuse_other_than_matrices(params)
        is_elementwise = kind.__module__.startswith("torch.optim") and kind.__name__ in ELEMENTWISE
        groups = _slice_groups(params) if is_elementwise else parameter_groups(params)
        self._add(kind, options, groups, are_slices=is_elementwise)
        self.lr = self.inner[0].defaults["lr"]
        self.has_momentum = not {"betas", "momentum"}.isdisjoint(self.inner[0].defaults)

    def _add(
        self,
        kind: type[torch.optim.Optimizer],
        options: Mapping[str, Any],
        groups: Sequence[SegmentTensors],
        *,
        are_slices: bool = False,
    ) -> None:
        """Makes an optimizer of the tensors of some segments, each with the places of the parameters in it."""
        usual = {"lr_scale": 1.0}
        listed = [{"params": [t for t, _ in tensors], **usual, **segment.options} for segment, tensors in groups]
        optimizer = kind(listed, **options)
        self.inner.append(optimizer)
        for _, tensors in groups:
            for tensor, places in tensors:
                self.slots.append(TorchSlot(tensor, places, are_slices, optimizer))

    def step(self, lr: float, momentum: float | None = None, found_inf: Tensor | None = None) -> None:
        if found_inf is not None and not self._has_state() and bool(found_inf):
            return  # before the first step there is no state to go back to
        written = [] if found_inf is None else [self.steps, self.params.data, *self._iter_state_tensors()]
        before = None if found_inf is None else [value.clone() for value in written]
        self.steps += 1
        for optimizer in self.inner:
            for group in optimizer.param_groups:
                group["lr"] = lr * group["lr_scale"]
                set_momentum(group, momentum)
            optimizer.step()
        restore_if(found_inf, written, before)

    def _has_state(self) -> bool:
        return all(slot.optimizer.state.get(slot.tensor) for slot in self.slots)

    def _iter_state_tensors(self) -> Iterator[Tensor]:
        for slot in self.slots:
            for value in slot.optimizer.state.get(slot.tensor, {}).values():
                if isinstance(value, Tensor):
                    yield value

    def state_dict(self) -> dict[str, Any]:
        """What torch keeps of each parameter, by name.

        averages: what has an entry for each number of it. others: counts and what else there is.
        """
        state: dict[str, Any] = {"steps": self.steps, "averages": {}, "others": {}}
        for slot in self.slots:
            for key, value in slot.optimizer.state.get(slot.tensor, {}).items():
                if value is None:
                    continue
                if not isinstance(value, Tensor) or value.shape != slot.tensor.shape:
                    own = {self.params.names[place]: value for place in slot.places}
                    state["others"].setdefault(key, {}).update(own)
                elif slot.is_slice:
                    state["averages"].setdefault(key, {}).update(self.params.split_by_name(value, slot.places))
                else:
                    state["averages"].setdefault(key, {})[self.params.names[slot.places[0]]] = value
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps.copy_(state["steps"])
        for optimizer in self.inner:
            mine = [slot for slot in self.slots if slot.optimizer is optimizer]
            kept = {index: made for index, slot in enumerate(mine) if (made := self._gather_state(slot, state))}
            optimizer.load_state_dict({"state": kept, "param_groups": optimizer.state_dict()["param_groups"]})

    def _gather_state(self, slot: TorchSlot, state: Mapping[str, Any]) -> dict[str, Any]:
        """What torch keeps of one tensor, put together from the parameters in it."""
        first = self.params.names[slot.places[0]]
        made = {key: copy.deepcopy(values[first]) for key, values in state["others"].items() if first in values}
        for key, by_name in state["averages"].items():
            if first in by_name and slot.is_slice:
                made[key] = torch.zeros_like(slot.tensor.detach())
                for name, view in self.params.split_by_name(made[key], slot.places).items():
                    view.copy_(by_name[name])
            elif first in by_name:
                made[key] = by_name[first].clone()
        return made

    def example_state_dict(self) -> dict[str, Any]:
        """What ``state_dict`` gives after a step: torch makes its state in the first one, which is taken back here."""
        if self._has_state() and float(self.steps):
            return self.state_dict()
        data, grad = self.params.data.clone(), self.params.grad.clone()
        before = [copy.deepcopy(optimizer.state_dict()) for optimizer in self.inner]
        self.params.zero_grad()
        for optimizer in self.inner:
            optimizer.step()
        example = copy.deepcopy(self.state_dict())
        self.params.data.copy_(data)
        self.params.grad.copy_(grad)
        for optimizer, state in zip(self.inner, before, strict=True):
            optimizer.state.clear()
            optimizer.load_state_dict(state)
        return example


def _slice_groups(params: FlatParameters) -> list[SegmentTensors]:
    """Each segment of the vector with the slice of it."""
    groups: list[SegmentTensors] = []
    for segment in params.segments:
        part = params.get_slice(segment.places)
        vector = nn.Parameter(params.data[part])
        vector.grad = params.grad[part]
        groups.append((segment, [(vector, segment.places)]))
    return groups


def parameter_groups(params: FlatParameters, chosen: Container[int] | None = None) -> list[SegmentTensors]:
    """Each segment with the parameters in it, or of those the chosen, by their places."""
    listed = [
        (segment, [(params.parameters[i], range(i, i + 1)) for i in segment.places if chosen is None or i in chosen])
        for segment in params.segments
    ]
    return [(segment, tensors) for segment, tensors in listed if tensors]


def refuse_other_than_matrices(params: FlatParameters) -> None:
    """Raises ValueError where a parameter has not two dimensions, which ``torch.optim.Muon`` takes alone."""
    odd = [f"{name} {list(p.shape)}" for name, p in zip(params.names, params.parameters, strict=True) if p.ndim != 2]
    if odd:
        shown = ", ".join(odd[:MAX_SHOWN]) + (", ..." if len(odd) > MAX_SHOWN else "")
        raise ValueError(
            f"torch.optim.Muon updates matrices only; {len(odd)} of {len(params.names)} parameters are none ({shown});"
            " optimizer=muon leaves those to AdamW"
        )
