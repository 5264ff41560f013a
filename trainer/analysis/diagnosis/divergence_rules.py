"""Rules for losses and gradients that explode or are not finite: which rows, which layer."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from trainer.analysis.diagnosis.finding import Evidence, Finding, format_number, get_median
from trainer.analysis.diagnosis.replay import Failure, find_failing_batch, replay_failure

LARGE_LOSS = 10.0
"""Training loss at the end, divided by the first one, of a run that has exploded."""
LARGE_NORM = 100.0
"""Gradient norm of an epoch, divided by the median, of a run that has exploded. At most 10 in healthy runs."""
MIN_GROWTH = 50.0
"""Growth of the norm of a parameter that only exploding updates cause: at most 11 in healthy runs."""
_GRADIENT = re.compile(r"first non-finite gradient: (\S+)")


def find_nonfinite_values(evidence: Evidence) -> Iterator[Finding]:
    """Find the rows and the layer in which the first value that is not finite occurs, if the weights are ordinary."""
    failure = _replay(evidence)
    if failure is None or evidence.live is None:
        return
    rows, layer = failure.rows, failure.layer
    if not rows or (len(rows) > failure.batch_size / 2 and failure.growth > MIN_GROWTH):
        return
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


def find_explosion(evidence: Evidence) -> Iterator[Finding]:
    """Find a run whose weights or losses have grown without bound, and the layer that has grown most."""
    failure = _replay(evidence)
    losses, norms = evidence.get_column("train_loss"), evidence.get_column("grad_norm")
    has_exploded = _has_exploded(evidence) if not evidence.has_several_losses else False
    if failure is not None:
        has_exploded = not failure.rows or (len(failure.rows) > failure.batch_size / 2 and failure.growth > MIN_GROWTH)
    elif _is_nonfinite(evidence):  # and cannot be replayed
        has_exploded = True
    if not has_exploded:
        return
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


def _has_exploded(evidence: Evidence) -> bool:
    losses, norms = evidence.get_column("train_loss"), evidence.get_column("grad_norm")
    if not losses or losses[0] <= 0:
        return False
    is_high = losses[-1] > LARGE_LOSS * min(losses[0], min(losses) * 2)
    return is_high or (bool(norms) and max(norms) > LARGE_NORM * get_median(norms) and losses[-1] > 2 * min(losses))


def _is_nonfinite(evidence: Evidence) -> bool:
    return str(evidence.record.results.get("reason") or "").startswith("NonFiniteError")


def _replay(evidence: Evidence) -> Failure | None:
    if evidence.live is None:
        return None
    if evidence.record.results.get("skipped_updates"):
        return find_failing_batch(evidence.live)
    return replay_failure(evidence.live) if _is_nonfinite(evidence) else None


def _find_growing_layer(evidence: Evidence, failure: Failure | None) -> tuple[str, float]:
    """Return the parameter that has grown most, or the first one without a finite gradient."""
    if evidence.live is not None:
        growth = {
            name: math.inf if math.isnan(value) else value for name, value in evidence.live.measure_growth().items()
        }
        if failure is not None:
            growth = dict(failure.growth_by_name)
        name = max(growth, key=growth.__getitem__)
        return name, growth[name]
    match = _GRADIENT.search(str(evidence.record.results.get("reason")))
    return match.group(1) if match else "a layer that is not known", math.nan
