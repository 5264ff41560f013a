"""The command ``train export``; imports are lazy, so that its errors need no torch."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.utils.errors import ConfigError
from trainer.utils.gc_pause import pause_gc


def export_run(arguments: Sequence[str]) -> int:
    """Run ``train export RUN format=FORMAT [output=DIR] [rows=N]``.

    Args:
        arguments: Words after ``train export``.

    Raises:
        ConfigError: No format is given, or it does not exist, or an option does not apply to it.
    """
    from trainer.cli import verb_args
    from trainer.core.types import PositiveInt
    from trainer.export import formats
    from trainer.runs import run_overrides

    saved, rest = run_overrides.load_from_args("export", arguments)
    options = verb_args.parse_verb_args(
        "export", rest, verb_args.make_parameters("export", {"format": str, "output": str, "rows": PositiveInt})
    )
    names = formats.parse_formats(options.get("format", ""))
    if "rows" in options and "hub" not in names:
        raise ConfigError("export rows: it is about format=hub, the only one that contains rows")
    with pause_gc(freeze=True):
        from trainer.export import export_run as exporting
    exporting.export_run(saved, names, options.get("output"), options.get("rows"))
    return 0
