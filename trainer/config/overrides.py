"""What a user typed after ``train``: read by Hydra's grammar, and refused where Hydra would take it and do nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException

from trainer.config import registry
from trainer.config.sweep_grid import OptionLoader, find_invalid_sweep
from trainer.config.validation import LIST_GROUPS
from trainer.utils.errors import ConfigError
from trainer.utils.suggest import did_you_mean
from trainer.utils.text import shorten_repr

ALLOWED_HYDRA_KEYS = ("hydra.run.dir", "hydra.sweep.", "hydra.launcher.", "hydra.sweeper.")
ALLOWED_HYDRA_GROUPS = ("hydra/launcher", "hydra/sweeper")
"""What of Hydra's own a command line chooses. Folders of YAML files are named by --config-dir, and judged there."""
MAX_DEPTH = 20
CALL_ERROR = re.compile(r"\w+ while evaluating '(.*?)': (.*)")
"""What is said of a function that does not take what it is given, or is none."""
CONTEXT_CHARS = 100
"""Letters shown on each side of where a text cannot be read."""


def parse_overrides(overrides: Sequence[str], config_dirs: Sequence[Path] = ()) -> list[Override]:
    """The overrides by Hydra's grammar; ``folders`` are those of the user, among whose options a glob chooses.

    Raises ConfigError showing where a text stops being one.
    """
    parser = OverridesParser.create()
    items, problems = [], []
    for text in overrides:
        if max(text.count(bracket) for bracket in "[{(") > MAX_DEPTH and _measure_depth(text) > MAX_DEPTH:
            problems.append(f"{shorten_repr(text)}: nested more than {MAX_DEPTH} deep")
            continue
        try:
            item = parser.parse_override(text)
            item.config_loader = OptionLoader(config_dirs)  # type: ignore[assignment]
            items.append(item)
        except (HydraException, ValueError, OverflowError) as error:
            reason = (str(error).splitlines() or ["not understood"])[0]
            call_error = CALL_ERROR.match(reason)
            if call_error:
                functions = ", ".join(sorted(parser.functions.functions))
                problems.append(
                    f"{shorten_repr(text)}: {shorten_repr(call_error[1])}: {call_error[2][:CONTEXT_CHARS]}; Hydra's "
                    f"functions are {functions}"
                )
                continue
            column = _find_column(text, reason)
            start = max(0, column - CONTEXT_CHARS)
            problems.append(
                f"cannot read {shorten_repr(text)} as KEY=VALUE ({reason[:CONTEXT_CHARS]}); quote special characters:"
                f" {_quote_value(text)}\n  {text[start : start + 2 * CONTEXT_CHARS]}\n  {' ' * (column - start)}^"
            )
    if problems:
        raise ConfigError(*problems)
    return items


def _quote_value(text: str) -> str:
    """An override with its value in quotes, as a shell is given it; of one that has quotes or is long, an example."""
    key, _, value = text.partition("=")
    is_plain = value.isprintable() and not set(text) & {"'", '"'} and len(text) < CONTEXT_CHARS
    return f"'{key}=\"{value}\"'" if value and is_plain else "'key=\"[a\"'"


def _measure_depth(text: str) -> int:
    """How many brackets are open at once at most."""
    depth = max_depth = 0
    for letter in text:
        depth += (letter in "[{(") - (letter in "]})")
        max_depth = max(max_depth, depth)
    return max_depth


def _find_column(text: str, reason: str) -> int:
    """Where in an override the parser's complaint points to; its end if it points nowhere."""
    rejected_input = re.search(r"at input '(.*)'", reason)
    if rejected_input and rejected_input.group(1) in text:
        return text.index(rejected_input.group(1)) + len(rejected_input.group(1)) - 1
    rejected_char = re.search(r"input '(.)' expecting|error at: '(.)", reason)
    column = text.rfind(rejected_char.group(1) or rejected_char.group(2)) if rejected_char else -1
    return column if column >= 0 else len(text)


def find_override_problems(item: Override, *, is_sweep: bool = False) -> list[str]:
    """Overrides that Hydra would take and that would then do nothing, or not what was meant."""
    key = item.key_or_group
    if not key:
        return [f"{item.input_line}: there is no key before ="]
    if item.package is not None:
        return [f"{key}@{item.package}: a group has one place; write {key}=NAME"]
    if item.is_sweep_override() and not is_sweep:
        return [
            find_invalid_sweep(item)
            or f"{item.input_line}: several values make a sweep; run train -m {item.input_line}"
        ]
    if item.type in (OverrideType.ADD, OverrideType.FORCE_ADD) and not is_list_entry(key):
        is_group = key in registry.GROUPS
        return [f"{key}: {'leave out the +' if is_group else 'unknown key; + adds keys that nothing reads'}"]
    if item.type == OverrideType.DEL:
        return [f"{key}: ~ would leave something out that the program reads; set it to null or choose another option"]
    is_hydra_key = key.split(".")[0].split("/")[0] == "hydra"
    if key == "hydra.searchpath":
        return [f"{key}: name a folder of YAML files by --config-dir DIR"]
    if is_hydra_key and item.is_sweep_override():
        return [f"{item.input_line}: Hydra's own keys take one value"]
    if is_hydra_key and (
        not (key.startswith(ALLOWED_HYDRA_KEYS) or key in ALLOWED_HYDRA_GROUPS) or "_target_" in (item.input_line or "")
    ):
        allowed = (*(k.rstrip(".") for k in ALLOWED_HYDRA_KEYS), *ALLOWED_HYDRA_GROUPS)
        return [f"{key}: of Hydra's own keys, train reads {', '.join(allowed)}"]
    return []


def is_list_entry(key: str) -> bool:
    """Whether a key is inside one of the groups to which a command line may add an object."""
    group, _, name = key.partition(".")
    return group in LIST_GROUPS and bool(name)


def find_conflicting_overrides(items: Sequence[Override]) -> list[str]:
    """Overrides of which one would do nothing beside the other."""
    keys = {item.key_or_group for item in items if item.value() is not None}
    return ["epochs and max_steps: each says how long to train; keep one"] if {"epochs", "max_steps"} <= keys else []


def find_unknown_option(item: Override, config_dirs: Sequence[Path]) -> str | None:
    """Why a group has no such option, with the nearest and all there are."""
    group, name = item.key_or_group, item.value()
    if group in ALLOWED_HYDRA_GROUPS:
        return _describe_missing_plugin(group, str(name))
    known = registry.list_options(group, config_dirs)
    if group in LIST_GROUPS and isinstance(name, list):
        unknown_names = [str(entry) for entry in name if str(entry) not in known]
        return registry.describe_unknown_option(group, unknown_names[0], known) if unknown_names else None
    if str(name) in known or (group == "experiment" and name is None):
        return None
    return registry.describe_unknown_option(group, "null" if name is None else str(name), known)


def _describe_missing_plugin(group: str, name: str) -> str | None:
    """Why Hydra has no such launcher or sweeper."""
    from trainer.config import hydra_compose

    known = hydra_compose.list_hydra_options(group)
    if name in known:
        return None
    return (
        f"{group} {name!r} is not installed{did_you_mean(name, known) or ';'} here: {', '.join(known)}; others come"
        " with packages such as hydra-joblib-launcher and hydra-optuna-sweeper"
    )
