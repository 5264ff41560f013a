"""Cache for values computed from constant tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast
from weakref import ref

import torch
from torch import Tensor

ResultT = TypeVar("ResultT")


class TensorCache:
    """Cache of results keyed by input tensors, valid while those tensors live and are not modified in place.

    Preparing a graph costs more than a training step on it, and a data set returns the same tensors in every epoch.
    Results of tensors that require a gradient are not cached; copies, pickles and state_dicts exclude the cache.
    """

    def __init__(self) -> None:
        self._entries: dict[Any, tuple[list[tuple[Callable[[], Tensor | None], int]], Any]] = {}

    def __call__(self, make: Callable[..., ResultT], *args: Any) -> ResultT:
        """Return ``make(*args)``, or its cached result for the same arguments."""
        if torch.compiler.is_exporting():
            return make(*args)
        tensors = [value for value in args if isinstance(value, Tensor)]
        if torch.is_inference_mode_enabled() or any(t.requires_grad or t.is_inference() for t in tensors):
            return make(*args)
        key = (make, *(id(value) if isinstance(value, Tensor) else value for value in args))
        cached_for, cached = self._entries.get(key, ((), None))
        if cached_for and all(
            r() is t and version == t._version for (r, version), t in zip(cached_for, tensors, strict=True)
        ):
            return cast(ResultT, cached)
        self._entries = {k: entry for k, entry in self._entries.items() if all(r() is not None for r, _ in entry[0])}
        result = make(*args)
        assert all(result is not value for value in tensors), "a cached result must not reference its input tensors"
        self._entries[key] = [(ref(t), t._version) for t in tensors], result
        return result

    def __reduce__(self) -> tuple[type[TensorCache], tuple[()]]:
        return TensorCache, ()
