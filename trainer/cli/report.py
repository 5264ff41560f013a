"""The command ``train report``; imports are lazy, so that its errors need no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainer.utils.errors import ConfigError


def report_runs(arguments: Sequence[str]) -> int:
    """Run ``train report [DIR | RUN] [output=FILE] [watch=true]``.

    Args:
        arguments: Words after ``train report``: a directory, or none for ``outputs``, and keys.

    Raises:
        ConfigError: There are several directories, or it does not exist, or a key is invalid.
    """
    from trainer.cli import verb_args
    from trainer.report import write_report

    paths = [word for word in arguments if "=" not in word]
    if len(paths) > 1:
        raise ConfigError("train report takes one directory")
    keys = verb_args.make_parameters("report", {"output": str, "watch": bool})
    options = verb_args.parse_verb_args("report", [word for word in arguments if "=" in word], keys)
    path = Path(paths[0] if paths else "outputs")
    output = Path(options["output"]) if "output" in options else None
    if output is not None and output.suffix != ".html":
        raise ConfigError(f"report output: {options['output']!r} given; it must end in .html")
    if options.get("watch"):
        write_report.watch_run(path, output)
    else:
        write_report.write_report(path, output)
    return 0
