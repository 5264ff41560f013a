"""Parsing of YAML files: independent of their style and equal to what Hydra reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hydra.plugins.config_source import ConfigSource
from omegaconf import OmegaConf

from tests.helpers.commands import write
from tests.helpers.marks import mark_slow_after
from tests.helpers.reformat import LICENSE, STYLES
from trainer.config import compose, defaults_list, hydra_compose, registry, yaml_file
from trainer.utils.errors import ConfigError

CONF = registry.get_builtin_dir()
FILES = sorted(CONF.rglob("*.yaml"))


@pytest.fixture(params=mark_slow_after(1, STYLES))
def restyled_conf(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Replace the built-in configuration by a copy in another YAML style."""
    for path in FILES:
        copy = tmp_path / "conf" / path.relative_to(CONF)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(STYLES[request.param](path.read_text(encoding="utf-8")), encoding="utf-8", newline="")
    monkeypatch.setattr(defaults_list, "PACKAGE_DIR", tmp_path)
    registry.get_builtin_dir.cache_clear()
    yield tmp_path / "conf"
    monkeypatch.undo()
    registry.get_builtin_dir.cache_clear()


def summarize_option(option: registry.ConfigOption) -> dict[str, object]:
    """Return the properties of an option with parsed values."""
    return {
        "class": option.class_path,
        "chosen": option.chosen_options,
        "flat": option.global_keys,
        "elsewhere": {key: yaml.safe_load(value) for key, value, _ in option.list_other_overrides()},
        "keys": {key: yaml.safe_load(value) for key, value, _ in option.find_entries()},
        "shapes": option.shapes_line,
        "layers": [(layer.config_path, layer.package) for layer in option.layers],
        "problem": option.problem,
    }


@pytest.mark.slow
def test_options_are_independent_of_yaml_style(restyled_conf: Path, request: pytest.FixtureRequest) -> None:
    style = request.node.callspec.params["restyled_conf"]
    texts = {path: path.read_text(encoding="utf-8") for path in FILES}
    for path, text in texts.items():
        copy = restyled_conf / path.relative_to(CONF)
        # Not resolved: ``${now:...}`` changes every second.
        assert OmegaConf.to_container(OmegaConf.load(copy)) == OmegaConf.to_container(OmegaConf.load(path))
        package = yaml_file.read_package(copy.read_text(encoding="utf-8"))
        assert package == ConfigSource._get_header_dict(text[:512])["package"]
        group = "" if path.parent == CONF else path.parent.name
        before, after = (registry.ConfigOption(group, path.stem, file) for file in (path, copy))
        assert after.path.is_relative_to(registry.get_builtin_dir())
        assert summarize_option(after) == summarize_option(before)
        if style == "by hand":  # the only one with comments
            assert after.description == before.description
            assert after.get_descriptions() == before.get_descriptions()
            assert after.list_other_overrides() == before.list_other_overrides()


COMMANDS = [
    [],
    ["model=gru"],
    ["experiment=mnist_diffusion"],
    ["experiment=remember", "epochs=3"],
    ["model=diffusion", "data=wine"],
    ["model=diffusion", "data=wine", "epochs=2"],
    ["model=real_nvp", "data=wine", "task=density"],
    ["model=wgan_gp", "data=ring", "optimizer=sgd"],
    ["model=dcgan", "data=digits", "scheduler=step"],
    ["model=real_nvp", "data=chickenpox"],
]


@pytest.fixture(scope="module")
def default_configs() -> list[compose.Config]:
    return [compose.compose(words) for words in COMMANDS]


@pytest.mark.usefixtures("restyled_conf")
@pytest.mark.slow
def test_configuration_is_independent_of_yaml_style(default_configs: list[compose.Config]) -> None:
    for words, before in zip(COMMANDS, default_configs, strict=True):
        after = compose.compose(words)
        assert after.tree == before.tree, words
        assert (after.names, after.config_hash) == (before.names, before.config_hash)
        for key in ("epochs", "max_steps", "monitor"):
            assert after.tree[key] == before.tree[key]
    with pytest.raises(ConfigError, match=r"lstm works with: .*synthetic_seq"):
        compose.compose(["model=lstm", "data=moons"])
    assert registry.get_default_option("model") == "lstm"


