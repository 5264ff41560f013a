"""Keys and defaults of an optimizer or schedule that is chosen by class: ``optimizer._target_=torch.optim.NAdam``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, open_dict

from trainer.config import introspection, option_keys, plugins, torch_classes
from trainer.config.inapplicable_keys import find_source_layers

GROUPS = ("optimizer", "scheduler")
"""Groups whose classes may be classes of torch."""


def expand_targets(composed: DictConfig, items: Iterable[Override], config_dirs: Sequence[Path] = ()) -> None:
    """Add the keys of the class, in place, to an optimizer or schedule of torch or one that the command line names.

    If the command line names another class, the keys of the option in the YAML file, such as Adam's, are replaced by
    those of the class with their defaults. Values set by a model, data set or experiment are kept if the class has
    such a key.

    Args:
        composed: Composed configuration.
        items: Overrides of the command line.
        config_dirs: Directories with YAML files of the user.
    """
    assigned = {item.key_or_group: str(item.value()) for item in items if not item.is_sweep_override()}
    for group in GROUPS:
        node = composed.get(group)
        if not isinstance(node, DictConfig):
            continue
        current_target = str(node._get_node("_target_"))
        target = assigned.get(f"{group}._target_", current_target)
        if not torch_classes.is_torch_class(target) and (target == current_target or not plugins.is_declared(target)):
            continue
        if introspection.read_signature(target) is None:  # reported by the validation
            continue
        defaults = option_keys.read_defaults(group, target)
        keys_to_keep = set(node)
        if target != current_target:
            keys_to_keep = {
                key for layer in find_source_layers(composed, config_dirs) for key in layer.keys_set_in(group)
            } & keys_to_keep
        with open_dict(composed):
            for key in set(node) - keys_to_keep - {"_target_"}:
                del node[key]
            for key in keys_to_keep - defaults.keys() - {"_target_"} if target != current_target else ():
                del node[key]
            for key, value in defaults.items():
                if key not in list(node):
                    node[key] = value
