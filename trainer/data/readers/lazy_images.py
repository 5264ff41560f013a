"""Images that stay on disk and are decoded on access."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from trainer.data.readers.image_file import map_in_threads
from trainer.utils.errors import DataError, SystemFault


@dataclass(frozen=True)
class LazyImages:
    """Images decoded on access, indexed by row like a tensor.

    Args:
        paths: Image files.
        decode: Decoder of one file.
        shape: Shape of a decoded image.
        dtype: Type of a decoded image.
    """

    paths: Sequence[Path]
    decode: Callable[[Path], Tensor]
    shape: tuple[int, ...]
    dtype: torch.dtype = torch.uint8

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Decode rows to (B, *shape). Raises SystemFault, as headers were valid at the start of the run."""
        try:
            return torch.stack([self.decode(self.paths[row]) for row in rows.tolist()])
        except DataError as error:
            raise SystemFault(f"path: {error}") from error

    @property
    def nbytes(self) -> int:
        return len(self) * math.prod(self.shape) * self.dtype.itemsize

    def slice_rows(self, rows: slice) -> LazyImages:
        return replace(self, paths=self.paths[rows])

    def load_all(self) -> Tensor:
        """Decode all images to (N, *shape) in threads.

        Raises:
            DataError: Images cannot be read; the message lists their files.
        """
        images = torch.empty(len(self), *self.shape, dtype=self.dtype)

        def decode_row(row: int) -> None:
            images[row] = self.decode(self.paths[row])

        map_in_threads(decode_row, range(len(self)))
        return images
