"""Rules on leakage: scores that are too good, and test rows that are also training rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from trainer.analysis.diagnosis.finding import Evidence, Finding
from trainer.core.split import Split
from trainer.engine.split_digests import digest_rows

DUPLICATE_SHARE = 0.05
"""Share of the test rows that are also training rows, from which on they are suspicious."""
CHANCE_SHARE = 0.1
"""Repeats that are expected by chance, divided by those that are found, below which they are copies."""
MAX_DIGESTED_ROWS = 20_000
MAX_COLUMNS = 256
"""Number of values of a row from which the repeats by chance are estimated: more of them make repeats rarer."""


def find_leakage(evidence: Evidence) -> Iterator[Finding]:
    """Find test scores above the best possible ones, and test rows that are also training rows."""
    yield from _find_impossible_score(evidence)
    if evidence.live is None or not evidence.live.loaders["test"].is_resident:
        return
    splits = [evidence.live.loaders[name].split for name in ("train", "test")]
    if any(len(split) > MAX_DIGESTED_ROWS or len(split) < 2 for split in splits):
        return
    train, test = (digest_rows(split, MAX_DIGESTED_ROWS) for split in splits)
    if not train or not test:
        return
    training_rows = {*train}
    repeats = sum(row in training_rows for row in test)
    share, own = repeats / len(test), 1 - len({*test}) / len(test)
    if share < DUPLICATE_SHARE or not _are_copies(splits[0], share, own):
        return
    yield Finding(
        "leakage",
        f"{repeats:,} of {len(test):,} test rows are also training rows",
        {"share": share, "share repeated within the test rows": own},
        ["data.path=FILE_WITHOUT_DUPLICATES"] if "data.path" in evidence.record.config else [],
    )


def _are_copies(train: Split, share: float, own: float) -> bool:
    """Return whether repeated rows are copies, rather than rows of few distinct values that repeat by chance.

    Rows that repeat by chance do so within the test rows, too, and as often as their values let expect.

    Args:
        train: The training rows.
        share: Share of the test rows that are also training rows.
        own: Share of the test rows that repeat another test row.
    """
    if own < share / 4:
        return True
    return own < share / 2 and len(train) * estimate_chance(train) < CHANCE_SHARE * share


def estimate_chance(split: Split) -> float:
    """Return the probability that two rows have equal inputs by chance, as if their values were independent.

    Args:
        split: The rows.
    """
    batch = split.batch(torch.arange(min(len(split), MAX_DIGESTED_ROWS)), 0)
    columns = [column for value in batch.inputs.values() for column in _select_columns(value, len(batch.index))]
    return math.prod(_measure_collisions(column) for column in columns)


def _select_columns(value: Tensor, rows: int) -> Sequence[Tensor]:
    flat = value.reshape(rows, -1)
    step = max(1, -(-flat.shape[1] // MAX_COLUMNS))
    return flat[:, ::step].unbind(1)


def _measure_collisions(column: Tensor) -> float:
    """Return the probability that two of the values are equal."""
    shares = column.unique(return_counts=True)[1] / len(column)
    return float((shares**2).sum())


def _find_impossible_score(evidence: Evidence) -> Iterator[Finding]:
    results = evidence.record.results
    best = results.get("best_possible", {}).get(evidence.monitor, math.nan)
    score = results.get("test", {}).get(evidence.monitor, math.nan)
    baseline = results.get("baseline", {}).get(evidence.monitor, math.nan)
    excess = evidence.sign * (score - best)
    if not math.isfinite(excess) or not math.isfinite(baseline):
        return
    # The bound holds on average over test rows: their number decides by how much one test may exceed it.
    rows = len(evidence.live.loaders["test"].split) if evidence.live is not None else 100
    tolerance = max(0.02, 3 / math.sqrt(rows)) * abs(best - baseline)
    if excess > tolerance:
        yield Finding(
            "leakage",
            f"the test {evidence.monitor} is better than the best possible one, so that the model knows more than the"
            " inputs should tell",
            {"score": score, "best possible": best, "tolerance": tolerance},
        )
