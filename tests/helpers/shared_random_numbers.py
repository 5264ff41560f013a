"""Random numbers of a device drawn on the CPU, so that a run has the same ones on both."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

aten = torch.ops.aten
DRAWING = {
    *(aten.rand, aten.randn, aten.randint, aten.randperm, aten.rand_like, aten.randn_like, aten.randint_like),
    *(aten.normal, aten.normal_, aten.uniform_, aten.random_, aten.bernoulli, aten.bernoulli_, aten.exponential_),
    *(aten.multinomial, aten.native_dropout),
}
"""Operators that draw numbers; kernels of attention and recurrence, which may draw too, are not among them."""


class SharedRandomNumbers(TorchDispatchMode):
    """Computes operators that draw random numbers on the CPU, and copies their results to the device."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func.overloadpacket not in DRAWING or kwargs.get("generator") is not None:
            return func(*args, **kwargs)
        device = kwargs.get("device")
        tensors = [value for value in args if isinstance(value, Tensor)]
        if device is None and tensors:
            device = tensors[0].device
        if device is None or torch.device(device).type == "cpu":
            return func(*args, **kwargs)
        host_args, host_kwargs = tree_map(
            lambda value: value.cpu() if isinstance(value, Tensor) else value, (args, kwargs)
        )
        if "device" in host_kwargs:
            host_kwargs["device"] = torch.device("cpu")
        result = func(*host_args, **host_kwargs)
        if func._schema.is_mutable:
            args[0].copy_(result)
            return args[0]
        return tree_map(lambda value: value.to(device) if isinstance(value, Tensor) else value, result)
