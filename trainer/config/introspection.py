"""What a class accepts, read from its source with ``ast``.

A configuration is checked against the signature of the class it names; reading the source instead of importing it
keeps torch out of every error message.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, reduce
from operator import or_
from pathlib import Path
from typing import Any, Literal, get_args

from trainer.config import plugins, torch_classes
from trainer.core.types import ANNOTATION_TYPES, DataPath
from trainer.utils.errors import ConfigError

PACKAGE_DIR = Path(__file__).parents[1]
OPTION_DEFAULTS = "option_defaults"
"""The class attribute with the defaults of what ``**options: Unpack[Options]`` takes."""
UNCHECKED_TYPE = object
"""The type of a parameter whose annotation uses names this module does not know: it fits every value."""


@dataclass(frozen=True)
class Parameter:
    """kind: the type its annotation names. default: as it stands in the source; None if it must be given."""

    kind: Any
    default: str | None


@dataclass(frozen=True)
class Signature:
    """A class as its source shows it.

    doc: the class docstring. shapes: the inputs and outputs (see ``core.shapes``). parameters_by_method: the parameters
    after ``self`` of each method, inherited ones too. required_model_methods: those a task calls on its model.
    extra_model_inputs: what a task passes to the model's ``forward`` besides the inputs of the data. target_kind: what
    a task learns, where its ``shapes`` do not say.
    """

    doc: str
    shapes: str
    parameters_by_method: Mapping[str, Mapping[str, Parameter]]
    required_model_methods: tuple[str, ...]
    extra_model_inputs: tuple[str, ...] = ()
    target_kind: str | None = None

    @property
    def init_types(self) -> dict[str, Any]:
        """Each ``__init__`` parameter with its type."""
        return {name: parameter.kind for name, parameter in self.parameters_by_method.get("__init__", {}).items()}


def find_source_file(target: str) -> Path | None:
    """The file that should define a dotted class name, without importing anything."""
    module = target.rpartition(".")[0]
    if not all(part.isidentifier() for part in module.split(".")):
        return None
    if module.split(".")[0] == "trainer":
        path = PACKAGE_DIR.joinpath(*module.split(".")[1:])
        return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)
    if torch_classes.is_torch_class(target):
        return torch_classes.find_source_file(target)
    return plugins.find_plugin_file(module)


def _parse_module(path: Path) -> ast.Module:
    return _parse_version(path, path.stat().st_mtime_ns)


@cache
def _parse_version(path: Path, mtime_ns: int) -> ast.Module:  # noqa: ARG001
    """Parse a file as of one modification time: in a notebook, a plugin is edited between two calls."""
    try:
        return ast.parse(path.read_text(encoding="utf-8"), str(path))
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise ConfigError(f"{path}{f', line {line}' if line else ''}: this is not Python: {error}") from error


def find_classes(path: Path) -> dict[str, ast.ClassDef]:
    """The classes a file defines."""
    return {node.name: node for node in _parse_module(path).body if isinstance(node, ast.ClassDef)}


def find_definitions(path: Path) -> list[str]:
    """The names of the classes and functions a file defines."""
    return [node.name for node in _parse_module(path).body if isinstance(node, ast.ClassDef | ast.FunctionDef)]


def read_signature(target: str) -> Signature | None:
    """The signature of a dotted class name; None where the source has no such class."""
    path = find_source_file(target)
    return _read_signature(path, target.rpartition(".")[2]) if path else None


def _read_signature(path: Path, name: str) -> Signature | None:
    node = find_classes(path).get(name)
    if node is None:
        return None
    methods = {
        name: {
            argument.arg: Parameter(_resolve_annotation(argument.annotation), ast.unparse(default) if default else None)
            for argument, default in _parse_arguments(function, origin)
        }
        for name, (function, origin) in _find_methods(node, path).items()
    }
    given = _read_class_attribute(node, path, OPTION_DEFAULTS, {})
    init = methods.get("__init__", {})
    init |= {key: Parameter(init[key].kind, repr(given[key])) for key in given if key in init}
    defaults = {"shapes": "", "required_model_methods": (), "extra_model_inputs": (), "target_kind": None}
    shapes, needs, supplies, kind = (
        _read_class_attribute(node, path, key, default) for key, default in defaults.items()
    )
    doc = ast.get_docstring(node) or ""
    return Signature(doc, shapes, methods, tuple(needs) or ("forward",), tuple(supplies), kind)


def find_data_paths(target: str) -> list[str]:
    """The parameters of a data set, a dotted class name, that are paths of the user's data."""
    found = read_signature(target)
    return [key for key, kind in found.init_types.items() if DataPath in (kind, *get_args(kind))] if found else []


def _find_methods(node: ast.ClassDef, path: Path) -> dict[str, tuple[ast.FunctionDef, Path]]:
    """The methods of a class and of those of its bases whose source is ours or a plugin's, each with its file."""
    return {
        item.name: (item, origin)
        for part, origin in _resolve_mro(node, path)
        for item in part.body
        if isinstance(item, ast.FunctionDef)
    }


def _resolve_mro(node: ast.ClassDef, path: Path) -> list[tuple[ast.ClassDef, Path]]:
    """A class after those of its bases whose source is ours or a plugin's, the first base last; each with its file."""
    origins = [_resolve_base(base, path) for base in reversed(node.bases)]
    return [*(part for origin in origins if origin for part in _resolve_mro(*origin)), (node, path)]


