"""Overrides of the command line, parsed by Hydra's grammar; letters that it takes in quotes alone are quoted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from trainer.config.sweep_grid import OptionLoader
from trainer.utils.errors import ConfigError
from trainer.utils.text import shorten_repr

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
