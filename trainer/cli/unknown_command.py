"""What was meant by a first word that is no subcommand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trainer.config import registry
from trainer.config.schema import Settings
from trainer.runs.commands import COMMANDS
from trainer.utils.suggest import find_nearest, format_suggestion

_A_RUN = "model=NAME data=NAME"
SYNONYMS: Mapping[str, str] = {
    "fit": _A_RUN,
    "run": _A_RUN,
    "sweep": "-m KEY=VALUE,VALUE",
    "tune": "search",
    "optimize": "search",
    "leaderboard": "report",
    "test": "evaluate",
    "infer": "predict",
    "generate": "sample",
    "continue": "resume",
    "explain": "why",
    "diagnose": "why",
    "repeat": "rerun",
    "reproduce": "rerun",
    "estimate": "plan",
    "lr": "find lr",
    "lr_find": "find lr",
    "overfit": f"{_A_RUN} debug=overfit",
    "remove": "rm",
    "delete": "rm",
    "ls": "list",
    "runs": "list runs",
    "describe": "show",
    "version": "--version",
}
"""Words of other programs, with what stands for them after ``train``."""


def describe_unknown_command(word: str, rest: Sequence[str]) -> str:
    """Describe an unknown subcommand, and how to set a key or choose an option of that name, or the nearest name.

    Args:
        word: First word of the command line.
        rest: The other words.
    """
    if word in (*registry.GROUPS, *Settings.__dataclass_fields__):
        value = rest[0] if rest and "=" not in rest[0] else "VALUE"
        return f"unknown command {word!r}: it is a configuration key; set it by: train {word}={value}"
    if choices := list_choices(word):
        return f"unknown command {word!r}; choose it by: {' or '.join(f'train {choice}' for choice in choices)}"
    return f"unknown command {word!r}{_suggest(word, rest) or ';'} one of {', '.join(COMMANDS)}"


def _suggest(word: str, rest: Sequence[str]) -> str:
    """Return ``; did you mean search?`` for a misspelled or synonymous word; empty if there is nothing like it."""
    if word.lower() in SYNONYMS:
        return format_suggestion([f"train {SYNONYMS[word.lower()]}"])
    transposed = [name for name in ("train", *COMMANDS) if sorted(name) == sorted(word.lower())]
    if transposed == ["train"]:
        return format_suggestion([" ".join(["train", *(rest or [_A_RUN])])])
    options = {name for group in ("model", "data") for name in registry.list_options(group)}
    nearest = next(iter(transposed), None) or find_nearest(word, [*COMMANDS, *SYNONYMS, *sorted(options)])
    if nearest is None or nearest in COMMANDS:
        return format_suggestion([nearest] if nearest else [])
    meanings = [SYNONYMS[nearest]] if nearest in SYNONYMS else list_choices(nearest)
    return format_suggestion([f"train {meaning}" for meaning in meanings])


def list_choices(name: str) -> list[str]:
    """Return the overrides that choose options of a name: ``model=lstm``.

    Args:
        name: Name of an option.
    """
    return [f"{group}={name}" for group in registry.GROUPS if name in registry.list_options(group)]
