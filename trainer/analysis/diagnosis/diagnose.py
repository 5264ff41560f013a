"""Diagnosis of a run by all rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from trainer.analysis.diagnosis.curve_rules import find_overfitting, find_undertraining
from trainer.analysis.diagnosis.data_rules import find_imbalance, find_label_noise, find_starvation
from trainer.analysis.diagnosis.divergence_rules import find_explosion, find_nonfinite_values
from trainer.analysis.diagnosis.finding import Evidence, Finding
from trainer.analysis.diagnosis.leakage_rules import find_leakage
from trainer.analysis.diagnosis.learning_rules import (
    find_dead_units,
    find_flat_loss,
    find_saturated_gates,
    find_wrong_learning_rate,
)
from trainer.analysis.diagnosis.seed_rules import find_seed_noise

RULES: Sequence[Callable[[Evidence], Iterator[Finding]]] = (
    find_nonfinite_values,
    find_explosion,
    find_flat_loss,
    find_wrong_learning_rate,
    find_dead_units,
    find_saturated_gates,
    find_overfitting,
    find_undertraining,
    find_imbalance,
    find_label_noise,
    find_leakage,
    find_seed_noise,
    find_starvation,
)
"""In the order of the report; the one that measures times comes last."""


def diagnose(evidence: Evidence) -> list[Finding]:
    """Return the findings of all rules.

    Args:
        evidence: The run.
    """
    return [finding for rule in RULES for finding in rule(evidence)]


def describe_success(evidence: Evidence) -> str:
    """Return a line about what went right: the score beside the baseline and the best possible one.

    Args:
        evidence: The run.
    """
    results, monitor = evidence.record.results, evidence.monitor
    split = "test" if monitor in results.get("test", {}) else "val"
    if monitor not in results.get(split, {}):
        return f"it is {evidence.record.status} after {results.get('steps', 0):,} steps, without a score"
    parts = [f"{split} {monitor} {results[split][monitor]:.4g}"]
    for group, name in (("baseline", "baseline"), ("best_possible", "best possible")):
        if monitor in results.get(group, {}):
            parts.append(f"{name} {results[group][monitor]:.4g}")
    best, epochs = results.get("best_epoch"), results.get("epochs")
    chosen = f", chosen at epoch {best} of {epochs}" if best else ""
    return f"{', '.join(parts)}{chosen}"
