"""Overrides of the command line: parsed by Hydra's grammar, and rejected where Hydra would silently ignore them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException

from trainer.config import registry
from trainer.config.registry import LIST_GROUPS
from trainer.config.sweep_grid import OptionLoader, find_invalid_sweep
from trainer.utils.errors import ConfigError
from trainer.utils.suggest import did_you_mean
from trainer.utils.text import shorten_repr

COMMAND_LINE_HYDRA_PREFIXES = ("hydra.run.dir", "hydra.sweep.", "hydra.launcher.", "hydra.sweeper.")
"""Prefixes of the keys of Hydra that a command line may set; directories of YAML files are added by --config-dir."""
YAML_HYDRA_KEYS = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir")
"""Keys of Hydra that a YAML file may set: output directories. Hydra acts on others before a job is checked."""
ALLOWED_HYDRA_GROUPS = ("hydra/launcher", "hydra/sweeper")
"""Groups of Hydra that a command line may choose from."""
LENGTH_KEYS = ("epochs", "max_steps", "budget")
"""Keys that each set the length of training."""
MAX_DEPTH = 20
"""Maximum nesting of brackets in an override."""
CALL_ERROR = re.compile(r"\w+ while evaluating '(.*?)': (.*)")
"""Matches Hydra's error for a function that is unknown or has wrong arguments."""
PLAIN_ENTRY = r"[A-Za-z0-9_.+-]+"
"""Matches entries of a list that need no quotes."""
GRAMMAR_CHARS = frozenset("'\"\\(){}$")
"""Characters with a meaning in Hydra's grammar, besides those of lists and sweeps."""
NON_ASCII_ENTRY = re.compile(r"[^\[\],]*[^\x00-\x7f\[\],][^\[\],]*")
"""Matches entries of a list or sweep with letters that Hydra's grammar takes in quotes alone."""
CONTEXT_CHARS = 100
"""Characters shown on each side of a syntax error."""


def is_set(overrides: Sequence[str], key: str, value: object) -> bool:
    """Return whether the last override of a key, however it is quoted, sets a value.

    Args:
        overrides: Words of a command line.
        key: The key.
        value: The value.
    """
    items = [item for item in parse_overrides(overrides) if item.key_or_group == key]
    return bool(items) and not items[-1].is_sweep_override() and items[-1].value() == value


def parse_overrides(overrides: Sequence[str], config_dirs: Sequence[Path] = ()) -> list[Override]:
    """Parse overrides by Hydra's grammar.

    Args:
        overrides: Words of a command line, such as ``model=lstm,gru``.
        config_dirs: Directories of the user whose options ``glob(...)`` can match.

    Raises:
        ConfigError: A word is not a valid override; all of them are listed, with the position of the error.
    """
    parser = OverridesParser.create()
    items, problems = [], []
    for text in map(quote_letters, overrides):
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
            excerpt = text[start : start + 2 * CONTEXT_CHARS]
            problems.append(
                f"cannot read {shorten_repr(text)} as KEY=VALUE ({reason[:CONTEXT_CHARS]}); quote special characters:"
                f" {_quote_value(text, parser)}\n  {excerpt}\n  {' ' * (column - start)}^"
            )
    if problems:
        raise ConfigError(*problems)
    return items


def quote_letters(text: str) -> str:
    """Return an override in which entries with other letters than a to z are quoted, as Hydra's grammar requires.

    Args:
        text: Override, such as ``data.target=Größe``; one that has quotes, calls or interpolations is left as it is.
    """
    key, equals, value = text.partition("=")
    if value.isascii() or not value.isprintable() or GRAMMAR_CHARS & {*value}:
        return text
    return f"{key}{equals}{NON_ASCII_ENTRY.sub(lambda entry: _quote_text(entry[0].strip()), value)}"


def _quote_value(text: str, parser: OverridesParser) -> str:
    """Return an override quoted for Hydra and the shell, or an example if quotes would not make it valid."""
    key, _, value = text.partition("=")
    is_list = value.startswith("[") and value.endswith("]")
    is_nested = bool(set(value[1:-1]) & set("[]{}()'\""))
    if is_list and not is_nested:
        entries = [entry.strip() for entry in value[1:-1].split(",")]
        value = f"[{','.join(e if re.fullmatch(PLAIN_ENTRY, e) else _quote_text(e) for e in entries)}]"
    elif value:
        value = _quote_text(value)
    suggestion = f"{key}={value}"
    is_valid = bool(value) and value.isprintable() and not (is_list and is_nested) and _can_parse(suggestion, parser)
    if not is_valid or len(text) >= CONTEXT_CHARS:
        suggestion = 'key="[a"'
    if "'" not in suggestion:
        return f"'{suggestion}'"
    return '"' + re.sub(r'(["\\$`])', r"\\\1", suggestion) + '"'


def _quote_text(text: str) -> str:
    """Return a string in the double quotes of Hydra's grammar."""
    return '"' + text.replace('"', '\\"') + '"'


def _can_parse(text: str, parser: OverridesParser) -> bool:
    try:
        parser.parse_override(text)
    except (HydraException, ValueError, OverflowError):
        return False
    return True


def _measure_depth(text: str) -> int:
    """Return the maximum nesting depth of brackets."""
    depth = max_depth = 0
    for letter in text:
        depth += (letter in "[{(") - (letter in "]})")
        max_depth = max(max_depth, depth)
    return max_depth


