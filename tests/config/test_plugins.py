"""Declared plugins: found by name, read from source and imported on request."""

from __future__ import annotations

import sys
from pathlib import Path

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
