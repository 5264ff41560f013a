"""Keys that a data set, model or experiment sets for an optimizer, schedule, ... that is not the chosen one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from omegaconf import DictConfig, open_dict

from trainer.config import introspection, registry
from trainer.config.defaults_list import Layer

SOURCE_GROUPS = ("data", "model", "experiment")
"""Groups whose files set keys of other groups, in order of increasing precedence."""
TARGET_GROUPS = ("optimizer", "scheduler", "augment", "task")
"""Groups whose keys they set."""


def drop_inapplicable_keys(composed: DictConfig, config_dirs: Sequence[Path] = ()) -> None:
    """Remove keys, in place, that files set for another option of a group and that the chosen option does not have.

    A model's ``betas`` apply to the optimizer that is chosen by its own file or by files of lower precedence. If an
    experiment or the command line chooses another optimizer, they would be reported as unknown keys that the user never
    wrote. Keys that both have, such as a learning rate, are kept.

    Args:
        composed: Composed configuration.
        config_dirs: Directories with YAML files of the user.
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


def drop_inapplicable_data_keys(
    composed: DictConfig, explicit_keys: Collection[str], config_dirs: Sequence[Path] = ()
) -> None:
    """Remove keys, in place, that the model's file sets for its data set and that the chosen one does not have.

    A model may take text or images: the tokenizer that its file chooses is no key of an image data set. Where the keys
    are required, the options are incompatible (``compatible_options``).

    Args:
        composed: Composed configuration.
        explicit_keys: Keys of the command line.
        config_dirs: Directories with YAML files of the user.
    """
    model = registry.list_options("model", config_dirs).get(str(composed.hydra.runtime.choices.get("model")))
    dataset = introspection.read_signature(str(composed.data.get("_target_")))
    if model is None or dataset is None or dataset.has_unknown_keys:
        return
    with open_dict(composed):
        for key in model.keys_set_in("data") - dataset.init_types.keys():
            if f"data.{key}" not in explicit_keys:
                composed.data.pop(key, None)


def find_source_layers(composed: DictConfig, config_dirs: Sequence[Path] = ()) -> list[Layer]:
    """Return the YAML files of the chosen data set, model and experiment, parents first.

    Args:
        composed: Composed configuration.
        config_dirs: Directories with YAML files of the user.
    """
    names = composed.hydra.runtime.choices
    options = (registry.list_options(group, config_dirs).get(str(names.get(group))) for group in SOURCE_GROUPS)
    return [layer for option in options if option for layer in option.layers]
