"""State and operators of a simulated CUDA device, see ``simulated_cuda``."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

CUDA = torch.device("cuda", 0)
aten = torch.ops.aten
WAITING = {
    *(aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten.equal, aten.is_nonzero, aten.bincount),
    *(aten._unique2, aten.unique_dim, aten.unique_consecutive, aten.unique_dim_consecutive, aten.histc),
}
"""Operators whose result has a size or a value that the host waits for."""
CPU_ARGUMENTS = {aten._pack_padded_sequence: 1, aten._pad_packed_sequence: 1}
"""Operators with an argument, by position, that must be on the CPU: lengths."""
SCALAR_ARGUMENTS = {aten.fill_, aten.masked_fill, aten.masked_fill_, aten.index_put_, aten.index_put, aten.lerp_}
"""Operators that take a scalar tensor of the CPU although they are not elementwise."""

UNORDERED = {
    *(aten._adaptive_avg_pool2d_backward, aten.adaptive_max_pool2d_backward, aten.upsample_bicubic2d_backward),
    *(aten.upsample_linear1d_backward, aten.reflection_pad1d_backward, aten.reflection_pad2d_backward),
    *(aten.grid_sampler_2d_backward, aten.histc, aten.put_, aten.kthvalue, aten._ctc_loss_backward),
}
"""Operators without a deterministic kernel on CUDA, see ``torch.use_deterministic_algorithms``."""


class DeviceGenerator(torch.Generator):
    """Generator that knows whether it is on the device, in place of ``torch.Generator``."""

    is_on_device: bool

    def __new__(cls, device: torch.device | str = "cpu") -> DeviceGenerator:
        generator = super().__new__(cls)
        generator.is_on_device = is_cuda(device)
        return generator


class MixedDeviceError(RuntimeError):
    """An operator got tensors of the CPU and of the device."""


class SimulatedCuda:
    """State of the device: its storages, its generator, and where the host waited for it."""

    def __init__(self) -> None:
        self._storages: dict[int, StorageWeakRef] = {}
        self._pinned: dict[int, StorageWeakRef] = {}
        self.generator_state = torch.Generator().manual_seed(0).get_state()
        self.waits: list[str] = []
        self.is_calling_device = False
        """Whether a function with a tensor of the device is called, whose internal tensors are on it, too."""

    def owns(self, tensor: Tensor) -> bool:
        return bool(self._storages) and _storage_key(tensor) in self._storages

    def add(self, tensor: Tensor) -> Tensor:
        return self._register(self._storages, tensor)

    def pin(self, tensor: Tensor) -> Tensor:
        return self._register(self._pinned, tensor)

    def is_pinned(self, tensor: Tensor) -> bool:
        return _storage_key(tensor) in self._pinned

    def remove(self, tensor: Tensor) -> Tensor:
        for storage in _iter_storages(tensor):
            self._storages.pop(storage._cdata, None)
        return tensor

    @staticmethod
    def _register(references: dict[int, StorageWeakRef], tensor: Tensor) -> Tensor:
        # The reference keeps the address from being used again, so that it identifies the storage.
        for key in (
            [key for key, reference in references.items() if reference.expired()] if len(references) > 999 else ()
        ):
            del references[key]
        for storage in _iter_storages(tensor):
            references.setdefault(storage._cdata, StorageWeakRef(storage))
        return tensor

    @contextmanager
    def unrecorded(self, *, on_device: bool) -> Iterator[None]:
        """Call a function of torch that would wait on the CPU only."""
        count, previous = len(self.waits), self.is_calling_device
        self.is_calling_device = on_device
        try:
            yield
        finally:
            del self.waits[count:]
            self.is_calling_device = previous

    def record_wait(self, reason: str) -> None:
        frames = [f for f in traceback.extract_stack() if "/trainer/" in f.filename or "/tests/" in f.filename]
        frames = [f for f in frames if "/simulated_" not in f.filename]
        place = frames[-1] if frames else None
        self.waits.append(
            f"{reason} at {place.filename.rpartition('/trainer/')[2]}:{place.lineno}" if place else reason
        )

    @contextmanager
    def device_generator(self) -> Iterator[None]:
        """Draw from the generator of the device within the block."""
        default = torch.default_generator
        state = default.get_state()
        default.set_state(self.generator_state)
        try:
            yield
        finally:
            self.generator_state = default.get_state()
            default.set_state(state)

    def seed(self, seed: int) -> None:
        self.generator_state = torch.Generator().manual_seed(seed).get_state()


def _iter_storages(tensor: Tensor) -> Iterator[torch.UntypedStorage]:
    if tensor.layout == torch.strided:
        yield tensor.untyped_storage()
    elif tensor.layout == torch.sparse_csr:
        for part in (tensor.crow_indices(), tensor.col_indices(), tensor.values()):
            yield part.untyped_storage()
    else:
        for part in (tensor._indices(), tensor._values()):
            yield part.untyped_storage()


def _storage_key(tensor: Tensor) -> int:
    try:
        return next(_iter_storages(tensor))._cdata
    except (NotImplementedError, RuntimeError):
        return 0  # a wrapper of torch.func, whose operators arrive with the tensor inside


def _is_unordered(packet: Any, args: tuple[Any, ...]) -> bool:
    if packet in (aten.cumsum, aten.cumsum_):
        return bool(args[0].is_floating_point())
    return packet in UNORDERED or (packet is aten.nll_loss2d_forward and args[3] != 0)


class Operators(TorchDispatchMode):
    """Checks the devices of the tensors of every operator."""

    def __init__(self, device: SimulatedCuda):
        super().__init__()
        self.device = device

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        tensors = [value for value in tree_iter((args, kwargs)) if isinstance(value, Tensor)]
        owned = [self.device.owns(tensor) for tensor in tensors]
        is_on_device = any(owned) or (not tensors and self.device.is_calling_device)
        if any(owned):
            self._check(func, args, [t for t, is_owned in zip(tensors, owned, strict=True) if not is_owned])
        is_random = torch.Tag.nondeterministic_seeded in func.tags
        generator = kwargs.get("generator")
        with self.device.device_generator() if is_on_device and is_random and generator is None else nullcontext():
            result = func(*args, **kwargs)
        if is_on_device:
            for value in tree_iter(result):
                if isinstance(value, Tensor) and not any(value is tensor for tensor in tensors):
                    self.device.add(value)
        return result

    def _check(self, func: Any, args: tuple[Any, ...], others: list[Tensor]) -> None:
        packet = func.overloadpacket
        if torch.are_deterministic_algorithms_enabled() and _is_unordered(packet, args):
            name = packet.__name__
            raise RuntimeError(f"{name}_cuda does not have a deterministic implementation, but you set ...")
        if packet in WAITING:
            self.device.record_wait(f"{packet}")
        if packet in CPU_ARGUMENTS:
            others = [value for value in others if value is not args[CPU_ARGUMENTS[packet]]]
        if packet in (aten.index, aten.index_put, aten.index_put_, aten._unsafe_index):
            indices = [index for index in args[1] if index is not None]
            if not self.device.owns(args[0]) and any(self.device.owns(index) for index in indices):
                raise MixedDeviceError("indices should be either on cpu or on the same device as the indexed tensor")
            if any(not self.device.owns(index) for index in indices):
                self.device.record_wait("an index on the CPU")
            if any(index.dtype in (torch.bool, torch.uint8) for index in indices):
                self.device.record_wait("an index of booleans")
            others = [value for value in others if not any(value is index for index in indices)]
        if packet is aten.repeat_interleave and len(args) < 3 and isinstance(args[-1], Tensor):
            self.device.record_wait("repeat_interleave without output_size")
        if packet is aten.copy_:
            is_blocking = not (self.device.owns(args[0]) and self.device.is_pinned(args[1]))
            if others and is_blocking:
                self.device.record_wait("a copy between CPU and device")
            return
        if torch.Tag.pointwise in func.tags or packet in SCALAR_ARGUMENTS:
            others = [value for value in others if value.dim()]
        if others and self.device.is_calling_device:
            # Tensors without a tensor as argument within a function of torch.
            others = [value for value in others if value.numel()]
        if others:
            shapes = ", ".join(str(tuple(value.shape)) for value in others)
            raise MixedDeviceError(f"{func}: expected all tensors to be on cuda:0; on the CPU: {shapes}")


def is_cuda(value: object) -> bool:
    """Return whether a value names the device."""
    if isinstance(value, str):
        return value == "cuda" or value.startswith("cuda:")
    return isinstance(value, torch.device) and value.type == "cuda"
