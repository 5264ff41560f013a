"""What there is to choose from, read from the YAML files: no Hydra, no torch, a few milliseconds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from trainer.utils.errors import ConfigError
from trainer.utils.suggest import did_you_mean

GROUPS = ("model", "data", "task", "augment", "optimizer", "scheduler", "logger", "callbacks", "experiment")
_PACKAGE_DIR = Path(__file__).parents[1]


def get_builtin_dir() -> Path:
    """The folder of our own configuration: inside an installed package, beside it in a checkout."""
    inside = _PACKAGE_DIR / "conf"
    return inside if inside.is_dir() else _PACKAGE_DIR.parent / "conf"


def read_text(path: Path) -> str:
    """The text of a YAML file. Raises ConfigError for one that cannot be read, or is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8") from error


@dataclass(frozen=True)
class ConfigOption:
    """One YAML file of a group: a model, a data set, an optimizer, ..."""

    group: str
    name: str
    path: Path

    @cached_property
    def text_lines(self) -> list[str]:
        return read_text(self.path).splitlines()

    @property
    def description(self) -> str:
        """The first comment that is not an instruction to Hydra."""
        return next((line[1:].strip() for line in self.text_lines if re.match(r"#\s*[^@\s]", line)), "")

    @property
    def class_path(self) -> str | None:
        found = (re.match(r"\s*_target_:\s*(\S+)", line) for line in self.text_lines)
        return next((match.group(1) for match in found if match), None)

    @property
    def task_name(self) -> str | None:
        """The task this option chooses, if it chooses one."""
        return next((value for key, value, _ in self.other_overrides() if key == "task"), None)

    @property
    def parent_options(self) -> list[str]:
        """The options of its group that this one goes on from."""
        found = (re.match(r"\s*- (?:/?\w+/)?(\w+)\s*(?:#.*)?$", line) for line in self.text_lines)
        return [match.group(1) for match in found if match and match.group(1) not in ("_self_", self.name)]

    @property
    def top_level_keys(self) -> set[str]:
        """The keys that stand furthest left."""
        found = (re.match(r"(\w+):", line) for line in self.text_lines)
        return {match.group(1) for match in found if match}

    @property
    def shapes_line(self) -> str:
        """Names and shapes, as its class states them; found by text, as a list must be quick."""
        module, _, name = (self.class_path or "").rpartition(".")
        path = _PACKAGE_DIR.parent.joinpath(*module.split(".")).with_suffix(".py")
        if not module.startswith("trainer.") or not path.is_file():
            return ""
        body = re.search(rf"^class {name}\b.*?(?=^\S|\Z)", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        found = body and re.search(r'^    shapes = "(.*)"$', body.group(), re.MULTILINE)
        return found.group(1) if found else ""

    def keys_set_in(self, group: str) -> set[str]:
        """The keys of another group that this option sets, which an option of that group must have."""
        return {key.removeprefix(f"{group}.") for key, _, _ in self.other_overrides() if key.startswith(f"{group}.")}

    def other_overrides(self) -> list[tuple[str, str, str]]:
        """(key, value as written, meaning or nothing) of what it sets outside its group, the options it chooses too."""
        found, above = [], ""
        for line in self.text_lines if "# @package _global_" in self.text_lines[:1] else ():
            if match := re.match(r"\s*- override /(\w+)(?:@[\w.]+)?:\s*(\S+)", line):
                found.append((match.group(1), match.group(2), ""))
            elif match := re.match(r"(  )?(\w+):\s*([^#]*?)\s*(?:#\s*(.*))?$", line):
                indent, key, value, meaning = match.groups(default="")
                above = above if indent else key
                if (value or indent) and above != self.group:
                    found.append((f"{above}.{key}" if indent else key, value, meaning))
        return found

    @property
    def global_keys(self) -> set[str]:
        """The keys it sets that belong to no group, such as ``epochs``."""
        return {key for key, _, _ in self.other_overrides() if "." not in key} - {*GROUPS}

    def find_entries(self) -> list[tuple[str, str, str]]:
        """(key, value as written, meaning) of each line that has all three."""
        found = (re.match(r"\s*(\w+):\s*(.*?)\s+#\s+(.*)", line) for line in self.text_lines)
        return [(match.group(1), match.group(2), match.group(3)) for match in found if match]

    def get_descriptions(self) -> dict[str, str]:
        """Each key with the comment beside its value."""
        return {key: meaning for key, _, meaning in self.find_entries()}


def list_options(group: str, folders: Sequence[Path] = ()) -> dict[str, ConfigOption]:
    """The options of a group by name, ours and those in the user's folders; the first of a name wins, as in Hydra."""
    found: dict[str, ConfigOption] = {}
    for folder in (get_builtin_dir(), *folders):
        found = list_dir_options(folder, group) | found
    return dict(sorted(found.items()))


def list_dir_options(folder: Path, group: str) -> dict[str, ConfigOption]:
    files = sorted(path for path in (folder / group).glob("*.yaml") if path.is_file())
    return {path.stem: ConfigOption(group, path.stem, path) for path in files}


def describe_unknown_option(group: str, name: str, known: Iterable[str]) -> str:
    """That a group has no such option, with the nearest and all there are."""
    return f"{group} {name!r} not found{did_you_mean(name, known) or ';'} choices: {', '.join(known) or 'none yet'}"


def list_groups(folders: Iterable[Path] = ()) -> set[str]:
    """The names of the groups there are."""
    return {path.name for folder in (*folders, get_builtin_dir()) for path in folder.iterdir() if path.is_dir()} - {
        "hydra"
    }


def default_option(group: str) -> str:
    """The option of a group that is taken where nobody chooses."""
    found = re.search(rf"^  - {group}: (\w+)", read_text(get_builtin_dir() / "train.yaml"), re.MULTILINE)
    assert found, group
    return found.group(1)
