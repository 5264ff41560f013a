"""Built-in and user directories of YAML files on Hydra's search path; the latter are restricted to options of groups.

Hydra merges everything under ``hydra/`` on its search path into its own configuration and acts on it (launchers,
callbacks, loggers) before any job is checked. A directory from an untrusted source must not be able to do that.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote, unquote

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import Container, DictConfig, ListConfig, OmegaConf

from trainer.config import yaml_file, yaml_limits
from trainer.config.defaults_list import get_builtin_dir
from trainer.core.types import MISSING
from trainer.utils.errors import ConfigError

HYDRA_GROUP = "hydra"


class BuiltinConfigSource(FileConfigSource):
    """Config source that finds the header of a file below other comments, such as a license."""

    @staticmethod
    def scheme() -> str:
        return "builtin"

    def load_config(self, config_path: str) -> ConfigResult:
        file = self._get_file(config_path)
        return self._parse_file(file, yaml_limits.read_text(file))

    def _get_file(self, config_path: str) -> Path:
        return Path(self.path, self._normalize_file_name(config_path))

    def _parse_file(self, file: Path, text: str) -> ConfigResult:
        return ConfigResult(
            provider=self.provider,
            path=self.full_path(),
            config=OmegaConf.load(file),
            header={"package": yaml_file.read_package(text)},
        )


class UserConfigSource(BuiltinConfigSource):
    """Config source of a user directory: checks each file before it is loaded and hides Hydra's own groups.

    Args:
        provider: Name of the source in Hydra's search path.
        path: URL-quoted directory.
    """

    def __init__(self, provider: str, path: str):
        super().__init__(provider, unquote(path))

    @staticmethod
    def scheme() -> str:
        return "own"

    def load_config(self, config_path: str) -> ConfigResult:
        file = self._get_file(config_path)
        if not _is_user_path(config_path):
            raise ConfigError(f"--config-dir: {file}: only Hydra's own files and the command line may configure Hydra")
        text = yaml_limits.read_yaml(file)
        if problem := yaml_file.find_header_problem(text):
            raise ConfigError(f"{file}: {problem}")
        try:
            result = self._parse_file(file, text)
        except (ValueError, OSError) as error:  # OmegaConf raises OSError for YAML that is not a configuration
            raise ConfigError(f"{file}: {error}") from error
        _check_defaults(result.config, file)
        return result

    def is_group(self, config_path: str) -> bool:
        return _is_user_path(config_path) and super().is_group(config_path)

    def is_config(self, config_path: str) -> bool:
        return _is_user_path(config_path) and super().is_config(config_path)

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        return super().list(config_path, results_filter) if _is_user_path(config_path) else []


class BuiltinSearchPath(SearchPathPlugin):
    """Hydra plugin that reads the built-in directory by ``BuiltinConfigSource``; other paths are left as they are."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        builtin_dir = str(get_builtin_dir().absolute())
        for element in search_path.get_path():
            if element.path in (builtin_dir, f"file://{builtin_dir}"):
                element.path = f"{BuiltinConfigSource.scheme()}://{builtin_dir}"


def make_searchpath_override(config_dirs: Sequence[Path]) -> list[str]:
    """Register the config sources in Hydra, and return the override that adds directories to its search path, if any.

    Call it before Hydra is initialized.

    Args:
        config_dirs: Directories with YAML files of the user.

    Raises:
        ConfigError: A directory cannot be read or contains configuration of Hydra itself.
    """
    for config_dir in config_dirs:
        _reject_hydra_groups(config_dir)
    for plugin in (BuiltinConfigSource, UserConfigSource, BuiltinSearchPath):
        Plugins.instance().register(plugin)
    urls = ",".join(
        f"'{UserConfigSource.scheme()}://{quote(str(config_dir.absolute()))}'" for config_dir in config_dirs
    )
    return [f"hydra.searchpath=[{urls}]"] if config_dirs else []


def read_searchpath(urls: Sequence[str]) -> list[str]:
    """Return the directories that ``make_searchpath_override`` has added to a search path.

    Args:
        urls: Search path of a composed configuration.
    """
    prefix = f"{UserConfigSource.scheme()}://"
    return [unquote(url.removeprefix(prefix)) for url in urls if url.startswith(prefix)]


def _reject_hydra_groups(config_dir: Path) -> None:
    try:
        names = os.listdir(config_dir)
    except OSError as error:
        raise ConfigError(f"--config-dir: {config_dir} cannot be read: {error.strerror}") from error
    for name in names:
        if name.casefold().partition(".")[0] == HYDRA_GROUP:
            raise ConfigError(
                f"--config-dir: {config_dir / name}: a directory of YAML files must not contain configuration of Hydra"
                " itself; choose installed launchers and sweepers on the command line (hydra/launcher=NAME)"
            )


def _check_defaults(config: Container, file: Path) -> None:
    """Raise ConfigError for a defaults list that Hydra would reject with an internal error."""
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
    """Return whether an item of a defaults list is a file name, or one group with a name, a list of names, or null."""
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
    """Return whether a config path stays inside the directory and outside Hydra's own groups."""
    parts = Path(os.path.normpath(config_path)).parts
    return not parts or (parts[0] not in ("..", "/") and parts[0].casefold().partition(".")[0] != HYDRA_GROUP)
