"""Groups of runs that differ only in numbers which leave model and data set as they are, such as rates and seeds."""

from __future__ import annotations

import json
from collections.abc import Sequence

from trainer.config.run_config import RUNTIME_ONLY_KEYS, Config
from trainer.config.seed_keys import SEED_REFERENCE, find_seed_keys

VARIED_KEYS = frozenset(
    (
        *("seed", "init", "grad_clip", "grad_clip_mode", "ema", "epochs", "max_steps", "patience", "val_every"),
        *("optimizer", "scheduler", *(RUNTIME_ONLY_KEYS - {"device", "data_dir", "draw", "logger"})),
    )
)
"""Keys in which the runs of a group may differ: each has its own optimizer and schedule, but the same loss."""
DROPOUT_KEY = "dropout"
"""Key of the model in which the runs of a group may differ, too, unless it is 0 for some of them."""
REQUIRED_VALUES: dict[str, tuple[object, ...]] = {
    "devices": (None, 1),
    "shards": (None, 1),
    "strategy": ("data_parallel",),
    "precision": (32,),
    "deterministic": (False,),
    "compile": (False,),
    "checkpoint_activations": (False,),
    "accumulate": (1,),
    "on_nonfinite": ("stop",),
    "num_workers": (0,),
    "budget": (None,),
    "match": (None,),
    "debug": (False,),
    "resume": (None, "auto"),
    "ensemble": (None,),
}
"""Values of the global keys with which several runs can be trained in one process."""


def find_obstacle(config: Config) -> str | None:
    """Return why a run cannot be trained together with others; None if its configuration allows it.

    Args:
        config: Configuration of the run.
    """
    for key, values in REQUIRED_VALUES.items():
        if config.tree.get(key, values[0]) not in values:
            return f"{key}={config.tree[key]}"
    if config.tree["callbacks"]:
        return f"callbacks {', '.join(config.tree['callbacks'])}"
    return "a pause" if config.pause_step is not None else None


def group_configs(configs: Sequence[Config]) -> list[list[int]]:
    """Return the indices of the runs of each group with two or more runs, in their order.

    Args:
        configs: Configurations of the runs.
    """
    groups: dict[str, list[int]] = {}
    for index, config in enumerate(configs):
        if find_obstacle(config) is None:
            groups.setdefault(describe_common_keys(config), []).append(index)
    return [indices for indices in groups.values() if len(indices) > 1]


def describe_common_keys(config: Config) -> str:
    """Return what the runs of a group have in common, as text.

    Args:
        config: Configuration of one of them.
    """
    common = {key: value for key, value in config.tree.items() if key not in VARIED_KEYS}
    common["model"] = {key: _mask_rate(key, value) for key, value in config.tree["model"].items()}
    # Each run has its own loader with its own augmentation, and those with equal seeds have equal ones.
    common["augment"] = dict(common["augment"]) | dict.fromkeys(find_seed_keys(config, "augment"), SEED_REFERENCE)
    # Options of single parameters determine their order in the vector.
    common["groups"] = config.tree["optimizer"].get("groups")
    return json.dumps(common, sort_keys=True, default=str)


def _mask_rate(key: str, value: object) -> object:
    """Return a value of the model, or the same one for all rates of dropout but 0, without which no layer draws."""
    return DROPOUT_KEY if key == DROPOUT_KEY and isinstance(value, float) and value > 0 else value
