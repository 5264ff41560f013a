"""Rules for runs that do not learn: flat loss, learning rate, dead units, saturated gates."""

from __future__ import annotations

import math
from collections.abc import Iterator

from trainer.analysis.diagnosis.activations import LayerActivations
from trainer.analysis.diagnosis.finding import MIN_GAIN, Evidence, Finding, format_number
from trainer.analysis.diagnosis.length_overrides import suggest_length

SURE_GAIN = 0.5
"""Share from which on a model has learned, whatever its loss: that of a few hundred rows is at most 0.2 by chance."""
FLAT_SHARE = 0.05
"""A training loss that has fallen by less than this share of its first value is flat."""
USUAL_RATIO = 1e-3
"""Usual norm of an update divided by that of the weights (Karpathy, A Recipe for Training Neural Networks, 2019). In
healthy runs of the zoo it lies between 1e-3 and 2e-2.
"""
SMALL_RATIO, LARGE_RATIO = 2e-5, 0.2
"""Ratios far outside the healthy range: a thousand updates change the weights by 2 %, or five replace them."""
LARGE_GROWTH = 50.0
"""Growth of the norm of a parameter that only steps far too large cause. It is at most 11 in healthy runs, that of
embeddings with small initial values.
"""
MAX_LR_CHANGE = 1000.0
"""Largest factor by which a learning rate that is too large is reduced."""
FEW_STEPS = 100
"""Number of steps in which hardly any model learns something, so that more of them are the first thing to try."""
LONGER = 10
"""Factor by which a run of so few steps is made longer."""
MIN_DEAD_SHARE, MIN_UNITS = 0.9, 8
"""A layer of at least 8 units with 90 % of them dead passes on next to nothing (Lu et al., Dying ReLU and
Initialization, 2019). At most 51 % are dead in healthy runs.
"""
MIN_SATURATED_SHARE = 0.8
"""Share of saturated gates at which next to no gradient passes. At most 30 % are saturated in healthy runs."""


def is_not_learning(evidence: Evidence) -> bool:
    """Return whether a run has not learned anything: its losses are flat, or no lower than those before training.

    A small gain over the baseline may be chance, or that of the initial weights.
    """
    if not evidence.get_column("train_loss"):
        return False
    has_gain = evidence.gain is not None and evidence.gain >= MIN_GAIN
    has_sure_gain = evidence.gain is not None and evidence.gain >= SURE_GAIN
    return (not has_gain and _is_flat(evidence)) or (not has_sure_gain and _is_as_untrained(evidence))


def _is_flat(evidence: Evidence) -> bool:
    """Return whether the losses of a run have hardly fallen.

    Without a baseline, neither its training loss nor its validation score has changed. Several losses against each
    other, as of a GAN, say nothing, so that the score alone counts.
    """
    losses, scores = evidence.get_column("train_loss"), evidence.val_scores
    has_flat_loss = (losses[0] - min(losses)) < FLAT_SHARE * abs(losses[0])
    if evidence.gain is not None and not evidence.has_several_losses:
        return has_flat_loss
    if len(scores) < 3:
        return False
    improvement = max(evidence.sign * score for score in scores) - evidence.sign * scores[0]
    has_flat_scores = improvement < FLAT_SHARE * abs(scores[0])
    return has_flat_scores and (has_flat_loss or evidence.has_several_losses)


def _is_as_untrained(evidence: Evidence) -> bool:
    """Return whether the loss of training rows is no lower with the last weights than with the initial ones."""
    if evidence.live is None or evidence.has_several_losses:
        return False
    before, after = evidence.live.sample_losses
    return math.isfinite(before) and not after < before - FLAT_SHARE * abs(before)


def find_flat_loss(evidence: Evidence) -> Iterator[Finding]:
    """Find a run that has not learned anything."""
    if not is_not_learning(evidence):
        return
    losses = evidence.get_column("train_loss")
    details = {"first training loss": losses[0], "lowest training loss": min(losses)}
    if _is_flat(evidence):
        flat = f"validation {evidence.monitor}" if evidence.has_several_losses else "training loss"
        reason = f"the {flat} is flat"
    else:
        assert evidence.live is not None  # its losses were compared
        before, after = evidence.live.sample_losses
        details |= {"loss of training rows before": before, "after training": after}
        reason = "the loss of training rows is no lower than before training"
    if evidence.gain is not None:
        details["gain over the baseline"] = evidence.gain
        reason += ", and the model is no better than the baseline" if evidence.gain < MIN_GAIN else ""
    steps = int(evidence.record.results.get("steps") or 0)
    details["steps"] = steps
    yield Finding("not learning", f"it is not learning: {reason}", details, _suggest_change(evidence, steps))


