"""What a data set, a model or an experiment sets for an optimizer, a schedule, ... that was not chosen in the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from omegaconf import DictConfig, open_dict

from trainer.config import registry

CHOOSERS = ("data", "model", "experiment")
"""Groups whose files set keys of others, the last word last."""
CHOSEN = ("optimizer", "scheduler", "augment", "task")


def drop_strange(composed: DictConfig, folders: Sequence[Path] = ()) -> None:
    """Takes back the keys that files set for another option of a group than the chosen one, which has no such key.

    A model's ``betas`` are for the optimizer it was tuned with: the one its own file chooses, or else those below it.
    Of another, chosen above it by an experiment or on the command line, they would be an unknown key that the user
    never wrote. What both have, such as a learning rate, stays.
    """
    names = composed.hydra.runtime.choices
    layers = [file for group in CHOOSERS for file in _files(group, str(names.get(group)), folders)]
    for group in CHOSEN:
        name, usual = str(names[group]), registry.default_option(group)
        strange: set[str] = set()
        for file in layers:
            usual = next((value for key, value, _ in file.elsewhere() if key == group), usual)
            strange = strange - file.sets_in(group) if usual == name else strange | file.sets_in(group)
        if strange:
            own = {key for file in _files(group, name, folders) for key in file.keys}
            with open_dict(composed):
                for key in strange - own:
                    composed[group].pop(key, None)


def _files(group: str, name: str, folders: Sequence[Path]) -> Iterator[registry.Option]:
    """The file of an option, behind those of its group that it goes on from."""
    known = registry.options(group, folders)
    if name in known:
        for parent in known[name].parents:
            yield from _files(group, parent, folders)
        yield known[name]
