"""Configuration of a run beside the defaults of the options that it chose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.analysis.run_record import RunRecord, flatten_keys
from trainer.config import migrations, secret_masking
from trainer.config.registry import OBJECT_GROUPS
from trainer.runs import saved_run
from trainer.utils.errors import ConfigError, UserError
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
    values = _read_config(record)
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


def _read_config(record: RunRecord) -> dict[str, Any]:
    """Return the configuration as it is saved, without the values of environment variables, which may be secrets."""
    try:
        raw, _ = saved_run.read_config(record.path)
    except ConfigError:
        return {}
    return {key: value for key, value in flatten_keys(raw) if key != migrations.KEY}


def format_value(value: object) -> str:
    """Format a value on one line, of limited length."""
    return escape_control_chars("null" if value is None else shorten_repr(value).strip("'\""), one_line=True)


def _read_defaults(record: RunRecord) -> dict[str, Any] | None:
    """Compose the options that a run chose, without its other overrides; None if they cannot be composed here."""
    from trainer.config import compose

    options = record.results.get("options")
    names = options if isinstance(options, Mapping) else {}
    chosen = [f"{group}={name}" for group, name in names.items() if group in OBJECT_GROUPS and name]
    plugins = _read_config(record).get("plugins") or []
    try:
        directories = [Path(str(name)) for name in record.results.get("config_dirs") or []]
        declared = [f"plugins=[{','.join(map(str, plugins))}]"] if plugins else []
        config = compose.compose([*chosen, *declared], directories)
    except UserError:
        return None
    return dict(flatten_keys(secret_masking.mask_tree(config.raw)))
