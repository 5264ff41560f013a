"""Lookup of the value of an argument in a table of choices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


def get_choice(argument: str, key: object, choices: Mapping[Key, Value]) -> Value:
    """Return the value of a choice.

    Args:
        argument: Name of the argument, for the message.
        key: Value of the argument.
        choices: Values by the allowed keys.

    Raises:
        ValueError: The key is not one of the choices.
    """
    for name, value in choices.items():
        if name == key:
            return value
    raise ValueError(f"{argument}: {key!r} given; it must be one of {', '.join(map(str, choices))}")
