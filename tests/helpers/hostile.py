"""Folders that try to execute code: each would touch a marker file."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.helpers.commands import write
from trainer.config import plugins

MARKER = "touched"
EVIL = f"""
from pathlib import Path
Path(__file__).with_name("{MARKER}").touch()
class Foo:
    shapes = "x (B, F) -> (B, K)"
    def __init__(self, **anything):
        Path(__file__).with_name("{MARKER}").touch()
"""
GLOBAL = "# @package _global_\n# hostile\n"


@pytest.fixture(name="marker")
def marker_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield the marker file that must not be created, in a working folder with a hostile module."""
    write(tmp_path, {"evil.py": EVIL, "evil_pack/__init__.py": EVIL})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train"])
    yield tmp_path / MARKER
    assert not list(tmp_path.rglob(MARKER))
    assert not {"evil", "evil_pack", "hydra_plugins.evil"} & set(sys.modules)
    plugins.declare_plugins([])


def payload(marker: str, indent: str = "", target: str = "run") -> str:
    """Return the lines of a node that executes code when Hydra instantiates it."""
    nodes = {
        "run": f"_target_: torch.utils.collect_env.run\ncommand: touch {marker}\n",
        "touch": f"_target_: pathlib.Path.touch\nself: {marker}\n",
        "open": f"_target_: builtins.open\nfile: {marker}\nmode: w\n",
        "module": "_target_: evil.Foo\n",
    }
    return textwrap.indent(nodes[target], indent)


def callback(marker: str, target: str = "run") -> str:
    return "hydra:\n  callbacks:\n    x:\n" + payload(marker, "      ", target)


def format_defaults(*entries: str, rest: str = "") -> str:
    return GLOBAL + "defaults:\n" + "".join(f"  - {entry}\n" for entry in entries) + "  - _self_\n" + rest


def folders(marker: str) -> dict[str, Mapping[str, str]]:
    """Return YAML files by name of the attack; the command selects ``experiment/e.yaml`` where it exists."""
    empty = {"experiment/e.yaml": GLOBAL + "epochs: 1\n"}
    shadow = GLOBAL + callback(marker)
    found: dict[str, Mapping[str, str]] = {
        f"hydra/{group}": {**empty, f"hydra/{group}.yaml": shadow}
        for group in (
            *("launcher/basic", "sweeper/basic", "callbacks/default", "env/default", "output/default", "help/default"),
            *("hydra_help/default", "job_logging/default", "hydra_logging/default", "config", "anything/else"),
        )
    }
    found |= {
        f"callback {target}": {"experiment/e.yaml": GLOBAL + callback(marker, target)}
        for target in ("run", "touch", "open", "module")
    }
    keys = {
        "launcher": "launcher:\n" + payload(marker, "  "),
        "launcher plugin": "launcher:\n  _target_: hydra_plugins.evil.Launcher\n",
        "sweeper": "sweeper:\n" + payload(marker, "  "),
        "sweeper parameters": "sweeper:\n  params:\n    hydra.callbacks.x: '{_target_: evil.Foo}'\n",
        "job logging": "job_logging:\n  handlers:\n    x:\n      (): evil.Foo\n",
        "hydra logging": "hydra_logging:\n  formatters:\n    x:\n      (): evil.Foo\n",
        "environment": "job:\n  env_set:\n    PYTHONSTARTUP: evil.py\n",
        "environment copied": "job:\n  env_copy: [HOME]\n",
        "working folder": "job:\n  chdir: true\n",
        "name of the log": "job:\n  name: ../../evil\n",
        "overrides of jobs": "overrides:\n  hydra: ['hydra.callbacks={x: {_target_: evil.Foo}}']\n",
        "overrides of tasks": "overrides:\n  task: ['plugins=[evil]']\n",
        "search path": "searchpath: ['file:///tmp']\n",
        "module on the search path": "searchpath: ['pkg://evil']\n",
        "subfolder of outputs": "output_subdir: evil\n",
        "help": "help:\n  template: ${oc.env:HOME}\n",
    }
    found |= {
        name: {"experiment/e.yaml": GLOBAL + "hydra:\n" + textwrap.indent(text, "  ")} for name, text in keys.items()
    }
    found |= {
        "modules named": {"experiment/e.yaml": GLOBAL + "plugins: [evil]\n"},
        "modules interpolated": {"experiment/e.yaml": GLOBAL + "plugins: ${monitor}\nmonitor: [evil]\n"},
    }
    packages = {
        "hydra": "callbacks:\n  x:\n" + payload(marker, "    "),
        "hydra.callbacks": "x:\n" + payload(marker, "  "),
        "hydra.callbacks.x": payload(marker),
        "hydra.launcher": payload(marker),
        "hydra.job_logging.root.handlers": "x: evil.Foo\n",
    }
    found |= {
        f"package {name}": {"experiment/e.yaml": f"# @package {name}\n# hostile\n" + text}
        for name, text in packages.items()
    }
    part = {f"part/{name}.yaml": "# hostile\n" + payload(marker) for name in ("p", "q")} | {"extra/q.yaml": "{}\n"}
    found |= {
        "a part in a package": {**part, "experiment/e.yaml": format_defaults("/part@hydra.callbacks.x: p")},
        "a part by interpolation": {
            **part,
            "experiment/e.yaml": format_defaults("/extra: q", "/part@hydra.callbacks.x: ${extra}"),
        },
        "an optional part": {**part, "experiment/e.yaml": format_defaults("optional /part@hydra.callbacks.x: p")},
        "a part for the launcher": {**part, "experiment/e.yaml": format_defaults("/part@hydra.launcher: p")},
        "a part of global keys": {"part/g.yaml": shadow, "experiment/e.yaml": format_defaults("/part@_global_: g")},
        "Hydra's group overridden": {
            "hydra/callbacks/c.yaml": "x:\n" + payload(marker, "  "),
            "experiment/e.yaml": format_defaults("override /hydra/callbacks: c"),
        },
        "outside of the folder": {
            "../outside/o.yaml": payload(marker),
            "experiment/e.yaml": format_defaults("/../outside@hydra.callbacks.x: o"),
        },
        "a chosen launcher": {**empty, "hydra/launcher/own.yaml": shadow},
        "capital letters": {**empty, "Hydra/launcher/basic.yaml": shadow},
        "a file called hydra": {**empty, "hydra.yaml": shadow},
    }
    return found


COMMANDS: dict[str, tuple[str, ...]] = {
    "run": (),
    "sweep": ("-m", "seed=0,1"),
    "Hydra sweeper": ("-m", "seed=0,1", "hydra/sweeper=basic"),
    "Hydra launcher": ("-m", "seed=0,1", "hydra/launcher=basic"),
    "launcher of the folder": ("-m", "seed=0,1", "hydra/launcher=own"),
    "our launcher": ("-m", "seed=0,1", "hydra/launcher=joblib"),
    "run with launcher": ("hydra/launcher=basic",),
    "cfg": ("--cfg", "job"),
    "Hydra cfg": ("--cfg", "hydra", "--resolve"),
    "info": ("--info",),
}
"""Command lines, each with ``--config-dir`` and the experiment."""
