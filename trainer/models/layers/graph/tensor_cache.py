"""What a model prepares once and uses at every step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast
from weakref import ref

import torch
from torch import Tensor

ResultT = TypeVar("ResultT")


class TensorCache:
    """What was made from tensors, kept while those very tensors live and are not changed in place.

    Preparing a graph costs more than a step on it, and a data set hands out the same tensors every time. Nothing is
    kept of a tensor that is learned; nothing goes into a copy, a pickle or a state_dict.
    """

    def __init__(self) -> None:
        self._entries: dict[Any, tuple[list[tuple[Callable[[], Tensor | None], int]], Any]] = {}

    def __call__(self, make: Callable[..., ResultT], *given: Any) -> ResultT:
        """``make(*given)``, or what it gave for these same arguments before."""
        tensors = [value for value in given if isinstance(value, Tensor)]
        if torch.is_inference_mode_enabled() or any(t.requires_grad or t.is_inference() for t in tensors):
            return make(*given)
        key = (make, *(id(value) if isinstance(value, Tensor) else value for value in given))
        seen, kept = self._entries.get(key, ((), None))
        if seen and all(who() is t and version == t._version for (who, version), t in zip(seen, tensors, strict=True)):
            return cast(ResultT, kept)
        self._entries = {
            k: entry for k, entry in self._entries.items() if all(who() is not None for who, _ in entry[0])
        }
        made = make(*given)
        assert all(made is not value for value in tensors), "what is kept must not keep the tensors it is kept for"
        self._entries[key] = [(ref(t), t._version) for t in tensors], made
        return made

    def __reduce__(self) -> tuple[type[TensorCache], tuple[()]]:
        return TensorCache, ()
