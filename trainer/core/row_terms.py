"""What each row of a split contributes to a metric."""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from trainer.core.batch import Batch

Transform = Literal["mean", "sqrt", "exp"]
"""Function of a mean over rows that gives a metric; ``mean`` is the mean itself."""


class MetricTerms(NamedTuple):
    """Terms of a metric that is ``transform(sum of numerators / sum of denominators)``.

    Attributes:
        numerators: Numerator of each row (B,), such as a sum of losses.
        denominators: Denominator of each row (B,), such as the number of targets that are not ignored.
        transform: The function.
    """

    numerators: Tensor
    denominators: Tensor
    transform: Transform = "mean"


@runtime_checkable
class RowTermCollector(Protocol):
    """Protocol of tasks with metrics to which every row contributes by itself."""

    def collect_row_terms(self, batch: Batch) -> dict[str, MetricTerms]:
        """Return the terms of the rows of a batch, by metric; metrics that need all rows at once are left out."""
