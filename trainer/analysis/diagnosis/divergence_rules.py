"""Rules for losses and gradients that explode or are not finite: which rows, which layer."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping

from trainer.analysis.diagnosis.finding import Evidence, Finding, format_number, get_median
from trainer.analysis.diagnosis.replay import Failure, Replay, find_failing_batch, replay_failure

LARGE_LOSS = 10.0
"""Training loss at the end, divided by the first one, of a run that has exploded."""
LARGE_NORM = 100.0
"""Gradient norm of an epoch, divided by the median, of a run that has exploded. At most 10 in healthy runs."""
MIN_GROWTH = 20.0
"""Growth of the norm of a parameter that only exploding updates cause: at most 11 in healthy runs."""
_GRADIENT = re.compile(r"first non-finite gradient: (\S+)")


def find_nonfinite_values(evidence: Evidence) -> Iterator[Finding]:
    """Find the rows and the layer in which the first value that is not finite occurs, if the weights are ordinary."""
    replay = _replay(evidence)
    if replay is None or has_exploded(evidence):
        return
    failure = replay.failure
    if failure is None or not failure.rows:
        yield _describe_unexplained(evidence, replay)
        return
    rows, layer = failure.rows, failure.layer
    shown = ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")
    where = f"; the first such value is in {layer.module or 'the model'} ({layer.function})" if layer else ""
    verbs = ("holds", "gives") if len(rows) == 1 else ("hold", "give")
    cause = f"{verbs[0]} a value" if failure.has_nonfinite_inputs else f"{verbs[1]} a loss"
    skipped = evidence.record.results.get("skipped_updates") or 0
    when = f" and made {skipped} updates be skipped" if failure.step is None else f" at step {failure.step}"
    subject = f"training row{'s' if len(rows) > 1 else ''} {shown} {cause} that is not finite{when}"
    details: dict[str, float | str] = {"rows": shown, "largest input of these rows": failure.largest_input}
    details |= {"skipped updates": skipped} if failure.step is None else {"step": failure.step}
    overrides = [] if failure.step is None else ["on_nonfinite=skip"]
    yield Finding("NaN", f"{subject}{where}", details, overrides)


def _describe_unexplained(evidence: Evidence, replay: Replay) -> Finding:
    """Describe values that are not finite, of which neither rows nor growing weights are known to be the cause."""
    failure = replay.failure
    if failure is None:
        skipped = evidence.record.results.get("skipped_updates") or 0
        what = f"{skipped} updates were skipped" if skipped else "a loss or gradient was not finite"
        recorded = {"skipped updates": skipped} if skipped else {"recorded": _get_reason(evidence)}
        sentence = f"{what}, but this could not be reproduced: {replay.problem}"
        return Finding("NaN", sentence, recorded, is_fault=not skipped)
    when = "of a batch" if failure.step is None else f"of step {failure.step}"
    sentence = f"the loss or gradient {when} is not finite, but the loss of each row alone is, and no weight"
    details = {"growth of the weights": failure.growth, "rows": failure.batch_size}
    overrides = [] if failure.step is None else ["on_nonfinite=skip"]
    return Finding("NaN", f"{sentence} has grown {MIN_GROWTH:g}-fold", details, overrides)


def find_explosion(evidence: Evidence) -> Iterator[Finding]:
    """Find a run whose weights or losses have grown without bound, and the layer that has grown most."""
    if not has_exploded(evidence):
        return
    replay = _replay(evidence)
    failure = None if replay is None else replay.failure
    losses, norms = evidence.get_column("train_loss"), evidence.get_column("grad_norm")
    lr = evidence.get_override("optimizer.lr", math.nan)
    layer, growth = _find_growing_layer(evidence, failure)
    details: dict[str, float | str] = {"layer": layer, "growth of its norm": growth}
    if losses:
        details |= {"first training loss": losses[0], "last training loss": losses[-1]}
    if norms:
        details |= {"median gradient norm": get_median(norms), "largest gradient norm": max(norms)}
    overrides = ["grad_clip=1", *([f"optimizer.lr={format_number(lr / 10)}"] if math.isfinite(lr) else [])]
    grown = f", whose norm has grown {growth:.3g}-fold" if math.isfinite(growth) else ""
    yield Finding("exploding", f"it explodes, first in {layer}{grown}", details, overrides)


def has_exploded(evidence: Evidence) -> bool:
    """Return whether the weights of a run that was not finite have grown, or the recorded losses.

    A failure of few rows has another cause, whatever the weights.
    """
    replay = _replay(evidence)
    failure = None if replay is None else replay.failure
    if failure is not None and failure.rows:
        return len(failure.rows) > failure.batch_size / 2 and failure.growth > MIN_GROWTH
    growth = 1.0 if replay is None else max(_measure_growth(evidence, failure).values(), default=1.0)
    return growth > MIN_GROWTH or (not evidence.has_several_losses and _has_large_loss(evidence))


def _has_large_loss(evidence: Evidence) -> bool:
    losses, norms = evidence.get_column("train_loss"), evidence.get_column("grad_norm")
    if not losses or losses[0] <= 0:
        return False
    is_high = losses[-1] > LARGE_LOSS * min(losses[0], min(losses) * 2)
    return is_high or (bool(norms) and max(norms) > LARGE_NORM * get_median(norms) and losses[-1] > 2 * min(losses))


def _is_nonfinite(evidence: Evidence) -> bool:
    return _get_reason(evidence).startswith("NonFiniteError")


def _get_reason(evidence: Evidence) -> str:
    """Return the first line of the reason for which a run ended; empty if there is none."""
    return next(iter(str(evidence.record.results.get("reason") or "").splitlines()), "")


def _replay(evidence: Evidence) -> Replay | None:
    """Search for the failure of a run; None if all its losses and gradients were finite."""
    has_skipped = bool(evidence.record.results.get("skipped_updates"))
    if not has_skipped and not _is_nonfinite(evidence):
        return None
    if evidence.live is None:
        return Replay(None, f"its data and weights cannot be looked at: {evidence.problem or 'they are not loaded'}")
    return find_failing_batch(evidence.live) if has_skipped else replay_failure(evidence.live)


def _find_growing_layer(evidence: Evidence, failure: Failure | None) -> tuple[str, float]:
    """Return the parameter that has grown most, or the first one without a finite gradient."""
    growth = _measure_growth(evidence, failure)
    if growth:
        name = max(growth, key=growth.__getitem__)
        return name, growth[name]
    match = _GRADIENT.search(str(evidence.record.results.get("reason")))
    return match.group(1) if match else "a layer that is not known", math.nan


def _measure_growth(evidence: Evidence, failure: Failure | None) -> Mapping[str, float]:
    """Return the growth of the norm of each parameter at a failure, or else at the end; empty if it is not known."""
    if failure is not None:
        return failure.growth_by_name
    return {} if evidence.live is None else evidence.live.measure_growth()
