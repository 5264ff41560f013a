"""``train export``."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.utils.gc_pause import pause_gc


def export_run(arguments: Sequence[str]) -> int:
    """Run ``train export RUN format=FORMAT [output=DIR]``.

    Args:
        arguments: Words after ``train export``.

    Raises:
        ConfigError: No format is given, or it does not exist.
    """
    from trainer.cli import verb_args
    from trainer.export import formats
    from trainer.runs import run_overrides

    saved, rest = run_overrides.load_from_args("export", arguments)
    options = verb_args.parse_verb_args(
        "export", rest, verb_args.make_parameters("export", {"format": str, "output": str})
    )
    names = formats.parse_formats(options.get("format", ""))
    with pause_gc(freeze=True):
        from trainer.export import export_run as exporting
    exporting.export_run(saved, names, options.get("output"))
    return 0
