"""Keys of equal size: ``match``, and ``target`` and ``match_keys``, which only apply with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

UNITS: Mapping[str, float] = {"k": 1e3, "M": 1e6, "G": 1e9}
"""Factors of the suffixes of a target."""


def parse_target(value: float | str) -> float:
    """Return a target such as ``50k`` as a number."""
    if not isinstance(value, str):
        return float(value)
    return float(value.rstrip("kMG")) * UNITS.get(value[-1], 1.0)


def find_match_problems(tree: Mapping[str, Any]) -> list[str]:
    """Return the problems of these keys with each other.

    Args:
        tree: Resolved configuration of a command line, each key of which has a valid type.
    """
    if tree.get("match") is None:
        problems = ["target: it has no effect without match=params or match=flops"] * (tree.get("target") is not None)
        return problems + ["match_keys: it has no effect without match"] * bool(tree.get("match_keys"))
    problems = [] if tree.get("target") is not None else [f"match: {tree['match']} needs target=NUMBER, such as 50k"]
    unknown = [key for key in tree["match_keys"] if key.removeprefix("model.") not in tree["model"]]
    return problems + [f"match_keys: the model has no key {key!r}" for key in unknown]


def drop_match(tree: Mapping[str, Any], widths: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration with solved widths instead of the keys that ask for them.

    Args:
        tree: Configuration with ``match``.
        widths: Values by key of the model.
    """
    model = {**tree["model"], **widths}
    return {**tree, "model": model, "match": None, "target": None, "match_keys": []}
