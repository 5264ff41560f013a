"""A user's folder of YAML files on Hydra's search path: options of groups, and nothing for Hydra itself.

Hydra composes whatever lies under ``hydra/`` on its search path into its own configuration, and acts on that before
a job is looked at: it starts launchers, callbacks, loggers. A folder that comes from elsewhere must not reach there.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote, unquote

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult
from omegaconf import Container, DictConfig, ListConfig, OmegaConf

from trainer.config import yaml_file, yaml_limits
from trainer.core.types import MISSING
from trainer.utils.errors import ConfigError

HYDRA_GROUP = "hydra"


class UserConfigSource(FileConfigSource):
    """A folder on Hydra's search path: each file is judged before it is read, and Hydra's own groups are not there."""

    def __init__(self, provider: str, path: str):
        super().__init__(provider, unquote(path))

    @staticmethod
    def scheme() -> str:
        return "own"

    def load_config(self, config_path: str) -> ConfigResult:
        file = Path(self.path, self._normalize_file_name(config_path))
        if not _is_user_path(config_path):
            raise ConfigError(f"--config-dir: {file}: only Hydra's own files and the command line choose for Hydra")
        if header := yaml_file.find_unread_header(yaml_limits.read_yaml(file)):
            raise ConfigError(f"{file}: {header!r} stands below other text, where Hydra reads no header; move it up")
        try:
            result = super().load_config(config_path)
        # Of a header that is none, and of a text that is YAML but no configuration, which OmegaConf calls an OSError.
        except (ValueError, OSError) as error:
            raise ConfigError(f"{file}: {error}") from error
        _check_defaults(result.config, file)
        return result

    def is_group(self, config_path: str) -> bool:
        return _is_user_path(config_path) and super().is_group(config_path)

    def is_config(self, config_path: str) -> bool:
        return _is_user_path(config_path) and super().is_config(config_path)

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        return super().list(config_path, results_filter) if _is_user_path(config_path) else []


def make_searchpath_override(config_dirs: Sequence[Path]) -> list[str]:
    """The override that puts folders on Hydra's search path.

    Raises ConfigError for a folder that holds something for Hydra.
    """
    for config_dir in config_dirs:
        _reject_hydra_groups(config_dir)
    SourcesRegistry.instance().register(UserConfigSource)
    urls = ",".join(
        f"'{UserConfigSource.scheme()}://{quote(str(config_dir.absolute()))}'" for config_dir in config_dirs
    )
    return [f"hydra.searchpath=[{urls}]"] if config_dirs else []


def _reject_hydra_groups(config_dir: Path) -> None:
    try:
        names = os.listdir(config_dir)
    except OSError as error:
        raise ConfigError(f"--config-dir: {config_dir} cannot be read: {error.strerror}") from error
    for name in names:
        if name.casefold().partition(".")[0] == HYDRA_GROUP:
            raise ConfigError(
                f"--config-dir: {config_dir / name}: a folder of YAML files may hold nothing for Hydra itself, which"
                " would act on it; choose installed launchers and sweepers on the command line (hydra/launcher=NAME)"
            )


def _check_defaults(config: Container, file: Path) -> None:
    """Raises ConfigError for a defaults list that Hydra would end in an error of its own for."""
    defaults = config._get_node("defaults") if isinstance(config, DictConfig) else None
    if defaults is None:
        return
    if not isinstance(defaults, ListConfig) or defaults._is_none() or defaults._is_missing():
        raise ConfigError(f"{file}: defaults must be a list, as in '- model: mlp'")
    items = OmegaConf.to_container(defaults, resolve=False)
    assert isinstance(items, list)
    for item in items:
        if not _is_default(item):
            raise ConfigError(f"{file}: defaults: {item!r} given; each must be the name of a file, or 'group: name'")


def _is_default(item: object) -> bool:
    """Whether an item of a defaults list is the name of a file, or one group with a name, several, or none."""
    if not isinstance(item, dict):
        return isinstance(item, str) and item != MISSING
    if len(item) != 1:
        return False
    [(group, names)] = item.items()
    has_valid_names = names is None or all(
        isinstance(name, str) for name in (names if isinstance(names, list) else [names])
    )
    return has_valid_names and isinstance(group, str) and group.partition("@")[0] != ""


def _is_user_path(config_path: str) -> bool:
    """Whether a path of Hydra's stays in the folder and out of Hydra's own groups."""
    parts = Path(os.path.normpath(config_path)).parts
    return not parts or (parts[0] not in ("..", "/") and parts[0].casefold().partition(".")[0] != HYDRA_GROUP)
