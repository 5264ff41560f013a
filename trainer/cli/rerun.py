"""The command ``train rerun``; imports are lazy, so that its errors need no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trainer.utils.gc_pause import pause_gc

if TYPE_CHECKING:
    from trainer.analysis.rerun import Comparison


def rerun_run(arguments: Sequence[str]) -> int:
    """Run ``train rerun RUN [key=value ...]``.

    Args:
        arguments: Words after ``train rerun``.

    Returns:
        0 if the repetition has the same bits, else 1.
    """
    from pathlib import Path

    from trainer.analysis.run_record import read_record
    from trainer.cli import verb_args
    from trainer.runs import run_overrides

    saved, rest = run_overrides.load_from_args("rerun", arguments)
    verb_args.parse_verb_args("rerun", rest, {})
    record = read_record(Path(saved.run_dir))
    with pause_gc(freeze=True):
        from trainer.analysis import rerun
    comparison = rerun.compare_runs(record, rerun.rerun(saved, record))
    _print_comparison(comparison)
    return int(comparison.difference is not None)


def _print_comparison(comparison: Comparison) -> None:
    from trainer.cli.text_columns import print_table, print_text

    print()
    if comparison.difference is None:
        what = ", ".join(comparison.compared)
        print_text(f"the same bits: {what}" if what else "the run has recorded nothing to compare")
        return
    print_text(f"not the same bits; the first difference is {comparison.difference}")
    if comparison.causes:
        rows = [(each.name, each.first, each.second) for each in comparison.causes]
        print_table([("POSSIBLE CAUSE", "RUN", "RERUN"), *rows])
    else:
        print_text(
            "no recorded version, option, thread count or digest of the data differs: the cause is the machine, an"
            " operation without a fixed order (deterministic=true), or code that changed without a new version"
        )
