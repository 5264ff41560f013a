"""Code in YAML files and run directories is not executed; each attack would touch a marker file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helpers import hostile
from tests.helpers.commands import SMALL, environment, train, write
from tests.helpers.hostile import marker_fixture  # noqa: F401
from tests.helpers.marks import mark_slow_after
from trainer.cli import main
from trainer.config import compose, plugins
from trainer.runs import sweep
from trainer.utils.errors import ConfigError

ATTACKS = sorted(hostile.folders("m"))
QUICK = "Hydra sweeper"
"""The command line with which Hydra reads most of the files; the others take minutes."""


def make_command(command: str) -> list[str]:
    return ["--config-dir", "conf", *hostile.COMMANDS[command], *SMALL, "experiment=e"]


# Folders of YAML files.


@pytest.mark.parametrize(
    ("attack", "command"),
    [
        pytest.param(attack, command, marks=() if command == QUICK else pytest.mark.slow)
        for attack in ATTACKS
        for command in hostile.COMMANDS
    ],
)
def test_hostile_yaml_files_raise(attack: str, command: str, marker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are refused before Hydra's own main is called."""
    write(marker.parent / "conf", hostile.folders(str(marker))[attack])

    def fail(*_: object) -> int:
        raise AssertionError("Hydra was called")

    monkeypatch.setattr(sweep, "run_with_hydra", fail)
    with pytest.raises(ConfigError) as caught:
        main.run_command(make_command(command))
    assert any(
        word in str(caught.value)
        for word in ("hydra", "Hydra", "do not compose", "pkg://", "only the command line may")
    )


def test_linked_hydra_folder_raises(marker: Path) -> None:
    write(marker.parent / "conf", {"experiment/e.yaml": hostile.GLOBAL + "epochs: 1\n"})
    elsewhere = write(marker.parent / "elsewhere", {"launcher/basic.yaml": hostile.callback(str(marker))})
    (marker.parent / "conf" / "hydra").symlink_to(elsewhere)
    with pytest.raises(ConfigError, match="must not contain configuration of Hydra"):
        main.run_command(make_command("Hydra sweeper"))


@pytest.mark.parametrize(
    "arguments",
    [
        ("hydra.searchpath=[file://{}]",),
        ("hydra.searchpath=[pkg://evil]",),
        ("+hydra.searchpath=[file://{}]",),
        ("hydra/callbacks=c",),
        ("+hydra/callbacks=c",),
        ("hydra/job_logging=c",),
        ("hydra/launcher@hydra.callbacks.x=basic",),
        ("hydra.callbacks.x._target_=evil.Foo",),
        ("hydra.callbacks={{x: {{_target_: evil.Foo}}}}",),
        ("+hydra.callbacks.x={{_target_: evil.Foo}},{{_target_: evil.Foo}}",),
        ("hydra.sweeper.params={{a: {{_target_: evil.Foo}}}}",),
        ("--config-path", "{}"),
        ("--config-name", "evil"),
        ("-cp={}",),
        ("-cn=evil",),
        ("--experimental-rerun", "{}"),
        ("--config-d={}",),
        ("--", "hydra.callbacks.x._target_=evil.Foo"),
    ],
)
@pytest.mark.parametrize("sweeper", [(), ("-m", "seed=0,1", "hydra/sweeper=basic")])
def test_overrides_and_flags_that_configure_hydra_raise(
    arguments: tuple[str, ...], sweeper: tuple[str, ...], marker: Path
) -> None:
    folder = write(marker.parent / "conf", {"hydra/callbacks/c.yaml": "x:\n" + hostile.payload(str(marker), "  ")})
    formatted = [argument.format(folder) for argument in arguments]
    with pytest.raises(ConfigError):
        main.run_command([*sweeper, *SMALL, *formatted])


@pytest.mark.slow
def test_files_of_a_combination_are_checked_together(marker: Path) -> None:
    """One file alone is harmless; the sweep combines them."""
    extra = "/extra: none"
    files = {
        "part/gru.yaml": hostile.payload(str(marker)),
        "extra/gru.yaml": "{}\n",
        "extra/none.yaml": "{}\n",
        "experiment/plain.yaml": hostile.format_defaults(extra),
        "experiment/e.yaml": hostile.format_defaults(extra, "optional /part@hydra.callbacks.x: ${extra}"),
    }
    write(marker.parent / "conf", files)
    grid = ("experiment=plain,e", "extra=none,gru")
    with pytest.raises(ConfigError, match=r"hydra\.callbacks"):
        main.run_command(["-m", "hydra/sweeper=basic", "--config-dir", "conf", *SMALL, *grid])


def test_yaml_file_may_set_run_and_sweep_directories(marker: Path) -> None:
    text = hostile.GLOBAL + "hydra:\n  run:\n    dir: elsewhere/run\n  sweep:\n    dir: elsewhere/sweep\n"
    folder = write(marker.parent / "my conf, 'quoted' [1]", {"experiment/e.yaml": text})
    config = compose.compose([*SMALL, "experiment=e"], [folder])
    assert (config.run_dir, config.sweep_dir) == ("elsewhere/run", "elsewhere/sweep")


HYDRA_SCRIPT = """
import sys
import hydra
@hydra.main(version_base="1.3", config_path={conf!r}, config_name="train")
def job(_): ...
job()
"""


