"""Test rows of a run: what each contributes to the test scores, in ``test_rows.npz``."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer.stats.row_bootstrap import TRANSFORMS, RowTerms
from trainer.utils import atomic_write

if TYPE_CHECKING:
    from trainer.engine.dataloader import Loader
    from trainer.engine.row_recorder import RecordedRows
    from trainer.engine.trainer import Trainer

log = logging.getLogger(__name__)

FILE = "test_rows.npz"
VERSION = 1
"""Version of the file's format."""
KINDS = ("numerators", "denominators")


@dataclass(frozen=True)
class TestRows:
    """What each test row contributes to the test scores of a run.

    Attributes:
        rows: Number of each row within the split (N,).
        targets: Checksum of the targets of each row (N,).
        terms: Terms of each metric, by name.
    """

    rows: np.ndarray
    targets: np.ndarray
    terms: Mapping[str, RowTerms]

    def has_same_rows(self, other: TestRows) -> bool:
        """Return whether the rows and their targets are those of another run."""
        # The targets of a row are summed in another order where rows have another batch.
        return np.array_equal(self.rows, other.rows) and np.allclose(self.targets, other.targets, rtol=1e-9)


def evaluate_test(trainer: Trainer, loader: Loader, path: Path | None) -> dict[str, float]:
    """Return the metrics of the test split, and write what each row contributes to them, if the task tells rows apart.

    Args:
        trainer: Trainer with the best weights.
        loader: Loader of the test split.
        path: The run directory; None on a process that writes no files.

    Raises:
        SystemFault: The file cannot be written.
    """
    from trainer.engine import evaluation
    from trainer.engine.row_recorder import RowRecorder

    recorder = RowRecorder()
    on_batch_end = partial(trainer.callbacks.on_evaluation_batch_end, trainer)
    group = trainer.strategy.evaluation_group
    with trainer.ema_weights():
        scores = evaluation.evaluate_split(trainer.task, loader, trainer.settings, on_batch_end, group, recorder)
    scores = trainer.strategy.share_scores(scores)
    recorded = None if path is None else recorder.collect(scores)
    if path is not None and recorded is not None:
        write_rows(path, recorded)
    return scores


def write_rows(path: Path, recorded: RecordedRows) -> None:
    """Write the test rows of a run.

    Args:
        path: The run directory.
        recorded: What each row contributes to the metrics.

    Raises:
        SystemFault: The file cannot be written.
    """
    rows, targets = recorded.rows.numpy(), recorded.targets.numpy()
    arrays: dict[str, Any] = {"version": np.array(VERSION), "rows": rows, "targets": targets}
    for name, terms in recorded.terms.items():
        for kind, values in zip(KINDS, (terms.numerators, terms.denominators), strict=True):
            arrays[f"{kind}/{terms.transform}/{name}"] = values.double().numpy()
    with atomic_write.replace_file(path / FILE) as temporary:
        np.savez_compressed(temporary, **arrays)


def read_rows(path: Path, metric: str | None = None) -> TestRows | None:
    """Read the test rows of a run directory; None if it has none or they cannot be read, which is logged.

    Args:
        path: The run directory.
        metric: Name of the only metric whose terms are read; None for all.
    """
    file = path / FILE
    if not os.path.isfile(file):
        return None
    try:
        with open(file, "rb") as opened:
            return _parse_rows(np.load(opened, allow_pickle=False), metric)
    except Exception as error:  # of a damaged file: any of those of zlib, of zipfile and of the parser of a header
        log.warning("%s is not read: %s", file, str(error) or type(error).__name__)
        return None


def _parse_rows(arrays: object, metric: str | None) -> TestRows:
    """Build the test rows from a file, whose arrays are read one by one. Raises an exception for another format."""
    if not isinstance(arrays, np.lib.npyio.NpzFile):
        raise ValueError("it is a single array, not an archive of them")
    version = arrays["version"]
    if version.shape != () or int(version) != VERSION:
        raise ValueError(f"its version is not {VERSION}; a newer version of the program has written it")
    rows, targets = arrays["rows"], arrays["targets"]
    terms = {}
    for key in arrays.files:
        kind, _, rest = key.partition("/")
        transform, _, name = rest.partition("/")
        if kind == KINDS[0] and transform in TRANSFORMS and metric in (None, name):
            numerators, denominators = (arrays[f"{part}/{rest}"] for part in KINDS)
            terms[name] = RowTerms(numerators, denominators, transform)
    columns = [rows, targets, *(column for term in terms.values() for column in (term.numerators, term.denominators))]
    is_right = [value.ndim == 1 and value.shape == rows.shape and value.dtype.kind in "iuf" for value in columns]
    if not all(is_right) or not rows.size:
        raise ValueError("its arrays are not those of test rows")
    return TestRows(rows, targets, terms)
