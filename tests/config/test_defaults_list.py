"""Inheritance of options: files, packages and choices are those that Hydra merges."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import OmegaConf

from tests.helpers.commands import write
from tests.helpers.marks import mark_slow_after
from trainer.cli import main
from trainer.config import compose, config_dir, hydra_compose, registry
from trainer.utils.errors import ConfigError

MLP = (
    "_target_: trainer.models.tabular.mlp.MLP\nflat_features: ??? # from the data\nout_features: ??? # of the data\n"
    "hidden: [3] # widths\nactivation: relu # between layers\ndropout: 0.0 # of the hidden values\n"
)
GLOBAL = "# @package _global_\n# A line.\n"
TREE = {
    "model/base.yaml": f"# The first.\n{MLP}",
    "model/heir.yaml": "# The second.\ndefaults:\n  - base\n  - _self_\nhidden: [4, 4]\n",
    "model/quiet.yaml": "# The third.\ndefaults: [heir]\n",
    "model/first.yaml": "# Itself below what it names.\ndefaults: [_self_, 'base']\nhidden: [9]\ndropout: 0.3 # mine\n",
    "model/whole.yaml": f"{GLOBAL}defaults:\n    - /model/heir\n    - override /task: regression\n"
    "epochs: 3\nmodel: {dropout: 0.25}\noptimizer:\n    lr: 0.5 # fast\n",
    "model/grand.yaml": f"{GLOBAL}defaults:\n- whole\n- override /optimizer@_global_.optimizer: sgd\nmax_steps: 9\n",
    "model/again.yaml": f"{GLOBAL}defaults:\n- grand\n- override /task@_global_.task: classification\nepochs: 2\n",
    "model/missing.yaml": "# ??? takes nothing back.\ndefaults: [heir]\nhidden: '???' # of mine\n",
    "model/placed.yaml": "# Placed by hand.\ndefaults:\n- base@_global_.model\n- /parts/more@_here_\n",
    "model/nested.yaml": "# A group of its own.\ndefaults:\n- parts/base@_here_\n- optional /parts: none\n",
    "model/parts/base.yaml": MLP,
    "model/mixed.yaml": "# Both.\ndefaults: [base, quiet]\ndropout: 0.1\n",
    "model/several.yaml": "# A list.\ndefaults:\n- /parts@_here_: [more, most]\n- base\n",
    "model/sub.yaml": "# A part that the heir chooses.\ndefaults:\n- kind: more\n- base\n",
    "model/chooser.yaml": "# It.\ndefaults:\n- sub\n- override kind: most\n",
    "model/kind/more.yaml": "inner: 1\n",
    "model/kind/most.yaml": "inner: 2\n",
    "parts/more.yaml": "dropout: 0.7\n",
    "parts/most.yaml": "dropout: 0.8\n",
    "experiment/low.yaml": f"{GLOBAL}defaults:\n- override /model: heir\n- override /data: moons\nepochs: 4\n",
    "experiment/high.yaml": f"{GLOBAL}defaults:\n- low\n- override /model: base\nbatch_size: 3\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path, TREE)


def compute_hydra_layers(group: str, name: str, folders: Sequence[Path]) -> list[tuple[str, str]]:
    """Return (file, package) of an option and its parents in Hydra's order."""
    search = config_dir.make_searchpath_override(folders)
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(registry.get_builtin_dir().absolute()), version_base="1.3", job_name="train"):
        loader = GlobalHydra.instance().config_loader()
        defaults = loader.compute_defaults_list("train", [f"{group}={name}", *search], RunMode.RUN).defaults
    tops = {f"{group}/{name}"}
    while more := {str(d.config_path) for d in defaults if d.parent in tops} - tops:
        tops |= more
    return [(str(d.config_path), str(d.package)) for d in defaults if d.config_path in tops]


def compose_hydra_tree(group: str, name: str, folder: Path) -> tuple[dict[str, object], dict[str, str]]:
    composed = hydra_compose.compose_base((f"{group}={name}",), (folder,))
    tree = OmegaConf.to_container(composed, resolve=False)
    assert isinstance(tree, dict)
    return {str(k): v for k, v in tree.items()}, dict(composed.hydra.runtime.choices)


