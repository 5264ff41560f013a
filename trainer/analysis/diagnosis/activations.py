"""Activations of a model: dead units, saturated gates and the first values that are not finite, by layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

RELU, SATURATING = "relu", "gate"
SATURATION = 0.98
"""A sigmoid above this value or below 1 minus it is saturated: its derivative is less than 8 % of the largest one.
A hyperbolic tangent is a sigmoid of range 2 and is judged alike.
"""
MAX_GATE_STEPS = 64
"""Number of steps of a sequence for which the gates of a recurrent layer are computed."""


@dataclass(frozen=True)
class LayerActivations:
    """Result of a function within a module.

    Args:
        module: Dotted name of the innermost module.
        function: Name of the function, such as ``relu``.
        kind: ``relu``, ``gate`` for saturating functions, or empty.
        units: Number of units (the second dimension of images, the last one otherwise).
        dead: Share of the units that are 0 for every row and position; 0 for other kinds.
        saturated: Share of the values that are saturated; 0 for other kinds.
        is_finite: Whether all values are finite.
    """

    module: str
    function: str
    kind: str
    units: int
    dead: float
    saturated: float
    is_finite: bool


class ActivationRecorder(TorchFunctionMode):
    """Records the results of all functions of torch within the block, by the module that calls them.

    Functions are observed rather than modules, because models call ``F.relu`` and ``torch.lstm`` directly.

    Args:
        root: Module whose submodules are named.
    """

    def __init__(self, root: nn.Module):
        super().__init__()
        self.layers: list[LayerActivations] = []
        self._root = root
        self._names: list[str] = []
        self._depth = 0
        self._hooks = ExitStack()

    def __enter__(self) -> Self:
        for name, module in self._root.named_modules():
            self._hooks.callback(module.register_forward_pre_hook(self._make_enter_hook(name)).remove)
            self._hooks.callback(module.register_forward_hook(self._leave, always_call=True).remove)
        super().__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, traceback)
        self._hooks.close()

    def _make_enter_hook(self, name: str) -> Callable[..., None]:
        return lambda *_: self._names.append(name)

    def _leave(self, *_: object) -> None:
        self._names.pop()

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self._depth += 1
        try:
            result = func(*args, **(kwargs or {}))
        finally:
            self._depth -= 1
        if not self._depth and self._names:
            self._record(getattr(func, "__name__", ""), result, args)
        return result

    def _record(self, function: str, result: Any, args: Sequence[Any]) -> None:
        module = self._names[-1]
        values = result[0] if isinstance(result, tuple) and result else result
        if not isinstance(values, Tensor) or not values.is_floating_point() or not values.numel() or not values.ndim:
            return
        is_finite = bool(values.isfinite().all())
        kind, dead, saturated = _KINDS.get(function, ""), 0.0, 0.0
        if kind == RELU:
            dead = find_dead_share(values)
        elif kind == SATURATING:
            saturated = find_saturated_share(values, is_tanh=function == "tanh")
        elif function in ("lstm", "gru"):
            kind, saturated = SATURATING, _measure_gates(function, args)
        if kind or not is_finite:
            units = values.shape[1] if values.ndim == 4 else values.shape[-1]
            self.layers.append(LayerActivations(module, function, kind, units, dead, saturated, is_finite))


_KINDS = {"relu": RELU, "relu_": RELU, "sigmoid": SATURATING, "tanh": SATURATING, "sigmoid_": SATURATING}


def find_dead_share(values: Tensor) -> float:
    """Return the share of units that are 0 for every row and position.

    Args:
        values: Outputs of a ReLU, (B, C, H, W) or (..., C).
    """
    positive = values > 0
    is_alive = positive.flatten(2).any(2).any(0) if values.ndim == 4 else positive.reshape(-1, values.shape[-1]).any(0)
    return 1.0 - float(is_alive.float().mean())


def find_saturated_share(values: Tensor, *, is_tanh: bool) -> float:
    """Return the share of the values of a sigmoid or hyperbolic tangent that are near its bounds.

    Args:
        values: Results (...).
        is_tanh: Whether they are in (-1, 1) rather than (0, 1).
    """
    scaled = (values + 1) / 2 if is_tanh else values
    return float(((scaled > SATURATION) | (scaled < 1 - SATURATION)).float().mean())


def _measure_gates(function: str, args: Sequence[Any]) -> float:
    """Return the share of the gates of the first layer of an LSTM or GRU that are saturated, forward direction.

    Args:
        function: ``lstm`` or ``gru``.
        args: Arguments of ``torch.lstm`` or ``torch.gru`` with ``batch_first``: x (B, T, F), initial state, weights.
    """
    x, weights = args[0], args[2]
    if not isinstance(x, Tensor) or x.ndim != 3 or not isinstance(weights, list | tuple) or len(weights) < 4:
        return 0.0
    w_ih, w_hh, b_ih, b_hh = weights[:4]
    hidden = w_hh.shape[1]
    h = c = x.new_zeros(len(x), hidden)
    shares = []
    for step in x.unbind(1)[:MAX_GATE_STEPS]:
        gates = torch.addmm(b_ih + b_hh, step, w_ih.T) + h @ w_hh.T
        sigmoids = (
            torch.cat([gates[:, : 2 * hidden], gates[:, 3 * hidden :]], 1)
            if function == "lstm"
            else gates[:, : 2 * hidden]
        )
        shares.append(find_saturated_share(sigmoids.sigmoid(), is_tanh=False))
        if function == "lstm":
            h, c = torch.lstm_cell(step, (h, c), w_ih, w_hh, b_ih, b_hh)
        else:
            h = torch.gru_cell(step, h, w_ih, w_hh, b_ih, b_hh)
    return sum(shares) / len(shares)