@pytest.mark.parametrize(
    ("attack", "command"),
    [
        ("a chosen launcher", "launcher of the folder"),
        ("callback run", "run"),
        pytest.param("a part by interpolation", "run", marks=pytest.mark.slow),
        pytest.param("package hydra.callbacks.x", "sweep", marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_attacks_succeed_with_hydra_alone(attack: str, command: str, tmp_path: Path) -> None:
    """The tests above can fail: Hydra itself executes code in the same files."""
    from trainer.config import registry

    marker = tmp_path / hostile.MARKER
    write(tmp_path / "conf", hostile.folders(str(marker))[attack])
    script = HYDRA_SCRIPT.format(conf=str(registry.get_builtin_dir().absolute()))
    done = subprocess.run(
        [sys.executable, "-P", "-c", script, *make_command(command)],
        **{"cwd": tmp_path, "env": environment(), "capture_output": True, "text": True, "timeout": 120},  # type: ignore[call-overload]
        check=False,
    )
    assert marker.exists(), done.stderr


# Run folders.

VERBS: dict[str, tuple[str, ...]] = {
    "evaluate": ("evaluate", "RUN"),
    "show": ("show", "RUN"),
    "features": ("show", "RUN", "features=net"),
    "resume": ("resume", "RUN"),
    "sample": ("sample", "RUN"),
    "score": ("score", "RUN"),
    "why": ("why", "RUN"),
    "rerun": ("rerun", "RUN"),
    "resume=": (*SMALL, "resume=RUN"),
    "resume= with plugin": (*SMALL, "resume=RUN", "plugins=[mine]"),
}
CHANGES: dict[str, dict[str, Any]] = {
    "plugins": {"plugins": ["evil"]},
    "package": {"plugins": ["evil_pack"]},
    "two": {"plugins": ["mine", "evil"]},
    "model": {"plugins": ["evil"], "model": {"_target_": "evil.Foo"}},
    "task": {"plugins": ["evil"], "task": {"_target_": "evil.Foo"}},
    "undeclared": {"model": {"_target_": "evil.Foo"}},
    "torch": {"plugins": ["torch"], "model": {"_target_": "torch.utils.collect_env.run", "command": "touch touched"}},
    "nested": {"model": {"_target_": "trainer.models.tabular.mlp.MLP", "hidden": [{"_target_": "evil.Foo"}]}},
    "interpolated": {"name": "evil", "plugins": ["${name}"]},
}


def write_run(path: Path, change: dict[str, Any]) -> Path:
    """Write a run directory as the program does, except for the change."""
    config = compose.compose(SMALL)
    names = dict(config.names)
    results: dict[str, Any] = {
        "status": "interrupted",
        "options": names,
        "overrides": [],
        "identity": config.config_hash,
    }
    results |= {"run_dir": str(path), "seed": 0, **{group: names[group] for group in ("model", "data", "task")}}
    tree = yaml.safe_dump({**config.raw, **change})
    return write(path, {"config.yaml": tree, "results.json": json.dumps(results), "mine.py": ""})


@pytest.mark.parametrize("verb", mark_slow_after(2, VERBS))
@pytest.mark.parametrize("change", CHANGES)
def test_hostile_run_directory_raises(verb: str, change: str, marker: Path) -> None:
    path = write_run(marker.parent / "run", CHANGES[change])
    write(marker.parent, {"mine.py": ""})
    arguments = [argument.replace("RUN", str(path)) for argument in VERBS[verb]]
    with pytest.raises(ConfigError):
        main.run_command(arguments)


@pytest.mark.slow
def test_plugin_of_a_run_is_imported_only_if_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error message says how; the code is executed then, so the tests above can fail."""
    monkeypatch.chdir(write(tmp_path, {"evil_twin.py": hostile.EVIL}))
    path = write_run(tmp_path / "run", {"plugins": ["evil_twin"]})
    with pytest.raises(ConfigError, match=r"a saved run never imports code by itself.*plugins=\[evil_twin\]"):
        main.run_command(["evaluate", str(path)])
    assert main.run_command(["resume", str(path), "plugins=[evil_twin]"]) == 0
    assert (tmp_path / hostile.MARKER).exists()
    plugins.declare_plugins([])
    del sys.modules["evil_twin"]


# The command itself.


@pytest.mark.parametrize("command", ["run", "sweep", "Hydra sweeper", "Hydra launcher", "cfg", "info"])
@pytest.mark.parametrize(
    "attack", ["hydra/launcher/basic", "hydra/sweeper/basic", "callback run", "a part by interpolation"]
)
@pytest.mark.slow
def test_cli_refuses_hostile_yaml_files(attack: str, command: str, marker: Path) -> None:
    write(marker.parent / "conf", hostile.folders(str(marker))[attack])
    done = train(*make_command(command), cwd=marker.parent)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("verb", ["evaluate", "show", "resume", "score"])
@pytest.mark.slow
def test_cli_refuses_hostile_run_directories(verb: str, marker: Path) -> None:
    path = write_run(marker.parent / "run", CHANGES["model"])
    done = train(verb, str(path), cwd=marker.parent)
    assert (done.returncode, "plugins=[evil]" in done.stderr) == (2, True), done.stderr
