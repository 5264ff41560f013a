"""The key ``debug``: ``fast`` is a run of one step of everything, which is marked as such."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trainer.utils.errors import ConfigError

if TYPE_CHECKING:
    from trainer.config.schema import Settings

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


def check_is_run(settings: Settings) -> Settings:
    """Return the global keys of a run.

    Args:
        settings: The global keys.

    Raises:
        ConfigError: They ask for ``overfit``, which the command handles before there is a run.
    """
    if settings.debug == OVERFIT:
        raise ConfigError("debug=overfit: it checks one model on the command line, not in a sweep or a program")
    return settings