def _find_column(text: str, reason: str) -> int:
    """Return the column of an override that a parser error refers to, or its end if it refers to none."""
    rejected_input = re.search(r"at input '(.*)'", reason)
    if rejected_input and rejected_input.group(1) in text:
        return text.index(rejected_input.group(1)) + len(rejected_input.group(1)) - 1
    rejected_char = re.search(r"input '(.)' expecting|error at: '(.)", reason)
    column = text.rfind(rejected_char.group(1) or rejected_char.group(2)) if rejected_char else -1
    return column if column >= 0 else len(text)


def find_override_problems(item: Override, *, is_sweep: bool = False) -> list[str]:
    """Return the problem of an override that Hydra would accept but that has no effect or an unintended one.

    Args:
        item: Parsed override.
        is_sweep: Whether several values are allowed.

    Returns:
        A list that is empty or contains one problem.
    """
    key = item.key_or_group
    if not key:
        return [f"{item.input_line}: there is no key before ="]
    if item.package is not None:
        return [f"{key}@{item.package}: a group cannot be placed in another package; write {key}=NAME"]
    if item.is_sweep_override() and not is_sweep:
        return [
            find_invalid_sweep(item)
            or f"{item.input_line}: several values need a sweep; run train -m {item.input_line}"
        ]
    if item.type in (OverrideType.ADD, OverrideType.FORCE_ADD) and not is_list_entry(key):
        is_group = key in registry.GROUPS
        return [f"{key}: {'leave out the +' if is_group else 'unknown key; + adds keys that nothing reads'}"]
    if item.type == OverrideType.DEL:
        return [f"{key}: ~ would delete a key that the program reads; set it to null or choose another option"]
    is_hydra_key = key.split(".")[0].split("/")[0] == "hydra"
    if key == "hydra.searchpath":
        return [f"{key}: add a directory of YAML files by --config-dir DIR"]
    if is_hydra_key and item.is_sweep_override():
        return [f"{item.input_line}: Hydra's own keys take one value"]
    if (group := key.replace(".", "/")) in ALLOWED_HYDRA_GROUPS and group != key:
        return [f"{key}: it is chosen by a slash; did you mean {group}{(item.input_line or '')[len(key) :]}?"]
    is_allowed = key.startswith(COMMAND_LINE_HYDRA_PREFIXES) or key in ALLOWED_HYDRA_GROUPS
    if is_hydra_key and (not is_allowed or "_target_" in (item.input_line or "")):
        allowed = (*(k.rstrip(".") for k in COMMAND_LINE_HYDRA_PREFIXES), *ALLOWED_HYDRA_GROUPS)
        return [f"{key}: of Hydra's own keys, train reads {', '.join(allowed)}"]
    return []


def is_list_entry(key: str) -> bool:
    """Return whether a key is inside a list group, to which a command line may add entries.

    Args:
        key: Dotted key, such as ``callbacks.early._target_``.
    """
    group, _, name = key.partition(".")
    return group in LIST_GROUPS and bool(name)


def find_conflicting_overrides(items: Sequence[Override]) -> list[str]:
    """Return a problem for overrides of which one would make the other ineffective.

    Args:
        items: Parsed overrides without sweeps.

    Returns:
        A list that is empty or contains one problem.
    """
    keys = {item.key_or_group for item in items if item.value() is not None}
    given = [key for key in LENGTH_KEYS if key in keys]
    return [f"{' and '.join(given)}: each sets the length of training; keep one"] if len(given) > 1 else []


def find_unknown_option(item: Override, config_dirs: Sequence[Path]) -> str | None:
    """Return a problem, with the nearest and all known names, if an override chooses an option that does not exist.

    Args:
        item: Parsed override whose key is a group.
        config_dirs: Directories with YAML files of the user.
    """
    group, name = item.key_or_group, item.value()
    if group in ALLOWED_HYDRA_GROUPS:
        return _describe_missing_hydra_plugin(group, str(name))
    known_names = registry.list_options(group, config_dirs)
    if group in LIST_GROUPS and isinstance(name, list):
        unknown_names = [str(entry) for entry in name if str(entry) not in known_names]
        return registry.describe_unknown_option(group, unknown_names[0], known_names) if unknown_names else None
    if str(name) in known_names or (group == "experiment" and name is None):
        return None
    return registry.describe_unknown_option(group, "null" if name is None else str(name), known_names)


def _describe_missing_hydra_plugin(group: str, name: str) -> str | None:
    """Return a problem if there is no such launcher or sweeper."""
    from trainer.config import hydra_compose, launcher_options

    installed = hydra_compose.list_hydra_options(group)
    if name in installed:
        return None
    if group == launcher_options.LAUNCHER_GROUP:
        own_names = {*launcher_options.LAUNCHERS, *installed}
        if name not in own_names:
            return (
                f"{group} {name!r} does not exist{did_you_mean(name, own_names) or ';'} {', '.join(sorted(own_names))}"
            )
        return f"{group} {name!r} runs sweeps without hydra/sweeper; Hydra's sweepers run with {', '.join(installed)}"
    return (
        f"{group} {name!r} is not installed{did_you_mean(name, installed) or ';'} installed: {', '.join(installed)};"
        " others come with packages such as hydra-optuna-sweeper"
    )
