"""What a user typed after ``train``: read by Hydra's grammar, and refused where Hydra would take it and do nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException

from trainer import catalog
from trainer.errors import ConfigError

HYDRA_KEYS = ("hydra.run.dir", "hydra.sweep.", "hydra.launcher.", "hydra.sweeper.", "hydra.searchpath")


def parse(overrides: Sequence[str]) -> list[Override]:
    """The overrides by Hydra's grammar.

    Raises ConfigError showing where a text stops being one.
    """
    parser = OverridesParser.create()
    found, problems = [], []
    for text in overrides:
        try:
            found.append(parser.parse_override(text))
        except HydraException as error:
            reason = (str(error).splitlines() or ["not understood"])[0]
            column = _column(text, reason)
            problems.append(
                f"cannot read {text!r} as KEY=VALUE ({reason}); quote special characters: 'key=\"[a\"'\n"
                f"  {text}\n  {' ' * column}^"
            )
    if problems:
        raise ConfigError(*problems)
    return found


def _column(text: str, reason: str) -> int:
    """Where in an override the parser's complaint points to; its end if it points nowhere."""
    stuck = re.search(r"at input '(.*)'", reason)
    if stuck and stuck.group(1) in text:
        return text.index(stuck.group(1)) + len(stuck.group(1)) - 1
    unexpected = re.search(r"input '(.)' expecting|error at: '(.)", reason)
    found = text.rfind(unexpected.group(1) or unexpected.group(2)) if unexpected else -1
    return found if found >= 0 else len(text)


def wrong_use(item: Override) -> list[str]:
    """Overrides that Hydra would take and that would then do nothing, or not what was meant."""
    key = item.key_or_group
    if item.package is not None:
        return [f"{key}@{item.package}: a group has one place; write {key}=NAME"]
    if item.is_sweep_override():
        return [f"{item.input_line}: several values make a sweep; run train -m {item.input_line}"]
    if item.type in (OverrideType.ADD, OverrideType.FORCE_ADD):
        is_there = key in catalog.GROUPS
        return [f"{key}: {'leave out the +' if is_there else 'unknown key; + adds keys that nothing reads'}"]
    if item.type == OverrideType.DEL:
        return [f"{key}: ~ would leave something out that the program reads; set it to null or choose another option"]
    is_hydras = key.split(".")[0].split("/")[0] == "hydra"
    if is_hydras and (not key.startswith((*HYDRA_KEYS, "hydra/")) or "_target_" in (item.input_line or "")):
        return [f"{key}: of Hydra's own keys, train reads {', '.join(k.rstrip('.') for k in HYDRA_KEYS)}"]
    return []


def at_odds(items: Sequence[Override]) -> list[str]:
    """Overrides of which one would do nothing beside the other."""
    given = {item.key_or_group for item in items if item.value() is not None}
    return ["epochs and max_steps: each says how long to train; keep one"] if {"epochs", "max_steps"} <= given else []


def wrong_option(item: Override, folders: Sequence[Path]) -> str | None:
    """Why a group has no such option, with the nearest and all there are."""
    group, name = item.key_or_group, item.value()
    known = catalog.options(group, folders)
    if group.startswith("hydra/") or str(name) in known or (group == "experiment" and name is None):
        return None
    return catalog.not_found(group, "null" if name is None else str(name), known)
