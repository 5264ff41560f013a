"""The command ``train resume``; imports are lazy, so that its errors need no torch."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.config import parallel_keys
from trainer.runs import slurm
from trainer.utils.gc_pause import pause_gc


def resume_run(arguments: Sequence[str]) -> int:
    """Run ``train resume RUN [key=value ...]``."""
    from trainer.cli import verb_args
    from trainer.runs import run_overrides

    saved, rest = run_overrides.load_from_args("resume", parallel_keys.with_launched_processes(arguments))
    verb_args.parse_verb_args("resume", rest, {})
    with pause_gc(freeze=True):
        from trainer.runs import train
    with slurm.requeue_on_warning(is_resumable=True):
        train.resume_run(saved)
    return 0
