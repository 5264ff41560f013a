"""Rules on the curves of a run: over-fitting, and training that ended too early."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from trainer.analysis.diagnosis.finding import MIN_GAIN, Evidence, Finding, get_median
from trainer.analysis.diagnosis.length_overrides import suggest_end, suggest_length

RISE_SHARE = 0.3
"""Rise of the validation loss to the end of an over-fitted run, divided by its fall before. Among healthy runs of the
zoo it is at most 0.12.
"""
MIN_VALIDATIONS = 5
"""A curve of fewer validations is not judged."""
LATE_PART = 0.2
"""Last part of the validations, in which a run that has converged gains next to nothing."""
LATE_SHARE = 0.12
"""Share of the whole improvement in the last part from which on a run is under-trained. Of an exponential approach with
this share, nearly half as much improvement is still to come. Converged runs of the zoo have at most 0.09, and runs of
which a longer one is much better 0.15 and more.
"""
MIN_IMPROVEMENT = 0.02
"""Share of the first value by which a curve has to improve to be judged."""


def find_overfitting(evidence: Evidence) -> Iterator[Finding]:
    """Find a validation loss that rises again while the training loss still falls.

    It is a fault if the loss had risen when the best weights were chosen, which the monitored score alone decides, or
    if these weights are no better than the baseline. Later epochs do no harm, because these weights are kept.
    """
    name = "val_loss" if evidence.get_column("val_loss") else f"val_{evidence.monitor}"
    sign = -1 if name == "val_loss" else evidence.sign
    losses, train_losses = [-sign * value for value in evidence.get_column(name)], evidence.get_column("train_loss")
    if len(losses) < MIN_VALIDATIONS or not train_losses or evidence.has_several_losses:
        return
    best = min(range(len(losses)), key=losses.__getitem__)
    fall = losses[0] - losses[best]
    # The level of the end, of which a single validation may be an outlier.
    level = get_median(losses[-max(1, len(losses) // 10) :])
    share = (level - losses[best]) / fall if fall > 0 else math.inf
    # Scores of a first validation near the best one leave no fall to lose: the loss itself is the scale.
    limit = losses[best] + RISE_SHARE * max(fall, 0.1 * abs(losses[best]))
    is_worse = level > limit
    still_falls = train_losses[-1] < 0.95 * train_losses[best] if train_losses[best] > 0 else False
    if not is_worse or not still_falls:
        return
    epochs = [int(row.get("epoch", 0)) for row in evidence.record.history]
    details = {
        f"best {name.replace('_', ' ')}": -sign * losses[best],
        "at the end": -sign * level,
        "training loss then": train_losses[best],
        "training loss at the end": train_losses[-1],
        "rise / fall before": min(share, 1e6),
    }
    config = evidence.record.config
    overrides = suggest_end(config, evidence.record.history[best])
    overrides += ["model.dropout=0.3"] if config.get("model.dropout") in (0, 0.0) else []
    overrides += ["optimizer.weight_decay=1e-2"] if config.get("optimizer.weight_decay") in (0, 0.0) else []
    sentence = (
        f"it over-fits since epoch {epochs[best]}: the {name.replace('_', ' ')} gets worse while the training loss"
    )
    chosen = _find_best(evidence.val_scores, evidence.sign)
    is_before_rise = chosen is not None and losses[chosen] <= limit
    end = f"; the weights of epoch {epochs[chosen]} are kept" if is_before_rise and chosen is not None else ""
    has_learned = evidence.gain is None or evidence.gain >= MIN_GAIN
    end += "" if has_learned else ", and the model is no better than the baseline"
    is_fault = not (is_before_rise and has_learned)
    yield Finding("over-fitting", f"{sentence} still falls{end}", details, overrides, is_fault=is_fault)


def _find_best(scores: Sequence[float], sign: int) -> int | None:
    """Return the index of the best score; None if there is none."""
    return max(range(len(scores)), key=lambda index: sign * scores[index], default=None)


def find_undertraining(evidence: Evidence) -> Iterator[Finding]:
    """Find a validation score, and a validation loss if there is one, that still improved when the run ended."""
    scores = [evidence.sign * score for score in evidence.val_scores]
    losses = [-loss for loss in evidence.get_column("val_loss")]
    has_gain = evidence.gain is None or evidence.gain > 0
    if len(scores) < MIN_VALIDATIONS or evidence.record.status != "finished" or not has_gain:
        return
    # A score of few rows, such as an accuracy, rises by chance; the loss does not at the same time.
    share = min(_get_late_share(values) for values in (scores, losses) if values)
    if share < LATE_SHARE:
        return
    yield Finding(
        "under-trained",
        f"it ended while the validation {evidence.monitor} still improved",
        {"share of the improvement in the last fifth": share, "last score": evidence.val_scores[-1]},
        suggest_length(evidence.record.config, 2),
    )


def _get_late_share(values: Sequence[float]) -> float:
    """Return the share of the improvement of values, of which higher ones are better, that their last part adds."""
    start = min(len(values) - 1, math.ceil(len(values) * (1 - LATE_PART)))
    whole, late = max(values) - values[0], max(values) - max(values[:start])
    return late / whole if whole > MIN_IMPROVEMENT * abs(values[0]) else 0.0
