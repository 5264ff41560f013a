"""Signatures of classes, read from the source with ``ast``.

A configuration is checked against the signatures of the classes that it names. Reading the source instead of importing
it means that errors are reported without the seconds that an import of torch takes.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, get_args

from trainer.config import plugins, torch_classes
from trainer.config.annotations import resolve_annotation
from trainer.config.import_statements import find_absolute_name
from trainer.core.shapes import parse_alternatives
from trainer.core.types import DataPath
from trainer.utils.errors import ConfigError

PACKAGE_DIR = Path(__file__).parents[1]
OPTION_DEFAULTS = "option_defaults"
"""Name of the class attribute with the defaults for ``**options: Unpack[Options]``."""
_PLAIN_BASES = ("object", "abc.ABC", "typing.Protocol", "typing.Generic", "torch.nn.Module")
"""Base classes outside of the sources that add neither keys nor methods of models and tasks."""


class Parameter(NamedTuple):
    """Parameter of a method.

    Attributes:
        kind: Type that its annotation names.
        default: Source text of the default; None for a required parameter.
    """

    kind: Any
    default: str | None


class Signature(NamedTuple):
    """Signatures of the methods of a class, with the class attributes that describe it.

    Attributes:
        doc: Class docstring.
        shapes: Shapes of inputs and output (see ``core.shapes``).
        parameters_by_method: Parameters after ``self`` of each method, including inherited methods.
        required_model_methods: Methods that a task calls on its model.
        extra_model_inputs: Inputs that a task passes to its model in addition to those of the data.
        target_kind: ``class`` or ``number``, for a task whose ``shapes`` do not determine it.
        scores_outputs: Whether a task scores the outputs of the model alone.
        has_unknown_methods: Whether a base class has no readable source, so that there may be more methods.
        has_unknown_keys: Whether such a base class may take further ``__init__`` parameters.
    """

    doc: str
    shapes: str
    parameters_by_method: Mapping[str, Mapping[str, Parameter]]
    required_model_methods: tuple[str, ...]
    extra_model_inputs: tuple[str, ...] = ()
    target_kind: str | None = None
    scores_outputs: bool = False
    has_unknown_methods: bool = False
    has_unknown_keys: bool = False

    @property
    def init_types(self) -> dict[str, Any]:
        """Types of the ``__init__`` parameters."""
        return {name: parameter.kind for name, parameter in self.parameters_by_method.get("__init__", {}).items()}


def find_source_file(target: str) -> Path | None:
    """Return the source file of a class path, without importing anything, or None if there is none.

    Args:
        target: Class path in this package, torch or a declared plugin.
    """
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
    """Parse a file, cached by its modification time: in a notebook, a plugin is edited between two calls."""
    try:
        return ast.parse(path.read_text(encoding="utf-8"), str(path))
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise ConfigError(f"{path}{f', line {line}' if line else ''}: not valid Python: {error}") from error


def find_classes(path: Path) -> dict[str, ast.ClassDef]:
    """Return the classes that a file defines, by name."""
    return {node.name: node for node in _parse_module(path).body if isinstance(node, ast.ClassDef)}


def find_definitions(path: Path) -> list[str]:
    """Return the names of the classes and functions that a file defines."""
    return [node.name for node in _parse_module(path).body if isinstance(node, ast.ClassDef | ast.FunctionDef)]


def read_signature(target: str) -> Signature | None:
    """Return the signature of a class, or None if the class does not exist.

    Args:
        target: Class path in this package, torch or a declared plugin.

    Raises:
        ConfigError: Its file is not valid Python, or its ``shapes`` are malformed.
    """
    path = find_source_file(target)
    if path is None:
        return None
    is_fixed = target.split(".")[0] == "trainer" or torch_classes.is_torch_class(target)
    return (_read_fixed_signature if is_fixed else _read_signature)(path, target.rpartition(".")[2])


@cache
def _read_fixed_signature(path: Path, name: str) -> Signature | None:
    """Read a class of this package or of torch, whose source does not change while the process runs."""
    return _read_signature(path, name)


def _read_signature(path: Path, name: str) -> Signature | None:
    node = find_classes(path).get(name)
    if node is None:
        return None
    shapes = _read_class_attribute(node, path, "shapes", "")
    try:
        parse_alternatives(shapes)
    except ValueError as error:
        raise ConfigError(f"{path}: class {name}: {error}") from error
    methods = {name: _read_parameters(*method) for name, method in _find_methods(node, path).items()}
    init = methods.get("__init__", {})
    for key, value in _read_class_attribute(node, path, OPTION_DEFAULTS, {}).items():
        if key in init:
            init[key] = Parameter(init[key].kind, repr(value))
    return Signature(
        doc=_get_docstring(node),
        shapes=shapes,
        parameters_by_method=methods,
        required_model_methods=tuple(_read_class_attribute(node, path, "required_model_methods", ())) or ("forward",),
        extra_model_inputs=tuple(_read_class_attribute(node, path, "extra_model_inputs", ())),
        target_kind=_read_class_attribute(node, path, "target_kind", None),
        scores_outputs=_read_class_attribute(node, path, "scores_outputs", False),
        has_unknown_methods=any(_has_unknown_base(*entry) for entry in _resolve_mro(node, path)),
        has_unknown_keys=_has_unknown_keys(node, path),
    )


def _get_docstring(node: ast.ClassDef) -> str:
    """Return the docstring without its indentation; ``ast`` would import ``inspect`` for that, which takes 3 ms."""
    summary, _, body = (ast.get_docstring(node, clean=False) or "").partition("\n")
    return f"{summary.strip()}\n{textwrap.dedent(body)}".strip()


def _read_parameters(function: ast.FunctionDef, path: Path) -> dict[str, Parameter]:
    """Return the parameters of a method after ``self``, by name."""
    return {
        argument.arg: Parameter(resolve_annotation(argument.annotation), ast.unparse(default) if default else None)
        for argument, default in _parse_arguments(function, path)
    }


def find_data_paths(target: str) -> list[str]:
    """Return the parameters of a data set that are paths of user data.

    Args:
        target: Class path of the data set.
    """
    signature = read_signature(target)
    return (
        [key for key, kind in signature.init_types.items() if DataPath in (kind, *get_args(kind))] if signature else []
    )


def _find_methods(node: ast.ClassDef, path: Path) -> dict[str, tuple[ast.FunctionDef, Path]]:
    """Return the methods of a class and of its bases, as far as their source can be read, with their files."""
    return {
        item.name: (item, source_file)
        for class_node, source_file in _resolve_mro(node, path)
        for item in class_node.body
        if isinstance(item, ast.FunctionDef)
    }


def _resolve_mro(node: ast.ClassDef, path: Path) -> list[tuple[ast.ClassDef, Path]]:
    """Return the bases of a class whose source can be read and then the class, each with its file.

    This is the order of increasing precedence: the first base comes after the others.
    """
    bases = [_resolve_base(base, path) for base in reversed(node.bases)]
    return [
        *(entry for resolved_base in bases if resolved_base for entry in _resolve_mro(*resolved_base)),
        (node, path),
    ]


def _resolve_base(base: ast.expr, path: Path) -> tuple[ast.ClassDef, Path] | None:
    """Resolve a base class as written in a class statement: ``Adam``, ``torch.optim.Adam`` or ``Base[T]``."""
    name = _get_base_name(base)
    return _resolve_class(name, path) if name else None


def _get_base_name(base: ast.expr) -> str:
    """Return the name of a base class, without type arguments; empty for other expressions."""
    node = base.value if isinstance(base, ast.Subscript) else base
    return ast.unparse(node) if isinstance(node, ast.Name | ast.Attribute) else ""


def _has_unknown_base(node: ast.ClassDef, path: Path) -> bool:
    """Return whether a base in a class statement has no readable source and is not a plain one."""
    names = (_get_base_name(base) for base in node.bases if _resolve_base(base, path) is None)
    return any((find_absolute_name(name, _parse_module(path), path) or name) not in _PLAIN_BASES for name in names)


def _has_unknown_keys(node: ast.ClassDef, path: Path) -> bool:
    """Return whether ``__init__`` may take parameters of a base class that has no readable source."""
    inits = (item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__")
    init = next(inits, None)
    if init is not None and (init.args.kwarg is None or isinstance(init.args.kwarg.annotation, ast.Subscript)):
        return False
    bases = [entry for base in node.bases if (entry := _resolve_base(base, path))]
    return _has_unknown_base(node, path) or any(_has_unknown_keys(*entry) for entry in bases)


def _parse_arguments(function: ast.FunctionDef, path: Path) -> list[tuple[ast.arg, ast.expr | None]]:
    """Return the arguments after ``self`` with their defaults.

    ``**options: Unpack[Options]`` is expanded to the keys of ``Options``, whose defaults are in the class attribute
    ``option_defaults``.
    """
    spec = function.args
    positional = [*spec.posonlyargs, *spec.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(spec.defaults))
    pairs = list(zip(positional, [*defaults, *spec.defaults], strict=True))[1:]
    pairs += zip(spec.kwonlyargs, spec.kw_defaults, strict=True)
    match spec.kwarg and spec.kwarg.annotation:
        case ast.Subscript(value=ast.Name(id="Unpack"), slice=ast.Name(id=name)):
            options = _resolve_class(name, path)
            assert options is not None, f"{path}: the source of {name} cannot be found"
            pairs += [_parse_option(item) for item in _list_keys(*options)]
    return pairs


def _parse_option(item: ast.AnnAssign) -> tuple[ast.arg, ast.expr | None]:
    """Convert a key of a TypedDict to an argument; a NotRequired key has a default."""
    match item.annotation:
        case ast.Subscript(value=ast.Name(id="NotRequired"), slice=inner):
            return ast.arg(ast.unparse(item.target), inner), ast.Constant(None)
    return ast.arg(ast.unparse(item.target), item.annotation), None


def _list_keys(node: ast.ClassDef, path: Path) -> list[ast.AnnAssign]:
    """Return the keys of a TypedDict, those of its bases first."""
    bases = [_resolve_class(base.id, path) for base in node.bases if isinstance(base, ast.Name)]
    inherited = [item for resolved_base in bases if resolved_base for item in _list_keys(*resolved_base)]
    return [*inherited, *(item for item in node.body if isinstance(item, ast.AnnAssign))]


def _resolve_class(name: str, path: Path) -> tuple[ast.ClassDef, Path] | None:
    """Return a class that a file defines or imports, with the file that defines it; None if it cannot be found.

    Args:
        name: Name in the file, dotted for a class of an imported module.
        path: Path of the file.
    """
    if name in find_classes(path):
        return find_classes(path)[name], path
    target = find_absolute_name(name, _parse_module(path), path)
    source_file = find_source_file(target) if target else None
    if target is None or source_file in (None, path):  # a file that imports the name from itself does not define it
        return None
    return _resolve_class(target.rpartition(".")[2], source_file)


def _read_class_attribute(node: ast.ClassDef, path: Path, key: str, default: Any) -> Any:
    """Return the value of a class attribute that is a literal, own or inherited."""
    result = default
    for item in (item for class_node, _ in _resolve_mro(node, path) for item in class_node.body):
        match item:
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value) if name == key:
                result = ast.literal_eval(value)
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name == key:
                result = ast.literal_eval(value)
    return result
