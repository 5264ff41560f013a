"""Nothing that a folder holds is run: YAML files, run folders, saved models, checkpoints. Each probe has a marker."""

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

TRICKS = sorted(hostile.folders("m"))
QUICK = "sweep of Hydra's"
"""The command line by which Hydra acts on most; the others take minutes."""


def victim(command: str) -> list[str]:
    return ["--config-dir", "conf", *hostile.COMMANDS[command], *SMALL, "experiment=e"]


# Folders of YAML files.


@pytest.mark.parametrize(
    ("trick", "command"),
    [
        pytest.param(trick, command, marks=() if command == QUICK else pytest.mark.slow)
        for trick in TRICKS
        for command in hostile.COMMANDS
    ],
)
def test_a_folder_of_yaml_files(trick: str, command: str, marker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused in a sentence before Hydra's own main is even called."""
    write(marker.parent / "conf", hostile.folders(str(marker))[trick])

    def called(*_: object) -> int:
        raise AssertionError("Hydra was let act on it")

    monkeypatch.setattr(sweep, "run_with_hydra", called)
    with pytest.raises(ConfigError) as caught:
        main.run_command(victim(command))
    assert any(
        word in str(caught.value)
        for word in ("hydra", "Hydra", "do not compose", "pkg://", "only the command line may")
    )


def test_a_linked_folder(marker: Path) -> None:
    write(marker.parent / "conf", {"experiment/e.yaml": hostile.GLOBAL + "epochs: 1\n"})
    elsewhere = write(marker.parent / "elsewhere", {"launcher/basic.yaml": hostile.callback(str(marker))})
    (marker.parent / "conf" / "hydra").symlink_to(elsewhere)
    with pytest.raises(ConfigError, match="must not contain configuration of Hydra"):
        main.run_command(victim("sweep of Hydra's"))


@pytest.mark.parametrize(
    "words",
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
def test_a_folder_by_another_way(words: tuple[str, ...], sweeper: tuple[str, ...], marker: Path) -> None:
    folder = write(marker.parent / "conf", {"hydra/callbacks/c.yaml": "x:\n" + hostile.payload(str(marker), "  ")})
    given = [word.format(folder) for word in words]
    with pytest.raises(ConfigError):
        main.run_command([*sweeper, *SMALL, *given])


def test_files_of_a_combination_are_checked_together(marker: Path) -> None:
    """One file alone does nothing; the sweep brings them together."""
    extra = "/extra: none"
    files = {
        "part/gru.yaml": hostile.payload(str(marker)),
        "extra/gru.yaml": "{}\n",
        "extra/none.yaml": "{}\n",
        "experiment/plain.yaml": hostile.chosen(extra),
        "experiment/e.yaml": hostile.chosen(extra, "optional /part@hydra.callbacks.x: ${extra}"),
    }
    write(marker.parent / "conf", files)
    swept = ("experiment=plain,e", "extra=none,gru")
    with pytest.raises(ConfigError, match=r"hydra\.callbacks"):
        main.run_command(["-m", "hydra/sweeper=basic", "--config-dir", "conf", *SMALL, *swept])


def test_where_results_go_may_be_set(marker: Path) -> None:
    text = hostile.GLOBAL + "hydra:\n  run:\n    dir: elsewhere/run\n  sweep:\n    dir: elsewhere/sweep\n"
    folder = write(marker.parent / "my conf, 'quoted' [1]", {"experiment/e.yaml": text})
    found = compose.compose([*SMALL, "experiment=e"], [folder])
    assert (found.run_dir, found.sweep_dir) == ("elsewhere/run", "elsewhere/sweep")


DIRECTLY = """
import sys
import hydra
@hydra.main(version_base="1.3", config_path={conf!r}, config_name="train")
def job(_): ...
job()
"""


@pytest.mark.parametrize(
    ("trick", "command"),
    [
        ("a chosen launcher", "launcher of the folder's"),
        ("callback run", "run"),
        pytest.param("a part by interpolation", "run", marks=pytest.mark.slow),
        pytest.param("package hydra.callbacks.x", "sweep", marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_the_probes_run_without_the_guard(trick: str, command: str, tmp_path: Path) -> None:
    """Hydra itself, over the same files: a probe that could not fail would prove nothing."""
    from trainer.config import registry

    marker = tmp_path / hostile.MARKER
    write(tmp_path / "conf", hostile.folders(str(marker))[trick])
    script = DIRECTLY.format(conf=str(registry.get_builtin_dir().absolute()))
    done = subprocess.run(
        [sys.executable, "-P", "-c", script, *victim(command)],
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
    "resume=": (*SMALL, "resume=RUN"),
    "resume= with others": (*SMALL, "resume=RUN", "plugins=[mine]"),
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


def run_folder(path: Path, change: dict[str, Any]) -> Path:
    """A run as the program leaves it, but for the change."""
    composed = compose.compose(SMALL)
    names = dict(composed.names)
    results: dict[str, Any] = {
        "status": "interrupted",
        "options": names,
        "overrides": [],
        "identity": composed.config_hash,
    }
    results |= {"folder": str(path), "seed": 0, **{group: names[group] for group in ("model", "data", "task")}}
    tree = yaml.safe_dump({**composed.raw, **change})
    return write(path, {"config.yaml": tree, "results.json": json.dumps(results), "mine.py": ""})


@pytest.mark.parametrize("verb", mark_slow_after(2, VERBS))
@pytest.mark.parametrize("change", CHANGES)
def test_a_run_directory(verb: str, change: str, marker: Path) -> None:
    path = run_folder(marker.parent / "run", CHANGES[change])
    write(marker.parent, {"mine.py": ""})
    words = [word.replace("RUN", str(path)) for word in VERBS[verb]]
    with pytest.raises(ConfigError):
        main.run_command(words)


@pytest.mark.slow
def test_a_runs_module_is_imported_when_it_is_named_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence says how, and doing so runs it: the probes above can fail."""
    monkeypatch.chdir(write(tmp_path, {"evil_twin.py": hostile.EVIL}))
    path = run_folder(tmp_path / "run", {"plugins": ["evil_twin"]})
    with pytest.raises(ConfigError, match=r"a run directory is data.*plugins=\[evil_twin\]"):
        main.run_command(["evaluate", str(path)])
    assert main.run_command(["resume", str(path), "plugins=[evil_twin]"]) == 0
    assert (tmp_path / hostile.MARKER).exists()
    plugins.declare_plugins([])
    del sys.modules["evil_twin"]


# The command itself.


@pytest.mark.parametrize("command", ["run", "sweep", "sweep of Hydra's", "launcher of Hydra's", "cfg", "info"])
@pytest.mark.parametrize(
    "trick", ["hydra/launcher/basic", "hydra/sweeper/basic", "callback run", "a part by interpolation"]
)
@pytest.mark.slow
def test_the_real_command(trick: str, command: str, marker: Path) -> None:
    write(marker.parent / "conf", hostile.folders(str(marker))[trick])
    done = train(*victim(command), cwd=marker.parent)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("verb", ["evaluate", "show", "resume", "score"])
@pytest.mark.slow
def test_the_real_command_on_a_run_directory(verb: str, marker: Path) -> None:
    path = run_folder(marker.parent / "run", CHANGES["model"])
    done = train(verb, str(path), cwd=marker.parent)
    assert (done.returncode, "plugins=[evil]" in done.stderr) == (2, True), done.stderr
