"""The command ``train predict``; imports are lazy, so that its errors need no torch."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.utils.gc_pause import pause_gc


def predict_run(arguments: Sequence[str]) -> int:
    """Run ``train predict RUN [input=PATH] [output=PATH] [key=value ...]``.

    Args:
        arguments: Words after ``train predict``.
    """
    from trainer.cli import verb_args
    from trainer.runs import run_overrides

    saved, rest = run_overrides.load_from_args("predict", arguments)
    file_arguments = verb_args.parse_file_args("predict", rest, saved.tree)
    with pause_gc(freeze=True):
        from trainer.inference import predict
    predict.predict_run(saved, *file_arguments)
    return 0
