"""Findings of ``train why`` for the page of a run: those that follow from what the run has recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trainer.analysis.run_record import RunRecord, find_siblings


@dataclass(frozen=True)
class FindingRow:
    """A finding as texts.

    Args:
        rule: Name of the rule.
        sentence: What is unusual.
        evidence: Names and values of numbers.
        overrides: Overrides of the command line to try.
        is_fault: Whether the run may be worse for it.
    """

    rule: str
    sentence: str
    evidence: Sequence[tuple[str, str]]
    overrides: Sequence[str]
    is_fault: bool


def list_findings(record: RunRecord) -> list[FindingRow] | None:
    """Return the findings of a run, faults first; None if it has recorded nothing to judge.

    Neither its data nor its weights are loaded, and nothing is trained.

    Args:
        record: Records of the run.
    """
    # Here, because the page of a directory needs no torch, which the rules import.
    from trainer.analysis.diagnosis import diagnose
    from trainer.analysis.diagnosis.finding import Evidence

    is_ended = record.status in ("failed", "killed")
    if record.results.get("debug") or not (record.history or is_ended):
        return None
    siblings = find_siblings(record) if record.status == "finished" else []
    evidence = Evidence(record, problem="a page is written without them", siblings=siblings)
    rows = [
        FindingRow(
            each.rule,
            each.sentence,
            [(name, value if isinstance(value, str) else f"{value:.4g}") for name, value in each.evidence.items()],
            each.overrides,
            each.is_fault,
        )
        for each in diagnose.diagnose(evidence)
    ]
    return sorted(rows, key=lambda row: not row.is_fault)
