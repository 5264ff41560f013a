"""The command ``train why``; imports are lazy, so that its errors need no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trainer.utils.gc_pause import pause_gc

if TYPE_CHECKING:
    from trainer.analysis.diagnosis.finding import Finding


def explain_run(arguments: Sequence[str]) -> int:
    """Run ``train why RUN [key=value ...]``.

    Args:
        arguments: Words after ``train why``.
    """
    from pathlib import Path

    from trainer.analysis.run_record import find_siblings, read_record
    from trainer.cli import verb_args
    from trainer.cli.text_columns import print_text
    from trainer.runs import run_overrides
    from trainer.runs.run_command import format_command
    from trainer.runs.run_files import MEMBERS_DIR

    saved, rest = run_overrides.load_from_args("why", arguments)
    verb_args.parse_verb_args("why", rest, {})
    record = read_record(Path(saved.run_dir))
    reason = next(iter(str(record.results.get("reason") or "").splitlines()), "")
    print_text(f"{record.path}: {record.status}{f', {reason}' if reason else ''}")
    if debug := record.results.get("debug"):
        print_text(f"debug={debug}: one step of everything says nothing about the model or its data")
        return 0
    if saved.settings.ensemble is not None:
        command = format_command("why", record.path / MEMBERS_DIR / "0", saved.settings.plugins)
        print_text(f"an ensemble has no training of its own; that of a member: {command}")
        return 0
    with pause_gc(freeze=True):
        from trainer.analysis.diagnosis import diagnose, finding, live_run
    live, problem = live_run.load_live_run(saved)
    evidence = finding.Evidence(record, live, problem, find_siblings(record))
    if problem:
        print_text(f"its data and weights cannot be looked at, only what it has recorded: {problem}")
    findings = diagnose.diagnose(evidence)
    if not any(each.is_fault for each in findings):
        print_text(f"nothing unusual: {diagnose.describe_success(evidence)}")
    for each in sorted(findings, key=lambda each: not each.is_fault):
        _print_finding(each)
    return 0


def _print_finding(found: Finding) -> None:
    from trainer.cli.text_columns import print_text

    values = (f"{name} {value if isinstance(value, str) else f'{value:.4g}'}" for name, value in found.evidence.items())
    title = found.rule.upper() if found.is_fault else f"for information, {found.rule}"
    lines = [f"{title}: {found.sentence}", f"evidence: {'; '.join(values)}"]
    lines += [f"try: {' or '.join(found.overrides)}"] if found.overrides else []
    print_text("\n\n".join(lines))
