"""Rules on the data of a run: speed of loading, class balance, wrong labels."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from trainer.analysis.diagnosis.finding import Evidence, Finding
from trainer.utils.cpu import count_processors

STARVED_SHARE = 0.5
"""Share of the time of a step spent on loading from which on a run is starved: with workers it could be twice as fast.
Healthy runs of the zoo, with data in memory, spend at most 40 %, on images that are augmented.
"""
MIN_LOADING_SECONDS = 5e-3
"""Loading that is faster costs less than the workers that could do it."""
MEASURED_STEPS, MEASURED_SECONDS, PASSES = 40, 2.0, 3
RARE_SHARE = 0.1
"""Number of training rows of a class, divided by that of the largest one, from which on it is rare."""
MIN_RARE_ROWS = 5
"""Validation rows of a rare class that are enough to judge it."""
LOW_RECALL = 0.5
UNLIKELY_LABEL, CERTAIN_CLASS = 0.25, 0.75
"""The model contradicts a row whose label has less than the first probability and another class more than the other."""
NOISY_SHARE = 0.06
"""Share of the training rows that it contradicts, which points at wrong labels. Healthy runs of the zoo have at most
4 %; 12 % of wrong labels give 10 %.
"""
FITTED_PROBABILITY = 0.8
"""Median probability of the labels of a model that has fitted most rows."""


def find_starvation(evidence: Evidence) -> Iterator[Finding]:
    """Find steps that wait for data more than they compute, in each of several measurements."""
    if evidence.live is None or not evidence.record.results.get("steps"):
        return
    for _ in range(PASSES):
        loading, computing = evidence.live.measure_loader_share(MEASURED_STEPS, MEASURED_SECONDS)
        share = loading / max(loading + computing, 1e-12)
        if share < STARVED_SHARE or loading < MIN_LOADING_SECONDS:
            return
    workers = int(evidence.get_override("num_workers", 0))
    proposed = max(1, min(count_processors(), math.ceil(loading / max(computing, 1e-4))))
    yield Finding(
        "data starved",
        f"{share:.0%} of the time of a step is spent on waiting for its rows",
        {"ms of loading": 1e3 * loading, "ms of computing": 1e3 * computing, "num_workers": workers},
        [f"num_workers={proposed if proposed > workers else 2 * workers}"],
    )


def find_imbalance(evidence: Evidence) -> Iterator[Finding]:
    """Find rare classes that the model does not recognize."""
    if evidence.live is None:
        return
    targets = evidence.live.data.train.get_targets()
    if targets is None or targets.dtype != torch.long or targets.ndim != 1:
        return
    labels = evidence.live.val_labels
    if labels is None:
        return
    predicted, true = labels
    counts = targets[targets >= 0].cpu().bincount(minlength=int(true.max()) + 1)
    for index, count in enumerate(counts.tolist()):
        rows = true == index
        if not count or count > RARE_SHARE * int(counts.max()) or int(rows.sum()) < MIN_RARE_ROWS:
            continue
        recall = float((predicted[rows] == index).float().mean())
        if recall < LOW_RECALL:
            names = evidence.live.data.info.class_names
            name = names[index] if index < len(names) else index
            has_weights = "task.class_weights" in evidence.record.config
            yield Finding(
                "imbalance",
                f"class {name} is rare, and the model recognizes {recall:.0%} of it",
                {"training rows": count, "of the largest class": int(counts.max()), "recall": recall},
                ["task.class_weights=balanced"] if has_weights else [],
            )
            return


def find_label_noise(evidence: Evidence) -> Iterator[Finding]:
    """Find training rows whose labels the model contradicts after it has fitted most of the others.

    References:
        Northcutt et al., Confident Learning: Estimating Uncertainty in Dataset Labels, JAIR 2021.
    """
    found = None if evidence.live is None else evidence.live.train_probabilities
    if found is None:
        return
    probabilities, labels, rows = found
    own = probabilities.gather(1, labels[:, None])[:, 0]
    has_other_class = (own < UNLIKELY_LABEL) & (probabilities.max(1).values > CERTAIN_CLASS)
    share, median = float(has_other_class.float().mean()), float(own.median())
    if share < NOISY_SHARE or median < FITTED_PROBABILITY:
        return
    worst = rows[own.argsort()[:5]].tolist()
    has_smoothing = "task.label_smoothing" in evidence.record.config
    yield Finding(
        "label noise",
        f"{share:.0%} of {len(own)} training rows never fit: the model is certain of another class, as for rows"
        f" {', '.join(map(str, worst))}",
        {"share": share, "median probability of the labels": median},
        ["task.label_smoothing=0.1"] if has_smoothing else [],
    )
