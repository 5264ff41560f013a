"""A simulated CUDA device: tensors in ordinary memory that may not be mixed with those of the CPU.

A tensor is on the device if its storage is registered here. Modes of torch intercept attributes (``device``,
``is_cuda``), transfers and every operator: one that mixes devices raises as CUDA does, one that makes the host wait for
the device is recorded, and random numbers on the device come from a generator of its own. Values are computed by the
kernels of the CPU, so this proves where tensors are, not what CUDA computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_iter

from tests.helpers.simulated_device import CUDA, DeviceGenerator, MixedDeviceError, Operators, SimulatedCuda, is_cuda

__all__ = ["CUDA", "MixedDeviceError", "SimulatedCuda", "simulate_cuda"]
FREE_BYTES = 1 << 34


class _Functions(TorchFunctionMode):
    """Answers questions about devices, and makes transfers and new tensors."""

    def __init__(self, device: SimulatedCuda):
        super().__init__()
        self.device = device
        self.handlers: dict[Any, Callable[..., Any]] = {
            Tensor.device.__get__: lambda t: CUDA if self.device.owns(t) else Tensor.device.__get__(t),  # type: ignore[attr-defined]
            Tensor.is_cuda.__get__: self.device.owns,  # type: ignore[attr-defined]
            Tensor.is_cpu.__get__: lambda t: not self.device.owns(t),  # type: ignore[attr-defined]
            Tensor.get_device: lambda t: 0 if self.device.owns(t) else -1,
            Tensor.to: self._to,
            Tensor.cpu: lambda t: self._move(t, torch.device("cpu")),
            Tensor.cuda: lambda t, *_, non_blocking=False: self._move(t, CUDA, non_blocking=non_blocking),
            Tensor.pin_memory: self._pin,
            Tensor.is_pinned: self.device.is_pinned,
            Tensor.numpy: self._require_cpu(Tensor.numpy),
            Tensor.__array__: self._require_cpu(Tensor.__array__),
            Tensor.tolist: self._tolist,
        }

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        handler = self.handlers.get(func)
        if handler is not None:
            return handler(*args, **kwargs)
        if func is torch._C._nn._parse_to:
            return func(*args, **kwargs)
        # CUDA checks the classes in the kernel, and fills with a number.
        is_fill = func is Tensor.__setitem__ and not any(isinstance(value, Tensor) for value in tree_iter(args[1:]))
        if is_fill or (func is F.one_hot and len(args) + len(kwargs) > 1):
            with self.device.unrecorded(on_device=self.device.owns(args[0])):
                return func(*args, **kwargs)
        target = kwargs.get("device")
        if is_cuda(target):
            kwargs = kwargs | {"device": torch.device("cpu")}
        for generator in (value for value in (*args, *kwargs.values()) if isinstance(value, DeviceGenerator)):
            if generator.is_on_device != (is_cuda(target) or self._has_owned(args, kwargs)):
                raise MixedDeviceError(f"{func}: the generator is not on the device of the numbers")
        is_from_host = func in (torch.tensor, torch.as_tensor, torch.asarray, Tensor.new_tensor)
        previous = self.device.is_calling_device
        found = target is None and self._has_owned(args, kwargs)
        if is_from_host and found:
            if func is Tensor.new_tensor:
                self.device.record_wait("new_tensor on the device")
            return self.device.add(func(*args, **kwargs))
        self.device.is_calling_device = found or (is_cuda(target) and not is_from_host)
        try:
            result = func(*args, **kwargs)
        finally:
            self.device.is_calling_device = previous
        if is_cuda(target) and isinstance(result, Tensor) and not self.device.owns(result):
            if is_from_host:
                self.device.record_wait(f"{func.__name__} on the device")
            result = self.device.add(result)
        return result

    def _has_owned(self, *values: Any) -> bool:
        return any(isinstance(value, Tensor) and self.device.owns(value) for value in tree_iter(values))

    def _to(self, tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if args and isinstance(args[0], Tensor):
            other = args[0]
            target, options = CUDA if self.device.owns(other) else torch.device("cpu"), {"dtype": other.dtype}
            return self._move(tensor, target, non_blocking=bool(kwargs.get("non_blocking")), **options)
        is_copy = kwargs.pop("copy", False)
        device, dtype, non_blocking, memory_format = torch._C._nn._parse_to(*args, **kwargs)
        target = device or (CUDA if self.device.owns(tensor) else torch.device("cpu"))
        options = {"dtype": dtype} | ({} if memory_format is None else {"memory_format": memory_format})
        return self._move(tensor, target, non_blocking=non_blocking, is_copy=is_copy, **options)

    def _move(
        self,
        tensor: Tensor,
        target: torch.device,
        *,
        non_blocking: bool = False,
        is_copy: bool = False,
        **options: Any,
    ) -> Tensor:
        is_owned = self.device.owns(tensor)
        if is_owned == (target.type == "cuda"):
            return tensor.to(**options, copy=is_copy) if options.get("dtype") or options or is_copy else tensor
        if is_owned and non_blocking:
            raise RuntimeError("a copy to the CPU that does not wait gives values that may not be there yet")
        if is_owned or not (non_blocking and self.device.is_pinned(tensor)):
            self.device.record_wait("a copy to the CPU" if is_owned else "a copy from pageable memory")
        result = tensor.to(**options, copy=True)
        return self.device.remove(result) if is_owned else self.device.add(result)

    def _pin(self, tensor: Tensor) -> Tensor:
        if self.device.owns(tensor):
            raise RuntimeError("cannot pin 'torch.cuda.FloatTensor' only dense CPU tensors can be pinned")
        return self.device.pin(tensor.clone())

    def _require_cpu(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def convert(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
            if self.device.owns(tensor):
                raise TypeError("can't convert cuda:0 device type tensor to numpy")
            return function(tensor, *args, **kwargs)

        return convert

    def _tolist(self, tensor: Tensor) -> Any:
        if self.device.owns(tensor):
            self.device.record_wait("tolist")
        return tensor.tolist()


@contextmanager
def simulate_cuda() -> Iterator[SimulatedCuda]:
    """Simulate one CUDA device within the block."""
    device = SimulatedCuda()
    autocast = torch.autocast

    def cpu_autocast(device_type: str, *args: Any, **kwargs: Any) -> torch.autocast:
        return autocast("cpu" if device_type == "cuda" else device_type, *args, **kwargs)

    replaced: dict[str, Callable[..., Any]] = {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "synchronize": lambda *_: device.record_wait("synchronize"),
        "mem_get_info": lambda *_: (FREE_BYTES, FREE_BYTES),
        "device": lambda *_: nullcontext(),
        "manual_seed": device.seed,
        "manual_seed_all": device.seed,
        "get_rng_state": lambda *_: device.generator_state,
        "set_rng_state": lambda state, *_: setattr(device, "generator_state", state),
        "get_rng_state_all": lambda: [device.generator_state],
        "set_rng_state_all": lambda states: setattr(device, "generator_state", states[0]),
    }
    with ExitStack() as stack:
        for name, function in replaced.items():
            stack.enter_context(patch.object(torch.cuda, name, function))
        stack.enter_context(patch.object(torch, "autocast", cpu_autocast))
        stack.enter_context(patch.object(torch.backends.cudnn, "is_acceptable", lambda *_: False))
        stack.enter_context(patch.object(torch, "Generator", DeviceGenerator))
        stack.enter_context(Operators(device))
        stack.enter_context(_Functions(device))
        yield device
