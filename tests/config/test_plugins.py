"""Declared plugins: found by name, read from source and imported on request."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.helpers.commands import write
from trainer.config import introspection, plugins
from trainer.engine import factory
from trainer.utils.errors import ConfigError


def test_declared_module_is_imported_only_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(
        tmp_path, {"own_part.py": "LOADED = True\nclass A: ...\n", "own_pack/__init__.py": "", "own_pack/deep.py": ""}
    )
    plugins.declare_plugins(["own_part", "own_pack"])
    assert plugins.is_declared("own_part.A")
    assert plugins.is_declared("own_pack.deep.B")
    assert not plugins.is_declared("own_partly.A")
    assert plugins.find_plugin_file("own_part") == tmp_path / "own_part.py"
    assert plugins.find_plugin_file("own_pack.deep") == tmp_path / "own_pack" / "deep.py"
    assert plugins.find_plugin_file("own_pack.nope") is None
    assert plugins.find_plugin_file("other") is None
    assert "own_part" not in sys.modules
    plugins.import_plugins()
    assert sys.modules["own_part"].LOADED
    plugins.declare_plugins([])
    assert not plugins.is_declared("own_part.A")
    for name in ("own_part", "own_pack"):
        del sys.modules[name]


def test_failing_module_is_removed_from_sys_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write(tmp_path, {"own_broken.py": "1 / 0\n"}))
    plugins.declare_plugins(["own_broken"])
    with pytest.raises(ZeroDivisionError):
        plugins.import_plugins()
    assert "own_broken" not in sys.modules
    plugins.declare_plugins([])


def test_plugin_with_syntax_error_raises_config_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {"broken_syntax.py": "def f(:\n"})
    plugins.declare_plugins(["broken_syntax"])
    with pytest.raises(ConfigError, match=r"^plugins: broken_syntax\.py, line 1: invalid syntax$"):
        plugins.import_plugins()
    assert "broken_syntax" not in sys.modules
    plugins.declare_plugins([])


def test_unknown_plugin_suggests_the_nearest_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write(tmp_path, {"my_models.py": ""}))
    with pytest.raises(ConfigError, match=r"did you mean my_models\?"):
        plugins.declare_plugins(["my_model"])


def test_signature_is_read_again_after_the_plugin_is_declared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write(tmp_path, {"own_late.py": "class Net:\n    shapes = 'x (B, F) -> (B, C)'\n"}))
    assert introspection.read_signature("own_late.Net") is None
    plugins.declare_plugins(["own_late"])
    signature = introspection.read_signature("own_late.Net")
    assert signature is not None
    assert signature.shapes == "x (B, F) -> (B, C)"
    plugins.declare_plugins([])


def test_class_that_is_not_a_module_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write(tmp_path, {"own_kind.py": "class Net:\n    def __init__(self): ...\n"}))
    plugins.declare_plugins(["own_kind"])
    plugins.import_plugins()
    from torch import nn

    with pytest.raises(ConfigError, match=r"own_kind\.Net is not a Module"):
        factory.instantiate_node({"_target_": "own_kind.Net"}, nn.Module)
    plugins.declare_plugins([])
    del sys.modules["own_kind"]


@pytest.fixture
def plugin_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the working directory, which is on the import path as in a notebook."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    # Bytecode is valid for all versions of a file of one size and one second.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    known_modules = set(sys.modules)
    yield tmp_path
    plugins.declare_plugins([])
    for name in sys.modules.keys() - known_modules:
        del sys.modules[name]


def import_again(*names: str) -> list[ModuleType]:
    """Declare and import plugins, as each run does, and return their modules."""
    plugins.declare_plugins(names)
    plugins.import_plugins()
    return [sys.modules[name] for name in names]


def edit(path: Path, text: str) -> None:
    """Write a file later than everything before, in steps of the file system's clock."""
    time.sleep(0.02)
    path.write_text(text, encoding="utf-8")


HELPERS = {
    "sibling module": ("plug_a.py", "from helper_a import V", "helper_a.py"),
    "module of a sibling package": ("plug_a.py", "from helper_p.deep import V", "helper_p/deep.py"),
    "module of a namespace package": ("plug_a.py", "from helper_n import deep; V = deep.V", "helper_n/deep.py"),
    "sibling of a package": ("plug_a/__init__.py", "from helper_a import V", "helper_a.py"),
    "own module of a package": ("plug_a/__init__.py", "from plug_a.deep import V", "plug_a/deep.py"),
}


@pytest.mark.parametrize(("plugin", "text", "helper"), HELPERS.values(), ids=HELPERS)
def test_edited_helper_reloads_the_plugin(plugin: str, text: str, helper: str, plugin_dir: Path) -> None:
    write(plugin_dir, {plugin: text, helper: "V = 1", "helper_p/__init__.py": ""})
    (first,) = import_again("plug_a")
    assert import_again("plug_a") == [first], "not reloaded without a change"
    edit(plugin_dir / helper, "V = 2")
    (second,) = import_again("plug_a")
    assert (first.V, second.V) == (1, 2)


def test_edited_indirect_and_shared_helper_reloads_both_plugins(plugin_dir: Path) -> None:
    files = {"plug_a.py": "from helper_b import V", "plug_b.py": "from helper_c import V"}
    write(plugin_dir, {**files, "helper_b.py": "from helper_c import V", "helper_c.py": "V = 1"})
    import_again("plug_a", "plug_b")
    edit(plugin_dir / "helper_c.py", "V = 2")
    assert [module.V for module in import_again("plug_a")] == [2]
    assert [module.V for module in import_again("plug_a", "plug_b")] == [2, 2]


@pytest.mark.parametrize("names", [("plug_a", "plug_b"), ("plug_b", "plug_a")])
def test_edited_plugin_is_seen_by_plugins_that_import_it(plugin_dir: Path, names: tuple[str, str]) -> None:
    write(plugin_dir, {"plug_a.py": "import plug_b\nV = plug_b.V", "plug_b.py": "V = 1"})
    import_again(*names)
    edit(plugin_dir / "plug_b.py", "V = 22")
    assert [module.V for module in import_again(*names)] == [22, 22]


def test_helper_edited_after_a_failed_import_is_reloaded(plugin_dir: Path) -> None:
    write(plugin_dir, {"plug_a.py": "from helper_a import V\n1 / V", "helper_a.py": "V = 0"})
    with pytest.raises(ZeroDivisionError):
        import_again("plug_a")
    edit(plugin_dir / "helper_a.py", "V = 1")
    assert import_again("plug_a")[0].V == 1


@pytest.mark.parametrize("folder", ["", ".venv/lib/site-packages"], ids=["imported by the program", "installed"])
def test_other_modules_in_the_directory_are_not_reloaded(
    folder: str, plugin_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(plugin_dir, {"plug_a.py": "from helper_a import V", f"{folder}/helper_a.py".lstrip("/"): "V = 1"})
    monkeypatch.syspath_prepend(str(plugin_dir / folder))
    if not folder:
        importlib.import_module("helper_a")
    (first,) = import_again("plug_a")
    edit(plugin_dir / folder / "helper_a.py", "V = 2")
    assert import_again("plug_a") == [first]
