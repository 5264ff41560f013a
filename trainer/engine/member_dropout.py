"""Dropout of members that are trained together: each has the random numbers that it would draw alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from trainer.core.dropout import draw_dropout_factors

DrawFactors = Callable[[Tensor, float, torch.Generator], Tensor]
"""Draws the factor of each value of a tensor, 0 or ``1 / (1 - p)``, with a generator."""


class DropoutRates(TorchFunctionMode):
    """Records the probability of each call of dropout, which torch computes as without this mode."""

    def __init__(self) -> None:
        super().__init__()
        self.rates: list[float] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is draw_dropout_factors:
            self.rates.append(args[1])
        elif func is F.dropout:
            _, p, is_training, is_in_place = _read_dropout(*args, **(kwargs or {}))
            self.rates += [p] if is_training and not is_in_place else []
        return func(*args, **(kwargs or {}))


class _DropoutMode(TorchFunctionMode):
    """Base class of modes that replace the calls of dropout in training."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is draw_dropout_factors:
            return self.draw_factors(draw_dropout_factors, args[0], args[1])
        if func is F.dropout:
            x, p, is_training, is_in_place = _read_dropout(*args, **(kwargs or {}))
            if is_training and not is_in_place:
                return x * self.draw_factors(_draw_torch_factors, x, p)
        return func(*args, **(kwargs or {}))

    def draw_factors(self, draw: DrawFactors, x: Tensor, p: float) -> Tensor:
        """Return the factor of each value of a tensor.

        Args:
            draw: Draws them.
            x: The tensor.
            p: Probability of a zero.
        """
        raise NotImplementedError


class WithoutDropout(_DropoutMode):
    """Leaves dropout out, so that a loss draws only its other random numbers."""

    def draw_factors(self, draw: DrawFactors, x: Tensor, p: float) -> Tensor:
        return torch.ones_like(x)


class MemberDropout(_DropoutMode):
    """Replaces dropout within ``torch.vmap`` by products with factors that the generator of each member draws.

    Args:
        generators: Generator of each member, on the CPU.
        rates: Probability of each call of dropout, for each member.

    Attributes:
        number: Number of the member in the computation, a tensor with the member dimension; set in the computation.

    Raises:
        ValueError: Members call dropout at different places.
    """

    number: Tensor

    def __init__(self, generators: Sequence[torch.Generator], rates: Sequence[Sequence[float]]):
        super().__init__()
        if len({len(own) for own in rates}) > 1:
            raise ValueError("members call dropout at different places")
        self.generators = generators
        self._rates = zip(*rates, strict=True)

    def draw_factors(self, draw: DrawFactors, x: Tensor, p: float) -> Tensor:
        # The number has the member dimension, also where the tensor has not, such as features that members share.
        return _draw_member_factors(x.detach(), self.number, draw, next(self._rates), self.generators)


class _MemberFactors(torch.autograd.Function):
    """Factors of dropout for all members, one after another."""

    @staticmethod
    def forward(*_: Any) -> Any:
        raise AssertionError("dropout of members outside of torch.vmap")

    @staticmethod
    def setup_context(ctx: Any, _: Any, output: Any) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def vmap(
        _: Any,
        in_dims: Sequence[int | None],
        x: Tensor,
        _number: Tensor,
        draw: DrawFactors,
        rates: Sequence[float],
        generators: Sequence[torch.Generator],
    ) -> tuple[Tensor, int]:
        like = x if in_dims[0] is None else x.select(in_dims[0], 0)
        return torch.stack([draw(like, p, generator) for p, generator in zip(rates, generators, strict=True)]), 0


_draw_member_factors: Callable[..., Tensor] = _MemberFactors.apply


def _draw_torch_factors(x: Tensor, p: float, generator: torch.Generator) -> Tensor:
    """Draw the factors of ``torch.nn.functional.dropout`` on the CPU, which draws none for probabilities of 0 and 1."""
    if p in (0, 1):
        return torch.full_like(x, 1 - p)
    return torch.empty_like(x).bernoulli_(1 - p, generator=generator).div_(1 - p)


def _read_dropout(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> tuple[Tensor, float, bool, bool]:
    """Return the arguments of ``torch.nn.functional.dropout``, whose names these are."""
    return input, p, training, inplace
