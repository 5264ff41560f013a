"""The key ``ensemble``: number of models that are trained with different seeds and whose predictions are averaged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from trainer.config import debug_keys, introspection, parallel_keys, registry
from trainer.config.registry import OBJECT_GROUPS
from trainer.config.seed_keys import find_seed_keys
from trainer.utils.errors import ConfigError
from trainer.utils.text import join_names

if TYPE_CHECKING:
    from trainer.config.run_config import Config
    from trainer.config.schema import Settings

KEY = "ensemble"
AVERAGING_METHODS = ("predict", "average_outputs")
"""Methods of the tasks whose predictions can be averaged."""
MODEL_METHODS = frozenset(("forward", "encode", "decode"))
"""Methods of models that an ensemble has, too: other ones would be those of one model."""
OWN_KEYS = (KEY, "seed", "resume", "hydra.run.dir")
"""Keys of the command line of an ensemble that its members have no use for, or have with another value."""


def find_ensemble_problems(tree: Mapping[str, Any]) -> list[str]:
    """Return why an ensemble cannot be trained.

    Args:
        tree: Resolved configuration of a command line, each key of which has a valid type.
    """
    count = tree.get(KEY)
    if count is None:
        return []
    reasons = {
        _describe_task(tree["task"]["_target_"]): not can_average(tree["task"]["_target_"]),
        f"budget: it is the time of one run, and an ensemble trains {count}; set epochs or max_steps": (
            tree.get("budget") is not None
        ),
        "devices: the members of an ensemble are trained by one process each; leave it out": (
            parallel_keys.count_processes(tree) > 1
        ),
        "debug=overfit: it checks one model; leave ensemble out": tree.get("debug") == debug_keys.OVERFIT,
    }
    return [reason for reason, applies in reasons.items() if applies]


def can_average(target: str) -> bool:
    """Return whether a task, by its class path, can average the predictions of several models."""
    signature = introspection.read_signature(target)
    if signature is None or not {*signature.required_model_methods} <= MODEL_METHODS:
        return False
    return {*AVERAGING_METHODS} <= signature.parameters_by_method.keys()


def _describe_task(target: str) -> str:
    options = registry.list_options("task")
    names = [name for name, option in options.items() if option.class_path and can_average(option.class_path)]
    return (
        f"ensemble: {target.rpartition('.')[2]} has no predictions that can be averaged; the tasks that do:"
        f" {join_names(names)}"
    )


def check_is_one_model(settings: Settings, remedy: str) -> None:
    """Check that a command that trains one model is not given an ensemble.

    Args:
        settings: The global keys.
        remedy: What to do instead, for the message.

    Raises:
        ConfigError: They ask for an ensemble.
    """
    if settings.ensemble is not None:
        raise ConfigError(f"ensemble: {settings.ensemble} given, but this command trains one model at a time; {remedy}")


def select_identity(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration that identifies a run: no ensemble counts as none, as in runs without this key.

    Args:
        tree: Resolved configuration.
    """
    return {key: value for key, value in tree.items() if key != KEY or value is not None}


def make_member_config(config: Config, number: int, run_dir: str) -> Config:
    """Return the configuration of a member of an ensemble: that of a run with another seed, on the same rows.

    Ensembles of one size with different seeds share no member, so that their scores are independent.

    Args:
        config: Configuration of the ensemble.
        number: Number of the member, from 0.
        run_dir: Its run directory.
    """
    settings = config.settings
    assert settings.ensemble is not None
    seed = settings.seed * settings.ensemble + number
    changes: dict[str, Any] = {KEY: None, "seed": seed, "resume": None}
    groups = {group: dict.fromkeys(find_seed_keys(config, group), seed) for group in OBJECT_GROUPS if group != "data"}
    overrides = [word for word in config.overrides if word.partition("=")[0] not in OWN_KEYS]

    def change(tree: Mapping[str, Any]) -> dict[str, Any]:
        return {**tree, **{group: {**tree[group], **seeds} for group, seeds in groups.items()}, **changes}

    return replace(
        config,
        tree=change(config.tree),
        raw=change(config.raw),
        overrides=[*overrides, f"seed={seed}"],
        run_dir=run_dir,
        sweep_dir=run_dir,
        settings=replace(settings, ensemble=None, seed=seed, resume=None),
    )