RENAMED_PREFIX = "restyled_"


@pytest.fixture(params=mark_slow_after(1, STYLES))
def restyled_user_dir(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a user directory with the options of all groups in another YAML style, under other names."""
    for path in FILES:
        group = path.parent.relative_to(CONF).as_posix()
        if group in registry.GROUPS:
            copy = tmp_path / group / f"{RENAMED_PREFIX}{path.name}"
            copy.parent.mkdir(exist_ok=True)
            copy.write_text(STYLES[request.param](path.read_text(encoding="utf-8")), encoding="utf-8", newline="")
    return tmp_path


@pytest.mark.slow
def test_restyled_user_files_compose_to_the_same_tree(restyled_user_dir: Path) -> None:
    words = [word for words in COMMANDS for word in words if word.partition("=")[0] in registry.GROUPS]
    for word in dict.fromkeys([*words, "experiment=translate", "logger=tensorboard"]):
        group, _, name = word.partition("=")
        expected, actual = (
            OmegaConf.to_container(hydra_compose.compose_base((choice,), (restyled_user_dir,)), resolve=False)
            for choice in (word, f"{group}={RENAMED_PREFIX}{name}")
        )
        assert isinstance(expected, dict)
        assert isinstance(actual, dict)
        assert {**actual, "hydra": None} == {**expected, "hydra": None}, word


HEADERS = [
    "# @package _global_\nmodel: 1\n",
    "#@package _global_",
    "   # @package   model.inner   \n",
    "\n\n# @package _global_\n",
    "# @author someone\n# @package _global_\n",
    "# @package _global_\n# @package model\n",
    "model: 1\n# @package _global_\n",
    "# @package _group_\n",
    "# @package\n",
    "# a license\nmodel: 1\n",
    "",
]


@pytest.mark.parametrize("text", HEADERS)
def test_package_header_matches_hydra(text: str) -> None:
    try:
        expected = ConfigSource._get_header_dict(text)["package"]
    except ValueError:
        expected = None  # Hydra refuses the file
    assert yaml_file.read_package(text) == expected


PREAMBLES = {
    "document start with a comment": "--- # mine\n",
    "license": LICENSE,
    "paragraphs": "# one\n\n  # two\n#\n\n# three\n",
    "directives": "# @author A. B. Someone\n# mine\n",
    "document start": "---\n",
    "YAML version": "%YAML 1.1\n---\n",
    "byte-order mark": "\ufeff",
    "byte-order mark and license": f"\ufeff{LICENSE}",
    "600 blanks": f"{' ' * 600}\n",
    "Windows line ends": "# one\r\n\r\n",
}


@pytest.mark.parametrize("preamble", PREAMBLES.values(), ids=PREAMBLES)
@pytest.mark.parametrize("header", mark_slow_after(1, ["# @package _global_", "## @package\t_global_ "]))
def test_header_is_read_below_other_comments(preamble: str, header: str, tmp_path: Path) -> None:
    path = tmp_path / "experiment" / "mine.yaml"
    path.parent.mkdir()
    path.write_text(f"{preamble}{header}\nepochs: 3\n", encoding="utf-8", newline="")
    assert compose.compose(["data=moons", "model=mlp", "experiment=mine"], [tmp_path]).settings.epochs == 3
    assert registry.list_options("experiment", [tmp_path])["mine"].global_keys == {"epochs"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("model: {}\n# @package _global_\n", "'# @package _global_' is below a key, where it is not read; move it up"),
        (f"{LICENSE}a: 1\n  ## @package x\n", "'## @package x' is below a key, where it is not read; move it up"),
        (f"{LICENSE}# @package\na: 1\n", "'# @package' is not a header; write '# @package NAME'"),
        ("# @package _global_ # all\na: 1\n", "'# @package _global_ # all' is not a header; write '# @package NAME'"),
    ],
)
def test_comment_that_is_no_header_is_reported(text: str, problem: str, tmp_path: Path) -> None:
    write(tmp_path, {"model/mine.yaml": text})
    with pytest.raises(ConfigError) as caught:
        compose.compose(["model=mine"], [tmp_path])
    assert str(caught.value) == f"{tmp_path / 'model' / 'mine.yaml'}: {problem}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1 # one\nb: 2\n", {"a": "one"}),
        ("a: 'x # y' # one\nb: x#y # two\n", {"a": "one", "b": "two"}),
        ("a: [1,\n    2] # one\nb: [1, # no\n  2]\n", {"a": "one", "b": "no"}),
        ("a: # one\n  - 1 # item\n  - 2\nb: 2 # two", {"a": "one", "b": "two"}),
        ("a: | # one\n  # text\n  # text\nb: >-\n  # text\n# above\nc: 3 # three\n", {"a": "one", "c": "three"}),
        ("{a: 1, # one\n 'b': {c: 1, d: 2}, # two\n}\n", {"a": "one", "b": "two"}),
        ('"a" : "\\"# no" # one\n? b\n: 2 # two\n', {"a": "one", "b": "two"}),
        ("a: # one\nb: null # two\nc: ~ # three\n", {"a": "one", "b": "two", "c": "three"}),
        ("a: &x {k: 1} # one\nb: *x # two\nc: 'two\n  lines # no' # three\n", {"a": "one", "b": "two", "c": "three"}),
        ("a: ä😀 # öne\n", {"a": "öne"}),
        ("\ufeffa: 1 # one\n", {"a": "one"}),
        ("a: 1 # one\r\nb: 2 # two\r\n", {"a": "one", "b": "two"}),
    ],
)
def test_a_comment_belongs_to_the_key_on_its_line(text: str, expected: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "model" / "a.yaml"
    path.parent.mkdir()
    path.write_text(text, encoding="utf-8", newline="")
    option = registry.ConfigOption("model", "a", path)
    assert option.get_descriptions() == expected
    values = {key: yaml.safe_load(value) for key, value, _ in option.find_entries()}
    assert values == yaml.safe_load(text.removeprefix("\ufeff"))


@pytest.mark.parametrize(
    "text",
    ["a: [1", "a: 1\na:\n\t- 2", "\x01", "a: *b", "- 1\n- 2\n", "", "a: 1\n---\nb: 2\n", "[" * 5000, "? [a]\n: 1\n"],
)
def test_invalid_yaml_gives_an_option_without_keys(text: str, tmp_path: Path) -> None:
    write(tmp_path, {"model/odd.yaml": text, "model/good.yaml": "_target_: own.Net\na: 1 # one\n"})
    options = registry.list_options("model", [tmp_path])
    invalid = options["odd"]
    assert (invalid.class_path, invalid.task_name, invalid.find_entries(), invalid.list_other_overrides()) == (
        None,
        None,
        [],
        [],
    )
    assert options["good"].class_path == "own.Net"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("&x 3", "3"),
        ("*h", "16"),
        ("&x [1, 2]", "[1, 2]"),
        ("[*h, 'a & b', &x 3]", "[16, 'a & b', 3]"),
        ("{k: *h}", "{k: 16}"),
        ("&x !!str 3", "!!str 3"),
        ("!!str &x 3", "!!str 3"),
        ("'&h 16'", "'&h 16'"),
        ("a&b", "a&b"),
        ("&x", ""),
    ],
)
def test_values_are_shown_without_anchors_and_aliases(value: str, expected: str, tmp_path: Path) -> None:
    write(tmp_path, {"option.yaml": f"hidden: &h 16\nkey: {value}\n"})
    file = yaml_file.parse_file(tmp_path / "option.yaml")
    assert [entry.text for entry in file.entries if entry.path in {("hidden",), ("key",)}] == ["16", expected]


def test_license_header_is_not_the_description(tmp_path: Path) -> None:
    for text in (f"# @package _global_\n{LICENSE}\n# What it is.\n# More.\n", f"{LICENSE}\n# What it is.\n\n# More.\n"):
        write(tmp_path, {"model/a.yaml": f"{text}model: {{}}\n"})
        assert registry.ConfigOption("model", "a", tmp_path / "model" / "a.yaml").description == "What it is."


def test_changed_file_is_read_again(tmp_path: Path) -> None:
    for value in ("1", "22"):
        write(tmp_path, {"model/a.yaml": f"a: {value} # one\n"})
        assert registry.list_options("model", [tmp_path])["a"].find_entries() == [("a", value, "one")]