OPTIONS = [tuple(path.removesuffix(".yaml").split("/")) for path in TREE if path.count("/") == 1]


@pytest.mark.parametrize(
    ("group", "name"), mark_slow_after(6, [pair for pair in OPTIONS if pair[0] in registry.GROUPS])
)
def test_user_options_match_what_hydra_composes(folder: Path, group: str, name: str) -> None:
    option = registry.list_options(group, [folder])[name]
    assert [(layer.config_path, layer.package) for layer in option.layers] == compute_hydra_layers(
        group, name, [folder]
    )
    tree, choices = compose_hydra_tree(group, name, folder)
    assert option.chosen_options.items() <= choices.items()
    for key, value, _ in option.list_other_overrides():
        if key not in option.chosen_options:
            assert str(OmegaConf.select(OmegaConf.create(tree), key)) == value
    if group == "model":
        node = tree["model"]
        assert isinstance(node, dict)
        assert option.class_path == node["_target_"]
        assert [key for key, _, _ in option.find_entries()] == [key for key in node if key not in ("_target_", "kind")]
        for key, value, _ in option.find_entries():
            assert OmegaConf.create(f"a: {value}") == {"a": node[key]}


@pytest.mark.slow
@pytest.mark.parametrize("group", mark_slow_after(2, registry.GROUPS))
def test_built_in_options_match_what_hydra_composes(group: str) -> None:
    for place, (name, option) in enumerate(registry.list_options(group).items()):
        if place % 8 and len(option.layers) == 1:
            continue  # a file of its own, as the one before it
        assert [(layer.config_path, layer.package) for layer in option.layers] == compute_hydra_layers(group, name, [])


def test_an_inheriting_option_has_the_class_and_shapes_of_its_base(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    options = registry.list_options("model", [folder])
    for name in ("heir", "quiet", "whole", "grand", "mixed"):
        assert options[name].class_path == "trainer.models.tabular.mlp.MLP"
        assert options[name].shapes_line == options["base"].shapes_line != ""
        assert options[name].get_descriptions().keys() == options["base"].get_descriptions().keys()
    assert main.run_command(["show", "model=grand", "--config-dir", str(folder)]) == 0
    output = capsys.readouterr().out
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in output.splitlines() if line}
    assert rows["model.hidden"].startswith("[4, 4]")
    assert rows["model.hidden"].endswith("widths")
    assert rows["model.dropout"].startswith("0.25")
    assert rows["task"] == "regression"
    assert (rows["optimizer"], rows["optimizer.lr"], rows["epochs"], rows["max_steps"]) == ("sgd", "0.5 fast", "3", "9")
    assert main.run_command(["list", "models", "--config-dir", str(folder)]) == 0
    tasks = {line.split()[0]: line.split()[1] for line in capsys.readouterr().out.splitlines() if line}
    assert (tasks["grand"], tasks["again"]) == ("regression", "classification")
    with pytest.raises(ConfigError, match=r"model grand .*works with: .*diabetes"):
        compose.compose(["model=grand", "data=cora"], [folder])


@pytest.mark.slow
def test_keys_of_an_inheriting_option_override_its_base(folder: Path) -> None:
    def read_run_length(name: str) -> tuple[object, object]:
        tree = compose.compose([f"model={name}", "data=diabetes", "task=regression"], [folder]).tree
        return tree["epochs"], tree["max_steps"]

    assert read_run_length("whole") == (3, None)
    assert read_run_length("grand") == (3, 9), "max_steps was set last"
    assert read_run_length("again") == (2, None), "epochs was set last"


def test_cyclic_defaults_do_not_break_train_list(tmp_path: Path) -> None:
    write(tmp_path, {"model/a.yaml": "defaults: [b]\n", "model/b.yaml": "defaults: [a, ../c, '${x}', gone]\nk: 1\n"})
    option = registry.list_options("model", [tmp_path])["a"]
    assert [layer.config_path for layer in option.layers] == ["model/b", "model/a"]
    with pytest.raises(ConfigError, match="do not compose"):
        compose.compose(["model=a"], [tmp_path])