def _resolve_base(base: ast.expr, path: Path) -> tuple[ast.ClassDef, Path] | None:
    """A base as a class statement names it: ``Adam``, or ``torch.optim.Adam``."""
    if isinstance(base, ast.Name):
        return _resolve_class(base.id, path)
    target = ast.unparse(base) if isinstance(base, ast.Attribute) else ""
    origin = torch_classes.find_source_file(target)
    return _resolve_class(target.rpartition(".")[2], origin) if origin else None


def _parse_arguments(function: ast.FunctionDef, path: Path) -> list[tuple[ast.arg, ast.expr | None]]:
    """Arguments after ``self`` with their defaults; ``**options: Unpack[Options]`` counts as the keys of Options.

    Those of Options have their defaults in a class attribute, ``option_defaults``.
    """
    spec = function.args
    positional = [*spec.posonlyargs, *spec.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(spec.defaults))
    pairs = list(zip(positional, [*defaults, *spec.defaults], strict=True))[1:]
    pairs += zip(spec.kwonlyargs, spec.kw_defaults, strict=True)
    match spec.kwarg and spec.kwarg.annotation:
        case ast.Subscript(value=ast.Name(id="Unpack"), slice=ast.Name(id=name)):
            options = _resolve_class(name, path)
            assert options is not None, f"{path}: {name} is read from its source, but is not ours"
            pairs += [_parse_option(item) for item in _list_keys(*options)]
    return pairs


def _parse_option(item: ast.AnnAssign) -> tuple[ast.arg, ast.expr | None]:
    """A key of a TypedDict; one that is NotRequired counts as an argument with a default."""
    match item.annotation:
        case ast.Subscript(value=ast.Name(id="NotRequired"), slice=inner):
            return ast.arg(ast.unparse(item.target), inner), ast.Constant(None)
    return ast.arg(ast.unparse(item.target), item.annotation), None


def _list_keys(node: ast.ClassDef, path: Path) -> list[ast.AnnAssign]:
    """The keys of a TypedDict behind those of its bases, in their order."""
    origins = [_resolve_class(base.id, path) for base in node.bases if isinstance(base, ast.Name)]
    inherited = [item for origin in origins if origin for item in _list_keys(*origin)]
    return [*inherited, *(item for item in node.body if isinstance(item, ast.AnnAssign))]


def _resolve_class(name: str, path: Path) -> tuple[ast.ClassDef, Path] | None:
    """A class that a file defines, or imports from a file that does, and that file; None if its source is not read.

    Imports for type checkers count: ``trainer/__init__.py`` names its lazy exports in them.
    """
    if name in find_classes(path):
        return find_classes(path)[name], path
    body = _parse_module(path).body
    for node in (*body, *(inner for outer in body if isinstance(outer, ast.If) for inner in outer.body)):
        if isinstance(node, ast.ImportFrom) and name in {alias.name for alias in node.names}:
            origin = find_source_file(f"{node.module}.{name}")
            return _resolve_class(name, origin) if origin else None
    return None


def _read_class_attribute(node: ast.ClassDef, path: Path, key: str, default: Any) -> Any:
    """The value of a literal class attribute, an inherited one too."""
    found = default
    for item in (item for part, _ in _resolve_mro(node, path) for item in part.body):
        match item:
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value) if name == key:
                found = ast.literal_eval(value)
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name == key:
                found = ast.literal_eval(value)
    return found


def _is_code_only(annotation: ast.expr) -> bool:
    """Whether a type is of values that no configuration can hold: tensors and functions."""
    match annotation:
        case ast.Name(id="Tensor") | ast.Subscript(value=ast.Name(id="Callable")):
            return True
        case ast.Subscript(value=ast.Name(), slice=inner):
            return not isinstance(inner, ast.Constant | ast.Tuple) and _is_code_only(inner)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _is_code_only(left) and _is_code_only(right)
    return False


def _resolve_annotation(annotation: ast.expr | None) -> Any:
    """The type an annotation names, from the small vocabulary a configuration may use."""
    match annotation:
        case ast.Constant(value=None):
            return type(None)
        case ast.Constant(value=str(text)):
            return _resolve_annotation(ast.parse(text, mode="eval").body)
        case ast.Name(id=name) if name in ANNOTATION_TYPES:
            return ANNOTATION_TYPES[name]
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            sides = [_resolve_annotation(side) for side in (left, right) if not _is_code_only(side)]
            return UNCHECKED_TYPE if UNCHECKED_TYPE in sides or {*sides} <= {type(None)} else reduce(or_, sides)
        case ast.Subscript(value=ast.Name(id="Literal"), slice=inner):
            try:
                value = ast.literal_eval(inner)
            except ValueError:
                return UNCHECKED_TYPE
            return Literal[value]
        case ast.Subscript(value=ast.Name(id=name), slice=inner) if name in ANNOTATION_TYPES:
            items = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            kinds = tuple(
                ... if isinstance(i, ast.Constant) and i.value is ... else _resolve_annotation(i) for i in items
            )
            return (
                UNCHECKED_TYPE
                if UNCHECKED_TYPE in kinds
                else ANNOTATION_TYPES[name][kinds if len(kinds) > 1 else kinds[0]]
            )
    return UNCHECKED_TYPE