def _suggest_change(evidence: Evidence, steps: int) -> list[str]:
    """Return overrides for a run that has not learned anything; none if another rule knows the cause."""
    causes = (find_wrong_learning_rate, find_dead_units, find_saturated_gates)
    if any(True for find_cause in causes for _ in find_cause(evidence)):
        return []
    longer = suggest_length(evidence.record.config, LONGER)
    if 0 < steps < FEW_STEPS and longer:
        return longer
    lr = evidence.get_override("optimizer.lr", math.nan)
    return [f"optimizer.lr={format_number(lr * factor)}" for factor in (10, 0.1) if math.isfinite(lr)]


def find_wrong_learning_rate(evidence: Evidence) -> Iterator[Finding]:
    """Find a learning rate far too small or too large, if a run has not learned anything.

    Without the objects of the run, the update ratios that its validations have recorded are looked at.
    """
    has_no_gain = evidence.gain is not None and evidence.gain < MIN_GAIN
    if not (has_no_gain or is_not_learning(evidence)):
        return
    live = evidence.live
    is_blocked = live is not None and any(_is_dead(layer) or _is_saturated(layer) for layer in live.layers)
    lr = evidence.get_override("optimizer.lr", math.nan)
    for group, ratio in (evidence.recorded_update_ratios if live is None else live.update_ratios).items():
        growth = 1.0 if live is None else max(live.measure_growth().values(), default=1.0)
        details = {"update / weights": ratio} | ({} if live is None else {"growth of the weights": growth})
        details["optimizer.lr"] = lr
        if 0 < ratio < SMALL_RATIO and growth < LARGE_GROWTH and not is_blocked:
            factor = USUAL_RATIO / max(ratio, 1e-12)
            sentence = f"the learning rate is too small: an update changes the weights of {group} by {ratio:.0e} of"
            sentence += f" their norm, where about {USUAL_RATIO:.0e} is usual"
        elif ratio > LARGE_RATIO or growth > LARGE_GROWTH:
            factor = max(1 / MAX_LR_CHANGE, min(0.1, USUAL_RATIO / max(ratio, 1e-12)))
            sentence = f"the learning rate is too large: an update changes the weights of {group} by {ratio:.0e} of"
            sentence += " their norm" if live is None else f" their norm, which has grown {growth:.0f}-fold"
        else:
            continue
        overrides = [f"optimizer.lr={format_number(lr * factor)}"] if math.isfinite(lr) else []
        yield Finding("learning rate", sentence, details, overrides)


def find_dead_units(evidence: Evidence) -> Iterator[Finding]:
    """Find the first layer of which almost all units are 0 for every row."""
    layers = [] if evidence.live is None else evidence.live.layers
    for layer in layers:
        if _is_dead(layer):
            lr = evidence.get_override("optimizer.lr", math.nan)
            overrides = [f"optimizer.lr={format_number(lr / 10)}"] if math.isfinite(lr) else []
            overrides += ["model.activation=gelu"] if "model.activation" in evidence.record.config else []
            yield Finding(
                "dead units",
                f"{layer.dead:.0%} of the {layer.units} units of {layer.module} are 0 for every training row looked at"
                " and get no gradient",
                {"dead share": layer.dead, "units": layer.units},
                overrides,
            )
            return


def find_saturated_gates(evidence: Evidence) -> Iterator[Finding]:
    """Find the first recurrent layer or sigmoid of which almost all values are at a bound."""
    layers = [] if evidence.live is None else evidence.live.layers
    for layer in layers:
        if _is_saturated(layer):
            lr = evidence.get_override("optimizer.lr", math.nan)
            overrides = [*([f"optimizer.lr={format_number(lr / 10)}"] if math.isfinite(lr) else []), "grad_clip=1"]
            what = "gates" if layer.function in ("lstm", "gru") else f"values of the {layer.function}"
            yield Finding(
                "saturated gates",
                f"{layer.saturated:.0%} of the {what} of {layer.module} are saturated, so that next to no gradient"
                " passes",
                {"saturated share": layer.saturated, "units": layer.units},
                overrides,
            )
            return


def _is_dead(layer: LayerActivations) -> bool:
    return layer.dead >= MIN_DEAD_SHARE and layer.units >= MIN_UNITS


def _is_saturated(layer: LayerActivations) -> bool:
    return layer.saturated >= MIN_SATURATED_SHARE and layer.units >= MIN_UNITS
