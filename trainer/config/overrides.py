"""What a user typed after ``train``: read by Hydra's grammar, and refused where Hydra would take it and do nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException

from trainer.config import registry
from trainer.config.sweep_grid import Options, wrong_span
from trainer.utils.errors import ConfigError, did_you_mean
from trainer.utils.text import shorten

HYDRA_KEYS = ("hydra.run.dir", "hydra.sweep.", "hydra.launcher.", "hydra.sweeper.")
HYDRA_GROUPS = ("hydra/launcher", "hydra/sweeper")
"""What of Hydra's own a command line chooses. Folders of YAML files are named by --config-dir, and judged there."""
MOST_DEEP = 20
CALL = re.compile(r"\w+ while evaluating '(.*?)': (.*)")
"""What is said of a function that does not take what it is given, or is none."""
WINDOW = 100
"""Letters shown on each side of where a text cannot be read."""


def parse(overrides: Sequence[str], folders: Sequence[Path] = ()) -> list[Override]:
    """The overrides by Hydra's grammar; ``folders`` are those of the user, among whose options a glob chooses.

    Raises ConfigError showing where a text stops being one.
    """
    parser = OverridesParser.create()
    found, problems = [], []
    for text in overrides:
        if max(text.count(bracket) for bracket in "[{(") > MOST_DEEP and _depth(text) > MOST_DEEP:
            problems.append(f"{shorten(text)}: nested more than {MOST_DEEP} deep")
            continue
        try:
            item = parser.parse_override(text)
            item.config_loader = Options(folders)  # type: ignore[assignment]
            found.append(item)
        except (HydraException, ValueError, OverflowError) as error:
            reason = (str(error).splitlines() or ["not understood"])[0]
            call = CALL.match(reason)
            if call:
                known = ", ".join(sorted(parser.functions.functions))
                problems.append(
                    f"{shorten(text)}: {shorten(call[1])}: {call[2][:WINDOW]}; Hydra's functions are {known}"
                )
                continue
            column = _column(text, reason)
            start = max(0, column - WINDOW)
            problems.append(
                f"cannot read {shorten(text)} as KEY=VALUE ({reason[:WINDOW]}); quote special characters:"
                f" {_quoted(text)}\n  {text[start : start + 2 * WINDOW]}\n  {' ' * (column - start)}^"
            )
    if problems:
        raise ConfigError(*problems)
    return found


def _quoted(text: str) -> str:
    """An override with its value in quotes, as a shell is given it; of one that has quotes or is long, an example."""
    key, _, value = text.partition("=")
    is_plain = value.isprintable() and not set(text) & {"'", '"'} and len(text) < WINDOW
    return f"'{key}=\"{value}\"'" if value and is_plain else "'key=\"[a\"'"


def _depth(text: str) -> int:
    """How many brackets are open at once at most."""
    depth = deepest = 0
    for letter in text:
        depth += (letter in "[{(") - (letter in "]})")
        deepest = max(deepest, depth)
    return deepest


def _column(text: str, reason: str) -> int:
    """Where in an override the parser's complaint points to; its end if it points nowhere."""
    stuck = re.search(r"at input '(.*)'", reason)
    if stuck and stuck.group(1) in text:
        return text.index(stuck.group(1)) + len(stuck.group(1)) - 1
    unexpected = re.search(r"input '(.)' expecting|error at: '(.)", reason)
    found = text.rfind(unexpected.group(1) or unexpected.group(2)) if unexpected else -1
    return found if found >= 0 else len(text)


def wrong_use(item: Override, *, is_sweep: bool = False) -> list[str]:
    """Overrides that Hydra would take and that would then do nothing, or not what was meant."""
    key = item.key_or_group
    if not key:
        return [f"{item.input_line}: there is no key before ="]
    if item.package is not None:
        return [f"{key}@{item.package}: a group has one place; write {key}=NAME"]
    if item.is_sweep_override() and not is_sweep:
        return [wrong_span(item) or f"{item.input_line}: several values make a sweep; run train -m {item.input_line}"]
    if item.type in (OverrideType.ADD, OverrideType.FORCE_ADD):
        is_there = key in registry.GROUPS
        return [f"{key}: {'leave out the +' if is_there else 'unknown key; + adds keys that nothing reads'}"]
    if item.type == OverrideType.DEL:
        return [f"{key}: ~ would leave something out that the program reads; set it to null or choose another option"]
    is_hydras = key.split(".")[0].split("/")[0] == "hydra"
    if key == "hydra.searchpath":
        return [f"{key}: name a folder of YAML files by --config-dir DIR"]
    if is_hydras and item.is_sweep_override():
        return [f"{item.input_line}: Hydra's own keys take one value"]
    if is_hydras and (not (key.startswith(HYDRA_KEYS) or key in HYDRA_GROUPS) or "_target_" in (item.input_line or "")):
        known = (*(k.rstrip(".") for k in HYDRA_KEYS), *HYDRA_GROUPS)
        return [f"{key}: of Hydra's own keys, train reads {', '.join(known)}"]
    return []


def at_odds(items: Sequence[Override]) -> list[str]:
    """Overrides of which one would do nothing beside the other."""
    given = {item.key_or_group for item in items if item.value() is not None}
    return ["epochs and max_steps: each says how long to train; keep one"] if {"epochs", "max_steps"} <= given else []


def wrong_option(item: Override, folders: Sequence[Path]) -> str | None:
    """Why a group has no such option, with the nearest and all there are."""
    group, name = item.key_or_group, item.value()
    if group in HYDRA_GROUPS:
        return _not_installed(group, str(name))
    known = registry.options(group, folders)
    if str(name) in known or (group == "experiment" and name is None):
        return None
    return registry.not_found(group, "null" if name is None else str(name), known)


def _not_installed(group: str, name: str) -> str | None:
    """Why Hydra has no such launcher or sweeper."""
    from trainer.config import hydra_compose

    known = hydra_compose.hydras_options(group)
    if name in known:
        return None
    return (
        f"{group} {name!r} is not installed{did_you_mean(name, known) or ';'} here: {', '.join(known)}; others come"
        " with packages such as hydra-joblib-launcher and hydra-optuna-sweeper"
    )
