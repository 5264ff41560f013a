"""The key ``debug``: ``fast`` is a run of one step of everything, which is marked as such."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from trainer.utils.errors import ConfigError

if TYPE_CHECKING:
    from trainer.config.schema import Settings

FAST = "fast"
"""One step, and one batch of each evaluation."""
OVERFIT = "overfit"
"""One batch to almost zero loss; it is no run."""
EFFECTLESS_KEYS = ("epochs", "budget")
"""Keys of the length of a run that ``overfit`` does not have."""
NO_RUN = (
    "debug=overfit: it checks one model on the command line (train KEY=VALUE ... debug=overfit); it is no run to plan,"
    " show, sweep or search"
)


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


def find_debug_problems(tree: Mapping[str, Any], keys: Collection[str], *, is_single_run: bool) -> list[str]:
    """Return why ``debug=overfit`` cannot be used, or which keys have no effect on it.

    Args:
        tree: Resolved configuration of a command line.
        keys: Keys that the command line sets.
        is_single_run: Whether the command trains it alone, and not in a sweep or a search.
    """
    if tree.get("debug") != OVERFIT:
        return []
    if not is_single_run:
        return [NO_RUN]
    problems = [
        f"{key}: it has no effect on debug=overfit, whose most steps are max_steps"
        for key in EFFECTLESS_KEYS
        if key in keys and tree[key] is not None
    ]
    return problems + ["resume: debug=overfit starts from new weights"] * (tree.get("resume") is not None)


def check_is_run(settings: Settings) -> Settings:
    """Return the global keys of a run.

    Args:
        settings: The global keys.

    Raises:
        ConfigError: They ask for ``overfit``, which the command handles before there is a run.
    """
    if settings.debug == OVERFIT:
        raise ConfigError(NO_RUN)
    return settings


def check_trained_run(debug: object, saved: object = False) -> None:
    """Check the value of a command line for a run that has been started already.

    Args:
        debug: The value of the command line.
        saved: That of the run.

    Raises:
        ConfigError: It would have no effect, or change what kind of run it is.
    """
    if debug != saved and {debug, saved} & {FAST, OVERFIT}:
        kind = "with" if saved == FAST else "without"
        raise ConfigError(f"debug: {debug} given, but the run was started {kind} debug=fast, which is fixed then")
