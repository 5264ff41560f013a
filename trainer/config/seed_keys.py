"""Keys of a group whose value is the random seed of the run, because their YAML file refers to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer.config import registry

if TYPE_CHECKING:
    from trainer.config.run_config import Config

SEED_REFERENCE = "${seed}"


def find_seed_keys(config: Config, group: str) -> list[str]:
    """Return the keys of a group that its YAML file sets to ``${seed}``, unless the command line sets them.

    Args:
        config: Configuration of a run.
        group: The group, such as ``augment``.
    """
    option = registry.list_options(group).get(config.names[group])
    given = {word.partition("=")[0] for word in config.overrides}
    entries = [] if option is None else option.find_entries()
    keys = (key for key, value, _ in entries if value == SEED_REFERENCE and f"{group}.{key}" not in given)
    return [key for key in keys if config.tree[group].get(key) == config.settings.seed]
