"""The command ``train tag``; imports are lazy, so that its errors need no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainer.utils.errors import ConfigError


def tag_run(arguments: Sequence[str]) -> int:
    """Run ``train tag RUN TAG... [remove=TAG,...]``; without tags, print those of the run.

    Args:
        arguments: Words after ``train tag``.

    Raises:
        ConfigError: The first word is not a run directory, or a tag is not valid.
    """
    from trainer.analysis import tags
    from trainer.analysis.run_record import read_record
    from trainer.cli import verb_args
    from trainer.cli.text_columns import print_text

    if not arguments:
        raise ConfigError("train tag takes a run directory and tags, as in: train tag outputs/latest paper")
    record = read_record(Path(arguments[0]))
    added = [word for word in arguments[1:] if "=" not in word]
    options = verb_args.parse_verb_args(
        "tag", [word for word in arguments[1:] if "=" in word], verb_args.make_parameters("tag", {"remove": str})
    )
    removed = [name.strip() for name in options.get("remove", "").strip("[]").split(",") if name.strip()]
    current = tags.change_tags(record.path, added, removed)
    print_text(f"{record.path}: {', '.join(current) or 'no tags'}")
    return 0
