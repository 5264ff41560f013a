"""Options with their descriptions, keys and overrides of other groups."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import get_type_hints

import yaml

from tests.helpers import option_files
from tests.helpers.commands import write
from trainer.config import option_keys, registry, secret_masking
from trainer.config.schema import Settings

OPTIONS = [option for group in registry.GROUPS for option in registry.list_options(group).values()]
BUILT = [option for option in OPTIONS if option.group in registry.OBJECT_GROUPS]


def read_own_keys(option: registry.ConfigOption) -> dict[str, object]:
    """Return the keys of the option's own group, read independently of the package."""
    return {key: value for key, value in option_files.read_keys(option).items() if key != "_target_"}


def violations(
    options: list[registry.ConfigOption], check: Callable[[registry.ConfigOption], object]
) -> dict[str, object]:
    """Return the findings of a check by option; a test per option would take longer than its check."""
    return {f"{option.group}={option.name}": finding for option in options if (finding := check(option))}


def test_an_option_has_a_description() -> None:
    def check(option: registry.ConfigOption) -> object:
        if not 15 <= len(option.description) <= 120:
            return f"description of {len(option.description)} characters: {option.description!r}"
        lines = option.path.read_text(encoding="utf-8").splitlines()
        index = next(i for i, line in enumerate(lines) if option.description in line)
        return "" if index == (1 if lines[0].startswith("# @package") else 0) else f"description in line {index + 1}"

    assert violations(OPTIONS, check) == {}, "train list shows the description"


def test_no_key_is_masked_as_a_secret() -> None:
    masked = violations(
        BUILT, lambda option: [key for key in read_own_keys(option) if secret_masking.is_secret_key(key)]
    )
    assert masked == {}, "a run would be saved without its value"


def test_every_key_has_a_meaning() -> None:
    def check(option: registry.ConfigOption) -> object:
        meanings = option.get_descriptions()
        missing = [key for key in read_own_keys(option) if len(meanings.get(key, "")) < 5]
        return missing + [key for key, meaning in meanings.items() if len(meaning) > 100]

    assert violations(BUILT, check) == {}


def test_every_key_is_read_and_every_parameter_is_documented() -> None:
    keys_by_option = {f"{option.group}={option.name}": set(read_own_keys(option)) for option in BUILT}
    keys_by_class: dict[str | None, set[str]] = {}
    for option in BUILT:
        keys_by_class.setdefault(option.class_path, set()).update(keys_by_option[f"{option.group}={option.name}"])

    def check(option: registry.ConfigOption) -> object:
        assert option.class_path
        keys = option_keys.read_keys(option.group, option.class_path)
        if keys is None:
            return f"there is no class {option.class_path}"
        known, own_keys = set(keys), keys_by_option[f"{option.group}={option.name}"]
        required = {key for key in known if keys[key].default is None}
        # A variant may leave out a key with a default; another option of the class shows it.
        faults = {
            "keys that nothing reads": own_keys - known,
            "parameters without a value": required - own_keys,
            "parameters that no YAML file shows": known - keys_by_class[option.class_path],
        }
        return {fault: names for fault, names in faults.items() if names}

    assert violations(BUILT, check) == {}


def test_the_global_keys_match_the_settings() -> None:
    tree = yaml.safe_load((registry.get_builtin_dir() / "train.yaml").read_text(encoding="utf-8"))
    global_keys = set(tree) - {"defaults", "hydra"}
    assert global_keys == set(get_type_hints(Settings))
    meanings = registry.ConfigOption("", "train", registry.get_builtin_dir() / "train.yaml").get_descriptions()
    assert [key for key in global_keys if len(meanings.get(key, "")) < 10] == []


def test_models_and_data_show_their_shapes() -> None:
    options = [option for option in BUILT if option.group in ("model", "data")]
    assert violations(options, lambda option: "->" not in option.shapes_line) == {}


def test_user_folder_adds_options_without_hiding_built_in_ones(tmp_path: Path) -> None:
    text = "# @package _global_\n# Mine, a line (2020).\ndefaults:\n  - override /task@_global_.task: regression\n"
    write(
        tmp_path,
        {"model/mine.yaml": text + "model:\n  _target_: own.Net\n  a: 3 # what it is\n", "model/lstm.yaml": ""},
    )
    options = registry.list_options("model", [tmp_path])
    mine = options["mine"]
    assert (mine.description, mine.class_path, mine.task_name) == ("Mine, a line (2020).", "own.Net", "regression")
    assert mine.find_entries() == [("a", "3", "what it is")]
    assert mine.shapes_line == ""
    assert options["lstm"].path.parent.parent == registry.get_builtin_dir()
    assert list(options) == sorted(options)
    assert "model" in registry.list_groups([tmp_path])


def test_unknown_option_is_described_with_suggestion_and_choices() -> None:
    assert registry.describe_unknown_option("model", "lstmm", ["gru", "lstm"]) == (
        "model 'lstmm' not found; did you mean lstm? choices: gru, lstm"
    )
    assert (
        registry.describe_unknown_option("experiment", "mine", []) == "experiment 'mine' not found; choices: none yet"
    )


def test_keys_set_in_another_group_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(
        "# @package _global_\noptimizer:\n  lr: 1\ndata:\n  tokens: x\n  other:\n    inner: 1\nmodel:\n  a: 1\n"
    )
    option = registry.ConfigOption("model", "a", path)
    assert option.keys_set_in("data") == {"tokens", "other"}
    assert option.keys_set_in("optimizer") == {"lr"}
    assert option.keys_set_in("scheduler") == set()


def test_overrides_of_other_groups_match_the_file() -> None:
    for option in OPTIONS:
        expected: dict[str, object] = {**option_files.read_choices(option)}
        for key, value in option_files.read_tree(option).items():
            if key != option.group:
                expected |= {f"{key}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {key: value}
        assert {key: yaml.safe_load(value) for key, value, _ in option.list_other_overrides()} == expected, option.path
        global_keys = {key for key in expected if "." not in key and key not in registry.GROUPS}
        assert option.global_keys == global_keys, option.path
