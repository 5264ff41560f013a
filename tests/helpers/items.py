"""What a task has to show, made at once."""

from __future__ import annotations

from collections.abc import Iterable

from trainer.core.artifacts import Item, Later


def made(items: Iterable[Item | Later]) -> dict[str, Item]:
    """What there turns out to be to see, by name."""
    each = (item.make() if isinstance(item, Later) else item for item in items)
    return {item.name: item for item in each if item is not None}
