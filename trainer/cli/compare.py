"""The command ``train compare``; imports are lazy, so that its errors need no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainer.utils.errors import ConfigError


def compare_runs(arguments: Sequence[str]) -> int:
    """Run ``train compare RUN RUN [RUN ...] [output=FILE.json]``.

    Args:
        arguments: Words after ``train compare``.

    Raises:
        ConfigError: There are fewer than two runs, or they cannot be compared.
    """
    from trainer.cli import verb_args
    from trainer.utils import atomic_write

    paths = [Path(word) for word in arguments if _is_path(word)]
    options = verb_args.parse_verb_args(
        "compare",
        [word for word in arguments if not _is_path(word)],
        verb_args.make_parameters("compare", {"output": str}),
    )
    output = Path(options["output"]) if "output" in options else None
    if output is not None and output.suffix != ".json":
        raise ConfigError(f"compare output: {str(output)!r} given; it must end in .json")
    from trainer.analysis import compare, compare_report

    comparison = compare.compare_runs(paths)
    compare_report.show_comparison(comparison)
    if output is not None:
        atomic_write.write_text(output, compare_report.format_json(comparison))
    return 0


def _is_path(word: str) -> bool:
    """Return whether an argument is a run: an existing path, or no ``key=value``."""
    return "=" not in word or Path(word).exists()
