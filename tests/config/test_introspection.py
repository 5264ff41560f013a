"""Signatures read from source, compared with those that ``inspect`` reads."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, get_args, get_origin, get_type_hints

import pytest

from tests.helpers.signatures import get_required_parameters
from trainer.config import introspection, option_keys, plugins, registry, validation
from trainer.config.annotations import UNCHECKED_TYPE
from trainer.utils.errors import ConfigError

TARGETS = sorted(
    {o.class_path for g in registry.OBJECT_GROUPS for o in registry.list_options(g).values() if o.class_path}
)
TARGETS = [target for target in TARGETS if not target.startswith("torch.")]  # see test_torch_classes.py


@pytest.fixture
def plugin_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_sig.py").write_text("")
    plugins.declare_plugins(["own_sig"])
    introspection._parse_version.cache_clear()
    yield tmp_path / "own_sig.py"
    plugins.declare_plugins([])


@pytest.mark.parametrize("target", TARGETS)
def test_signature_from_source_matches_inspect(target: str) -> None:
    signature = introspection.read_signature(target)
    assert signature is not None
    module, _, name = target.rpartition(".")
    cls = getattr(importlib.import_module(module), name)
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    hints: dict[str, Any] = inspect.get_annotations(cls.__init__, eval_str=True)
    explicit = [parameter for parameter in parameters if parameter.kind is not inspect.Parameter.VAR_KEYWORD]
    option_types: dict[str, Any] = {}
    for parameter in parameters[len(explicit) :]:
        (options,) = get_args(hints[parameter.name])
        option_types |= get_type_hints(options, include_extras=True)
    defaults = getattr(cls, introspection.OPTION_DEFAULTS, {}) if option_types else {}
    assert list(signature.init_types) == [*(parameter.name for parameter in explicit), *option_types]
    assert (
        get_required_parameters(signature)
        == {p.name for p in explicit if p.default is inspect.Parameter.empty}
        | {key for key, kind in option_types.items() if get_origin(kind) is not NotRequired} - defaults.keys()
    )
    source_defaults = {key: parameter.default for key, parameter in signature.parameters_by_method["__init__"].items()}
    assert {
        key: ast.literal_eval(str(source_defaults[key])) for key in option_types.keys() & defaults.keys()
    } == defaults
    hints |= {key: get_args(kind)[0] if get_origin(kind) is NotRequired else kind for key, kind in option_types.items()}
    assert signature.doc == inspect.cleandoc(cls.__doc__ or "")
    assert signature.shapes == getattr(cls, "shapes", "")
    for key, kind in signature.init_types.items():
        if kind is not UNCHECKED_TYPE:
            assert kind == hints[key], key
        else:
            assert any(key in injected for injected in option_keys.INJECTED_ARGS.values()), f"{key} is not checked"
    if hasattr(cls, "required_model_methods"):
        assert signature.required_model_methods == cls.required_model_methods


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        ("int", int),
        ("float | None", float | None),
        ("'int'", int),
        ("Literal['a', 2]", Literal["a", 2]),
        ("list[int]", list[int]),
        ("tuple[float, float]", tuple[float, float]),
        ("tuple[int, ...]", tuple[int, ...]),
        ("list[Literal['a']]", list[Literal["a"]]),
        ("Sequence[int] | int", None),
        ("torch.Tensor", UNCHECKED_TYPE),
        ("Tensor | None", UNCHECKED_TYPE),
        ("list[Tensor]", UNCHECKED_TYPE),
        ("Literal[NAMES]", UNCHECKED_TYPE),
        ("Optional[int]", UNCHECKED_TYPE),
    ],
)
def test_types_in_the_vocabulary_are_resolved(annotation: str, kind: Any, plugin_file: Path) -> None:
    plugin_file.write_text(f"class A:\n    def __init__(self, a: {annotation}, b=1, *, c: int = 2): ...\n")
    signature = introspection.read_signature("own_sig.A")
    assert signature is not None
    assert kind is None or signature.init_types["a"] == kind
    assert (signature.init_types["b"], signature.init_types["c"]) == (UNCHECKED_TYPE, int)
    assert get_required_parameters(signature) == {"a"}


def test_methods_come_from_bases_in_the_same_file(plugin_file: Path) -> None:
    plugin_file.write_text(
        "class Base:\n    '''other'''\n    def __init__(self, a: int): ...\n"
        "    def forward(self, x, lengths=None): ...\n"
        "class Net(Base):\n    '''More.'''\n\n    shapes = 'x (B, F) -> (B, C)'\n"
        "    required_model_methods: ClassVar[tuple[str, ...]] = ('a', 'b')\n"
    )
    signature = introspection.read_signature("own_sig.Net")
    assert signature is not None
    assert (list(signature.init_types), list(signature.parameters_by_method["forward"])) == (["a"], ["x", "lengths"])
    assert get_required_parameters(signature, "forward") == {"x"}
    assert signature.parameters_by_method["forward"]["lengths"].default == "None"
    assert (signature.shapes, signature.required_model_methods) == ("x (B, F) -> (B, C)", ("a", "b"))


def test_keys_of_an_unpacked_typed_dict_are_parameters(plugin_file: Path) -> None:
    plugin_file.write_text(
        "from trainer.models.layers.attention.transformer import BlockOptions\n"
        "class Mine(TypedDict):\n    depth: int\n    wide: bool\n"
        "class A:\n    def __init__(self, a: int, b: int = 1, **more: Unpack[Mine]): ...\n"
        "class B:\n    def __init__(self, **more: Unpack[BlockOptions]): ...\n"
        "class C:\n    def __init__(self, a: int, **more: Any): ...\n"
    )
    signatures = {name: introspection.read_signature(f"own_sig.{name}") for name in "ABC"}
    assert signatures["A"] is not None
    assert signatures["B"] is not None
    assert signatures["C"] is not None
    assert signatures["A"].init_types == {"a": int, "b": int, "depth": int, "wide": bool}
    assert get_required_parameters(signatures["A"]) == {"a", "depth", "wide"}
    assert {"width", "heads", "attention"} <= signatures["B"].init_types.keys()
    assert signatures["C"].init_types == {"a": int}


def test_unknown_target_is_none_and_syntax_error_raises(plugin_file: Path) -> None:
    plugin_file.write_text("def function(): ...\nname = 3\n")
    for target in ("own_sig.Nope", "own_sig.function", "own_sig.name", "trainer.nope.A", "undeclared.A", "A", "", "."):
        assert introspection.read_signature(target) is None
    plugin_file.write_text("class A(:\n")
    introspection._parse_version.cache_clear()
    with pytest.raises(ConfigError, match=r"own_sig\.py, line 1: not valid Python"):
        introspection.read_signature("own_sig.A")


def test_signature_docstring_describes_every_field() -> None:
    described = re.findall(r"(\w+): ", introspection.Signature.__doc__ or "")
    assert described == list(introspection.Signature._fields)


def test_annotated_ranges_are_preserved() -> None:
    signature = introspection.read_signature("trainer.optim.optimizers.Adam")
    assert signature is not None
    assert get_origin(signature.init_types["lr"]) is Annotated


def test_a_base_class_imported_from_the_package_is_read(plugin_file: Path) -> None:
    plugin_file.write_text("from trainer import Task\n\nclass Own(Task):\n    shapes = '(B) -> (B)'\n")
    signature = introspection.read_signature("own_sig.Own")
    assert signature is not None
    assert "make_artifacts" in signature.parameters_by_method
    assert list(signature.parameters_by_method["__init__"]) == ["model"]


@pytest.mark.parametrize(
    ("imports", "base"),
    [
        ("from .base import Base", "Base"),
        ("from .base import Base as B", "B"),
        ("from . import base", "base.Base"),
        ("from . import Base", "Base"),
        ("from ..base import Base", "Base"),
        ("import own_pack.base as b", "b.Base"),
        ("import own_pack.base", "own_pack.base.Base"),
        ("from own_pack import base as b", "b.Base[int]"),
    ],
)
def test_a_base_class_in_a_package_is_found(
    imports: str, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "own_pack"
    (package / "deep").mkdir(parents=True)
    (package / "__init__.py").write_text("from .base import Base\n")
    (package / "base.py").write_text("class Base:\n    def __init__(self, width: int): ...\n")
    module = "deep.net" if imports.startswith("from ..") else "net"
    file = package.joinpath(*module.split(".")).with_suffix(".py")
    file.write_text(f"{imports}\n\nclass Net({base}):\n    def forward(self, x): ...\n")
    monkeypatch.chdir(tmp_path)
    plugins.declare_plugins(["own_pack"])
    signature = introspection.read_signature(f"own_pack.{module}.Net")
    plugins.declare_plugins([])
    assert signature is not None
    assert signature.init_types == {"width": int}
    assert not signature.has_unknown_keys
    assert not signature.has_unknown_methods


@pytest.mark.parametrize(
    ("source", "has_unknown_keys", "has_unknown_methods"),
    [
        ("from library import Base\nclass A(Base): ...\n", True, True),
        ("from library import Base\nclass A(Base):\n    def __init__(self, a, **more): ...\n", True, True),
        ("from library import Base\nclass A(Base):\n    def __init__(self, a): ...\n", False, True),
        ("from library import Base\nclass B(Base): ...\nclass A(B): ...\n", True, True),
        ("from torch import nn\nclass A(nn.Module): ...\n", False, False),
        ("import torch.nn as nn\nclass A(nn.Linear): ...\n", True, True),
        ("from typing import Generic\nclass A(Generic[T], object): ...\n", False, False),
        ("class A: ...\n", False, False),
        ("from own_sig import Base\nclass A(Base): ...\n", True, True),
    ],
)
def test_base_class_without_source_has_unknown_keys_and_methods(
    source: str, has_unknown_keys: bool, has_unknown_methods: bool, plugin_file: Path
) -> None:
    plugin_file.write_text(source)
    signature = introspection.read_signature("own_sig.A")
    assert signature is not None
    assert (signature.has_unknown_keys, signature.has_unknown_methods) == (has_unknown_keys, has_unknown_methods)
    problems = validation._check_group("model", {"_target_": "own_sig.A", "b": 1}, "", [])
    assert any("unknown key" in problem for problem in problems) is not has_unknown_keys


@pytest.mark.parametrize("target", TARGETS)
def test_the_keys_of_every_built_in_class_are_known(target: str) -> None:
    signature = introspection.read_signature(target)
    assert signature is not None
    assert not signature.has_unknown_keys


def test_malformed_shapes_are_reported_with_file_and_class(plugin_file: Path) -> None:
    plugin_file.write_text("class Net:\n    shapes = 'x (B, T, F -> (B, C)'\n")
    with pytest.raises(ConfigError, match=r"own_sig\.py: class Net: shapes: 'x \(B, T, F -> \(B, C\)' given"):
        introspection.read_signature("own_sig.Net")
