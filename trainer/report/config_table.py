"""Configuration of a run beside the defaults of the options that it chose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trainer.config.registry import OBJECT_GROUPS
from trainer.report.saved_records import RunRecord
from trainer.utils.errors import UserError
from trainer.utils.text import escape_control_chars, shorten_repr


@dataclass(frozen=True)
class ConfigRow:
    """A key of the configuration.

    Args:
        key: Dotted key.
        value: Value of the run.
        default: Value of the chosen options without overrides; empty if it is the same or unknown.
        is_changed: Whether the run differs from the default.
    """

    key: str
    value: str
    default: str
    is_changed: bool


def list_config(record: RunRecord) -> list[ConfigRow]:
    """Return every key of the configuration of a run; which of them differ is known if its options still exist.

    Args:
        record: Records of the run.
    """
    values = dict(_flatten(record.config))
    defaults = _read_defaults(record)
    return [
        ConfigRow(
            key,
            format_value(value),
            "" if defaults is None or defaults.get(key) == value else format_value(defaults.get(key)),
            defaults is not None and defaults.get(key) != value,
        )
        for key, value in values.items()
    ]


def format_value(value: object) -> str:
    """Format a value on one line, of limited length."""
    return escape_control_chars("null" if value is None else shorten_repr(value).strip("'\""), one_line=True)


def _read_defaults(record: RunRecord) -> dict[str, Any] | None:
    """Compose the options that a run chose, without its other overrides; None if they cannot be composed here."""
    from trainer.config import compose

    options = record.results.get("options")
    names = options if isinstance(options, Mapping) else {}
    chosen = [f"{group}={name}" for group, name in names.items() if group in OBJECT_GROUPS and name]
    plugins = record.config.get("plugins") or []
    try:
        config = compose.compose([*chosen, *([f"plugins=[{','.join(map(str, plugins))}]"] if plugins else [])])
    except UserError:
        return None
    return dict(_flatten(config.raw))


def _flatten(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
