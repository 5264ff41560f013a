"""What there is to choose from says what it is; no key is dead, none is hidden."""

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


def node(option: registry.ConfigOption) -> dict[str, object]:
    """The keys of the option's own group, read by another reader than the program's."""
    return {key: value for key, value in option_files.read_keys(option).items() if key != "_target_"}


def violations(
    options: list[registry.ConfigOption], check: Callable[[registry.ConfigOption], object]
) -> dict[str, object]:
    """Return what a check finds wrong, by option; a test per option would take longer than its check."""
    return {f"{option.group}={option.name}": found for option in options if (found := check(option))}


def test_an_option_has_a_description() -> None:
    def check(option: registry.ConfigOption) -> object:
        if not 15 <= len(option.description) <= 120:
            return f"description of {len(option.description)} characters: {option.description!r}"
        lines = option.path.read_text(encoding="utf-8").splitlines()
        place = next(i for i, line in enumerate(lines) if option.description in line)
        return "" if place == (1 if lines[0].startswith("# @package") else 0) else f"description in line {place + 1}"

    assert violations(OPTIONS, check) == {}, "train list shows the description"


def test_no_key_is_masked_as_a_secret() -> None:
    masked = violations(BUILT, lambda option: [key for key in node(option) if secret_masking.is_secret_key(key)])
    assert masked == {}, "a run would be kept without its value"


def test_every_key_has_a_meaning() -> None:
    def check(option: registry.ConfigOption) -> object:
        meanings = option.get_descriptions()
        missing = [key for key in node(option) if len(meanings.get(key, "")) < 5]
        return missing + [key for key, meaning in meanings.items() if len(meaning) > 100]

    assert violations(BUILT, check) == {}


def test_every_key_is_read_and_every_parameter_is_documented() -> None:
    written = {f"{option.group}={option.name}": set(node(option)) for option in BUILT}
    shown: dict[str | None, set[str]] = {}
    for option in BUILT:
        shown.setdefault(option.class_path, set()).update(written[f"{option.group}={option.name}"])

    def check(option: registry.ConfigOption) -> object:
        assert option.class_path
        keys = option_keys.read_keys(option.group, option.class_path)
        if keys is None:
            return f"there is no class {option.class_path}"
        known, own = set(keys), written[f"{option.group}={option.name}"]
        required = {key for key in known if keys[key].default is None}
        # A default in the signature is for what some variants leave out: some other option of the class shows it.
        faults = {
            "keys that nothing reads": own - known,
            "parameters without a value": required - own,
            "parameters that no YAML file shows": known - shown[option.class_path],
        }
        return {fault: names for fault, names in faults.items() if names}

    assert violations(BUILT, check) == {}


def test_the_global_keys_match_the_settings() -> None:
    tree = yaml.safe_load((registry.get_builtin_dir() / "train.yaml").read_text(encoding="utf-8"))
    flat = set(tree) - {"defaults", "hydra"}
    assert flat == set(get_type_hints(Settings))
    meanings = registry.ConfigOption("", "train", registry.get_builtin_dir() / "train.yaml").get_descriptions()
    assert [key for key in flat if len(meanings.get(key, "")) < 10] == []


def test_models_and_data_show_their_shapes() -> None:
    options = [option for option in BUILT if option.group in ("model", "data")]
    assert violations(options, lambda option: "->" not in option.shapes_line) == {}


def test_a_user_folder_adds_options_and_never_hides_any(tmp_path: Path) -> None:
    text = "# @package _global_\n# Mine, a line (2020).\ndefaults:\n  - override /task@_global_.task: regression\n"
    write(
        tmp_path,
        {"model/mine.yaml": text + "model:\n  _target_: own.Net\n  a: 3 # what it is\n", "model/lstm.yaml": ""},
    )
    found = registry.list_options("model", [tmp_path])
    mine = found["mine"]
    assert (mine.description, mine.class_path, mine.task_name) == ("Mine, a line (2020).", "own.Net", "regression")
    assert mine.find_entries() == [("a", "3", "what it is")]
    assert mine.shapes_line == ""
    assert found["lstm"].path.parent.parent == registry.get_builtin_dir()
    assert list(found) == sorted(found)
    assert "model" in registry.list_groups([tmp_path])


def test_an_option_that_is_not_there() -> None:
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
        wanted: dict[str, object] = {**option_files.read_choices(option)}
        for key, value in option_files.read_tree(option).items():
            if key != option.group:
                wanted |= {f"{key}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {key: value}
        assert {key: yaml.safe_load(value) for key, value, _ in option.list_other_overrides()} == wanted, option.path
        global_keys = {key for key in wanted if "." not in key and key not in registry.GROUPS}
        assert option.global_keys == global_keys, option.path
