"""Part of a flat parameter vector, which an optimizer updates as if it were the whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainer.optim.flat_params import FlatParameters, Segment

ALIGNMENT = 16
"""Parts begin at multiples of it: fused kernels then compute each element as in the whole vector."""


class FlatSlice:
    """Part of the vector of a parameter group.

    Args:
        params: Parameters of the group.
        part: Slice of their vector.
    """

    def __init__(self, params: FlatParameters, part: slice):
        self.data, self.grad = params.data[part], params.grad[part]
        self._segments = [
            (segment, slice(max(whole.start, part.start) - part.start, min(whole.stop, part.stop) - part.start))
            for segment, whole in params.iter_segments()
            if whole.start < part.stop and part.start < whole.stop
        ]

    def iter_segments(self) -> Iterator[tuple[Segment, slice]]:
        """Yield the segments in order, with their slices of this part."""
        return iter(self._segments)


def split_evenly(length: int, count: int) -> Sequence[slice]:
    """Split a vector into parts of equal length, the last of which may be shorter or empty.

    Args:
        length: Length of the vector, a multiple of ``ALIGNMENT``.
        count: Number of parts.
    """
    size = -(-length // (ALIGNMENT * count)) * ALIGNMENT
    return [slice(min(length, size * number), min(length, size * (number + 1))) for number in range(count)]
