"""Multiply-adds of the operations of a block, by the formulas of torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class MacCounter(TorchDispatchMode):
    """Context that counts matrix products, convolutions and attention, forward and backward.

    Unlike ``FlopCounterMode`` it has no hooks on modules, which fail where a loss computes a gradient itself.

    Attributes:
        macs: Number of multiply-adds so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.macs = 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.macs += int(formula(*args, **(kwargs or {}), out_val=output)) // 2
        return output
