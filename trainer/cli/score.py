"""The command ``train score``; imports are lazy, so that its errors need no torch."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.utils.gc_pause import pause_gc


def score_run(arguments: Sequence[str]) -> int:
    """Run ``train score RUN [input=PATH] [output=PATH] [key=value ...]``."""
    from trainer.cli import verb_args
    from trainer.runs import run_overrides

    saved, rest = run_overrides.load_from_args("score", arguments)
    file_arguments = verb_args.parse_file_args("score", rest, saved.tree, "score_rows")
    with pause_gc(freeze=True):
        from trainer.inference import score
    score.score_run(saved, *file_arguments[:-1])  # the method of the task has no options
    return 0
