"""Members of an ensemble on its page: their scores, the gain over them, and how much their predictions differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainer.analysis.run_record import RunRecord
from trainer.report.score_rows import is_number
from trainer.runs import run_dir
from trainer.runs.run_files import MEMBERS_DIR
from trainer.utils.text import escape_control_chars
from trainer.viz.ensemble_table import describe_ensemble
from trainer.viz.score_tables import format_metric_name, format_number

GROUPS = {"mean": "mean of the members", "best": "best member", "gain": "gain over the mean"}
"""Groups of scores in the results of an ensemble, with their labels."""


@dataclass(frozen=True)
class EnsembleSection:
    """Section of the page of an ensemble.

    Args:
        sentences: Gain and diversity; empty before the ensemble is scored.
        metrics: Labels of the metrics, the monitored one first.
        rows: Label and cells of the ensemble, of its mean, best and gain, and of each member.
    """

    sentences: Sequence[str]
    metrics: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]


def make_ensemble_section(record: RunRecord) -> EnsembleSection | None:
    """Return the section of the page of an ensemble; None for a run of one model.

    Args:
        record: Records of the run.
    """
    count = record.config.get("ensemble")
    if not isinstance(count, int):
        return None
    members = [run_dir.read_results(record.path / MEMBERS_DIR / str(number)) for number in range(count)]
    tests = [member.get("test") or {} for member in members]
    own, groups = record.results.get("test") or {}, record.results.get("ensemble") or {}
    monitor = record.monitor
    names = sorted(dict.fromkeys(name for scores in (own, *tests) for name in scores), key=lambda name: name != monitor)
    rows = [("ensemble", _format_row(own, names))] if own else []
    rows += [(label, _format_row(groups[group], names)) for group, label in GROUPS.items() if groups.get(group)]
    rows += [
        (_name_member(number, member), _format_row(scores, names))
        for number, (member, scores) in enumerate(zip(members, tests, strict=True))
    ]
    sentences = describe_ensemble(own, groups, monitor, count) if {*GROUPS} <= groups.keys() else ()
    return EnsembleSection([*sentences], [format_metric_name(name) for name in names], rows)


def _format_row(scores: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    values = [scores.get(name) for name in names]
    return [format_number(value) if is_number(value) else "" for value in values]


def _name_member(number: int, results: Mapping[str, Any]) -> str:
    status = str(results.get("status", "not started"))
    seed = f", seed {results['seed']}" if "seed" in results else ""
    return escape_control_chars(
        f"{MEMBERS_DIR}/{number}{seed}{'' if status == 'finished' else f', {status}'}", one_line=True
    )
