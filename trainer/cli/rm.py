"""The command ``train rm``; imports are lazy, so that its errors need no torch."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from trainer.utils.errors import ConfigError

MAX_SHOWN = 20
"""Maximum number of directories that the question lists."""


def remove_runs(arguments: Sequence[str]) -> int:
    """Run ``train rm RUN... [yes=true]``.

    Args:
        arguments: Words after ``train rm``: run directories.

    Raises:
        ConfigError: There is no run directory, one may not be removed, or nobody can be asked.
    """
    from trainer.analysis import remove_runs as removal
    from trainer.cli import verb_args
    from trainer.cli.text_columns import print_text
    from trainer.utils.paths import is_path_argument
    from trainer.utils.text import format_count

    words = [word for word in arguments if is_path_argument(word)]
    options = verb_args.parse_verb_args(
        "rm", [word for word in arguments if word not in words], verb_args.make_parameters("rm", {"yes": bool})
    )
    if not words:
        raise ConfigError("train rm takes run directories, as in: train rm outputs/2026-01-31/12-00-00-mlp-digits")
    paths = removal.find_removable([Path(word) for word in words])
    size = sum(removal.count_bytes(path) for path in paths) / 1e6
    question = f"{format_count(len(paths), 'run')}, {size:.1f} MB"
    if not options.get("yes"):
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise ConfigError(f"rm: nobody can be asked here; yes=true removes {question}:", *_list_paths(paths))
        print_text("\n".join(f"  {line}" for line in _list_paths(paths)))
        if not _is_confirmed(question):
            print_text("nothing is removed")
            return 0
    removal.remove_runs(paths)
    print_text(f"removed {question}")
    return 0


def _list_paths(paths: Sequence[Path]) -> list[str]:
    hidden = len(paths) - MAX_SHOWN
    return [*map(str, paths[:MAX_SHOWN]), *([f"... and {hidden} more"] if hidden > 0 else [])]


def _is_confirmed(question: str) -> bool:
    try:
        return input(f"remove {question}? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        print()
        return False
