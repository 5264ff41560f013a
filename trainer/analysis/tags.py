"""Tags of runs, in a small file of their own in the run directory: the results of a run never change."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from trainer.utils import atomic_write
from trainer.utils.errors import ConfigError
from trainer.utils.suggest import did_you_mean

TAGS_FILE = "tags.json"
MAX_LENGTH = 40
TAG_PATTERN = re.compile(rf"\w[\w.+-]{{0,{MAX_LENGTH - 1}}}")


def read_tags(path: Path) -> list[str]:
    """Return the tags of a run in alphabetical order; none if the file is missing or not one of tags.

    Args:
        path: The run directory.
    """
    file = path / TAGS_FILE
    if not os.path.isfile(file):
        return []
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return []
    entries = values if isinstance(values, list) else []
    return sorted({entry for entry in entries if isinstance(entry, str) and TAG_PATTERN.fullmatch(entry)})


def change_tags(path: Path, added: Sequence[str] = (), removed: Sequence[str] = ()) -> list[str]:
    """Add and remove tags of a run, atomically, and return those that it has now.

    Args:
        path: The run directory.
        added: Tags to add.
        removed: Tags to remove.

    Raises:
        ConfigError: A tag is not a word, or one to remove is not a tag of the run.
        SystemFault: The file cannot be written.
    """
    current = read_tags(path)
    problems = [problem for tag in added for problem in _find_problems(tag)]
    problems += [
        f"remove: {tag!r} is not a tag of {path}{did_you_mean(tag, current) or ';'} it has"
        f" {', '.join(current) or 'none'}"
        for tag in removed
        if tag not in current
    ]
    problems += [f"remove: {tag!r} is also to be added" for tag in removed if tag in added]
    if problems:
        raise ConfigError(*problems)
    new = sorted({*current, *added} - {*removed})
    if new != current:
        _write_tags(path, new)
    return new


def _write_tags(path: Path, tags: Iterable[str]) -> None:
    atomic_write.write_text(path / TAGS_FILE, json.dumps([*tags], ensure_ascii=False) + "\n")


def _find_problems(tag: str) -> list[str]:
    if TAG_PATTERN.fullmatch(tag):
        return []
    rule = f"a tag is one word of at most {MAX_LENGTH} letters, digits, and . + - _, as in: train tag RUN paper"
    return [f"tag: {tag[: 2 * MAX_LENGTH]!r} given; {rule}"]
