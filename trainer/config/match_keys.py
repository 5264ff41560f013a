"""Keys of equal size: ``match``, and ``target`` and ``match_keys``, which only apply with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

UNITS: Mapping[str, float] = {"k": 1e3, "M": 1e6, "G": 1e9}
"""Factors of the suffixes of a number."""
TIME_UNITS: Mapping[str, float] = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
"""Seconds of the suffixes of a time."""
SECONDS = "seconds"
"""Value of ``match`` for the time of a training step."""


def parse_target(value: float | str) -> float:
    """Return a target such as ``50k`` as a number, or ``2ms`` in seconds."""
    if not isinstance(value, str):
        return float(value)
    number = value.rstrip("kMGums")
    return float(number) * {**UNITS, **TIME_UNITS}.get(value.removeprefix(number), 1.0)


def _has_wrong_unit(match: str, target: float | str) -> bool:
    """Return whether the unit of a target is not one of the quantity that is matched."""
    unit = target.lstrip("0123456789.") if isinstance(target, str) else ""
    return bool(unit) and unit not in (TIME_UNITS if match == SECONDS else UNITS)


def find_match_problems(tree: Mapping[str, Any]) -> list[str]:
    """Return the problems of these keys with each other.

    Args:
        tree: Resolved configuration of a command line, each key of which has a valid type.
    """
    if tree.get("match") is None:
        problems = ["target: it has no effect without match=params, match=flops or match=seconds"] * (
            tree.get("target") is not None
        )
        return problems + ["match_keys: it has no effect without match"] * bool(tree.get("match_keys"))
    match, target = tree["match"], tree.get("target")
    example = "2ms" if match == SECONDS else "50k"
    problems = [] if target is not None else [f"match: {match} needs target=NUMBER, such as {example}"]
    if target is not None and _has_wrong_unit(match, target):
        units = ", ".join(TIME_UNITS if match == SECONDS else UNITS)
        problems.append(f"target: {target} given; match={match} needs a number with one of the units {units}, or none")
    if match == SECONDS and tree.get("resume") == "auto":
        problems.append("resume: auto does not find a run of match=seconds, which measures anew; name its directory")
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
