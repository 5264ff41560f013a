"""Defaults lists of YAML files in the user's config directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.commands import write
from tests.helpers.refusals import collect_problems
from trainer.config import compose, config_dir

SMALL = ("model=mlp", "data=moons", "experiment=own")


@pytest.mark.parametrize(
    "item",
    [
        *("1.5", "true", "null", "{}", "[mlp]", "'???'", "!!binary aGVsbG8=", "{a: b, c: d}", "{3: mlp}", "{'': mlp}"),
        *("{'@': mlp}", "{override /model: 1.5}", "{override /model: [1.5]}", "{override /model: {a: 1}}"),
    ],
)
def test_invalid_item_of_a_defaults_list_is_reported(item: str, tmp_path: Path) -> None:
    write(tmp_path, {"experiment/own.yaml": f"# @package _global_\ndefaults: [{item}]\nepochs: 1\n"})
    assert "own.yaml: defaults: " in collect_problems(*SMALL, folders=(tmp_path,))[0]


@pytest.mark.parametrize("value", ["null", "???", "mlp", "{model: mlp}", "${oc.env:HOME}"])
def test_defaults_that_are_not_a_list_are_reported(value: str, tmp_path: Path) -> None:
    write(tmp_path, {"experiment/own.yaml": f"# @package _global_\ndefaults: {value}\nepochs: 1\n"})
    assert "own.yaml: defaults must be a list" in collect_problems(*SMALL, folders=(tmp_path,))[0]


@pytest.mark.parametrize("item", ["own", "/train", "/experiment/own"])
def test_cyclic_defaults_are_reported(item: str, tmp_path: Path) -> None:
    write(tmp_path, {"experiment/own.yaml": f"# @package _global_\ndefaults: [{item}]\nepochs: 1\n"})
    assert "includes its own file" in collect_problems(*SMALL, folders=(tmp_path,))[0]


@pytest.mark.parametrize("item", ["{override /model: lstm}", "{optional override /model: lstm}", "_self_"])
def test_valid_defaults_list_is_accepted(item: str, tmp_path: Path) -> None:
    write(tmp_path, {"experiment/own.yaml": f"# @package _global_\ndefaults: [{item}]\nepochs: 3\n"})
    assert compose.compose(["data=synthetic_seq", "experiment=own"], (tmp_path,)).settings.epochs == 3


@pytest.mark.parametrize("group", ["model", "optimizer"])
def test_several_options_of_a_group_are_reported(group: str, tmp_path: Path) -> None:
    text = f"# @package _global_\ndefaults: [{{override /{group}: [adam]}}]\nepochs: 1\n"
    write(tmp_path, {"experiment/own.yaml": text, "model/adam.yaml": "hidden: 1\n"})
    assert collect_problems("data=moons", "experiment=own", folders=(tmp_path,))[0].startswith(
        f"{group}: a defaults list gives"
    )


@pytest.mark.parametrize("text", ["5", "1.5", "true", "2020-01-01", "abc", "null", "- a", "{1: 2}"])
@pytest.mark.parametrize("group", ["augment", "experiment"])
def test_yaml_file_that_is_not_a_mapping_is_reported(text: str, group: str, tmp_path: Path) -> None:
    write(tmp_path, {f"{group}/own.yaml": f"{text}\n"})
    assert collect_problems("model=mlp", "data=moons", f"{group}=own", folders=(tmp_path,))


def test_directories_are_read_from_the_search_path_of_hydra(tmp_path: Path) -> None:
    """A job of one of Hydra's own sweepers knows them only from there."""
    directory = tmp_path / "a b,'c"
    directory.mkdir()
    override = config_dir.make_searchpath_override([directory])[0]
    (url,) = override.removeprefix("hydra.searchpath=['").removesuffix("']").split("','")
    assert config_dir.read_searchpath(["pkg://hydra.conf", url]) == [str(directory)]
