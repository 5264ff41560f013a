"""What a data set, a model or an experiment sets for an optimizer, a schedule, ... that was not chosen in the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from omegaconf import DictConfig, open_dict

from trainer.config import registry

SOURCE_GROUPS = ("data", "model", "experiment")
"""Groups whose files set keys of others, the last word last."""
TARGET_GROUPS = ("optimizer", "scheduler", "augment", "task")


def drop_inapplicable_keys(composed: DictConfig, folders: Sequence[Path] = ()) -> None:
    """Takes back the keys that files set for another option of a group than the chosen one, which has no such key.

    A model's ``betas`` are for the optimizer it was tuned with: the one its own file chooses, or else those below it.
    Of another, chosen above it by an experiment or on the command line, they would be an unknown key that the user
    never wrote. What both have, such as a learning rate, stays.
    """
    names = composed.hydra.runtime.choices
    layers = find_source_files(composed, folders)
    for group in TARGET_GROUPS:
        name, usual = str(names[group]), registry.default_option(group)
        strange: set[str] = set()
        for file in layers:
            usual = next((value for key, value, _ in file.other_overrides() if key == group), usual)
            strange = strange - file.keys_set_in(group) if usual == name else strange | file.keys_set_in(group)
        if strange:
            own = {key for file in _find_option_files(group, name, folders) for key in file.top_level_keys}
            with open_dict(composed):
                for key in strange - own:
                    composed[group].pop(key, None)


def find_source_files(composed: DictConfig, folders: Sequence[Path] = ()) -> list[registry.ConfigOption]:
    """The files of the data set, the model and the experiment that were chosen, the last word last."""
    names = composed.hydra.runtime.choices
    return [file for group in SOURCE_GROUPS for file in _find_option_files(group, str(names.get(group)), folders)]


def _find_option_files(group: str, name: str, folders: Sequence[Path]) -> Iterator[registry.ConfigOption]:
    """The file of an option, behind those of its group that it goes on from."""
    known = registry.list_options(group, folders)
    if name in known:
        for parent in known[name].parent_options:
            yield from _find_option_files(group, parent, folders)
        yield known[name]
