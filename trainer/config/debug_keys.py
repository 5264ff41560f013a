"""The key ``debug``: ``fast`` is a run of one step of everything, which is marked as such."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainer.utils.errors import ConfigError

FAST = "fast"
"""One step, and one batch of each evaluation."""
OVERFIT = "overfit"
"""One batch to almost zero loss; it is no run."""


def with_one_step(tree: Mapping[str, Any], resolved: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration that has one step with ``debug=fast``, whatever else sets its length.

    Args:
        tree: Configuration as it is saved, or resolved.
        resolved: The same with all interpolations resolved.
    """
    return {**tree, "max_steps": 1, "budget": None} if resolved.get("debug") == FAST else dict(tree)


def select_identity(tree: Mapping[str, Any], training_config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration that identifies a run: a run of one step of everything is none of one step.

    Args:
        tree: Resolved configuration.
        training_config: The same without runtime keys.
    """
    return {**training_config, "debug": FAST} if tree.get("debug") == FAST else dict(training_config)


def check_is_run(debug: bool | str) -> None:
    """Raise ConfigError for ``overfit``, which the command handles before there is a run.

    Args:
        debug: Value of the key.
    """
    if debug == OVERFIT:
        raise ConfigError("debug=overfit: it checks one model on the command line, not in a sweep or a program")
