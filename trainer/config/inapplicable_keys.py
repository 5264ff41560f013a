"""What a data set, a model or an experiment sets for an optimizer, a schedule, ... that was not chosen in the end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, open_dict

from trainer.config import registry
from trainer.config.defaults_list import Layer

SOURCE_GROUPS = ("data", "model", "experiment")
"""Groups whose files set keys of others, the last word last."""
TARGET_GROUPS = ("optimizer", "scheduler", "augment", "task")


def drop_inapplicable_keys(composed: DictConfig, config_dirs: Sequence[Path] = ()) -> None:
    """Takes back the keys that files set for another option of a group than the chosen one, which has no such key.

    A model's ``betas`` are for the optimizer it was tuned with: the one its own file chooses, or else those below it.
    Of another, chosen above it by an experiment or on the command line, they would be an unknown key that the user
    never wrote. What both have, such as a learning rate, stays.
    """
    names = composed.hydra.runtime.choices
    layers = find_source_layers(composed, config_dirs)
    for group in TARGET_GROUPS:
        chosen_name, assumed_name = str(names[group]), registry.get_default_option(group)
        inapplicable_keys: set[str] = set()
        for layer in layers:
            assumed_name = layer.chosen_options.get(group, assumed_name)
            keys = layer.keys_set_in(group)
            inapplicable_keys = inapplicable_keys - keys if assumed_name == chosen_name else inapplicable_keys | keys
        if inapplicable_keys:
            options = registry.list_options(group, config_dirs)
            own_keys = options[chosen_name].keys_set_in(group) if chosen_name in options else set()
            with open_dict(composed):
                for key in inapplicable_keys - own_keys:
                    composed[group].pop(key, None)


def find_source_layers(composed: DictConfig, config_dirs: Sequence[Path] = ()) -> list[Layer]:
    """Return the YAML files, parents first, of the data set, model and experiment that were chosen."""
    names = composed.hydra.runtime.choices
    options = (registry.list_options(group, config_dirs).get(str(names.get(group))) for group in SOURCE_GROUPS)
    return [layer for option in options if option for layer in option.layers]
