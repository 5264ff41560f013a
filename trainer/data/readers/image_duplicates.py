"""Image files that are in the training split and in another one."""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

log = logging.getLogger(__name__)


def warn_about_duplicates(paths: Sequence[Path], train: int) -> None:
    """Log a warning if a validation or test image is a byte-wise copy of one of the first ``train`` images.

    Args:
        paths: Files of all splits, training files first.
        train: Number of training files.
    """
    pairs = find_duplicates(paths[:train], paths[train:])
    if pairs:
        log.warning(
            "%d validation or test images are also training images, such as %s and %s: scores will be too optimistic",
            len(pairs),
            *pairs[0],
        )


def find_duplicates(train_paths: Sequence[Path], heldout_paths: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Find files of both lists with equal bytes; only those of equal sizes are read.

    Args:
        train_paths: Training files.
        heldout_paths: Validation and test files.
    """
    sizes = defaultdict(list)
    for path in train_paths:
        sizes[path.stat().st_size].append(path)
    candidates = [path for path in heldout_paths if path.stat().st_size in sizes]
    same_size = [path for size in {path.stat().st_size for path in candidates} for path in sizes[size]]
    path_by_digest = {_digest(path): path for path in same_size}
    return [(path_by_digest[digest], path) for path in candidates if (digest := _digest(path)) in path_by_digest]


def _digest(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()
