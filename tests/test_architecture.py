"""Architecture tests, read from the source: import order, sizes and forbidden constructs."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "trainer"
FILES = sorted(PACKAGE.rglob("*.py"))
PACKAGES = (
    *("utils", "core", "metrics", "config", "optim", "models", "data", "tasks"),
    *("engine", "viz", "runs", "cli"),
)
"""In the order of imports: each imports only from those before it."""
LEAVES = ("models", "data", "tasks")
TOP = ("engine", "viz", "runs", "cli")
"""Packages that only those after the leaves may import."""
HEAVY = ("torch_geometric", "sklearn", "matplotlib", "scipy", "PIL")
FORBIDDEN = re.compile(
    r"weights_only=False|allow_pickle=True|pickle\.load\(|yaml\.load\(|(?<![\w.])eval\(|(?<![\w.])exec\(|shell=True"
    r"|extractall\("
)
SHARED = (
    "trainer.models.layers",
    *(f"trainer.data.{folder}" for folder in ("splits", "readers", "encoding", "reference", "generators", "augment")),
    *(f"trainer.tasks.{folder}" for folder in ("base", "losses", "evaluation")),
)
"""What leaves are built from; everything else in their folders is one."""


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


@cache
def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(text_of(path))


@cache
def imports(path: Path, *, at_top: bool = False) -> set[str]:
    """Return the modules a file imports; ``at_top`` restricts them to top-level imports."""
    tree = tree_of(path)
    nodes = tree.body if at_top else list(ast.walk(tree))
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def offenders(rule: Callable[[Path], object], files: Iterable[Path] = FILES) -> dict[str, object]:
    """Return the violations of a rule by module."""
    return {name_of(path): broken for path in files if (broken := rule(path))}


def test_leaf_modules_import_no_siblings() -> None:
    modules = {name_of(path) for path in FILES}

    def strangers(path: Path) -> set[str]:
        mine = {name for name in imports(path) if name.startswith("trainer")}
        upwards = {name for name in mine if len(name.split(".")) > 1 and name.split(".")[1] in TOP}
        leaves = {name for name in mine & modules if name.split(".")[1] in LEAVES and name.count(".") > 1}
        return upwards | {name for name in leaves if not name.startswith(SHARED)}

    assert offenders(strangers, [path for path in FILES if path.relative_to(PACKAGE).parts[0] in LEAVES]) == {}


def test_packages_import_only_from_earlier_packages() -> None:
    rank = {name: place for place, name in enumerate(PACKAGES)}

    def upwards(path: Path) -> set[str]:
        package = path.relative_to(PACKAGE).parts[0]
        parts = (name.split(".") for name in imports(path) if name.startswith("trainer."))
        return {".".join(part) for part in parts if rank.get(part[1], 99) > rank[package]}

    assert offenders(upwards, [path for path in FILES if path.parent != PACKAGE]) == {}


def test_every_package_documents_its_contents_and_imports() -> None:
    assert {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"} == set(PACKAGES)
    at_root = {path.name for path in PACKAGE.iterdir() if path.is_file()}
    assert at_root == {"__init__.py", "__main__.py", "py.typed", "README.md"}
    for name in PACKAGES:
        first, _, rest = (ast.get_docstring(tree_of(PACKAGE / name / "__init__.py")) or "").partition("\n\n")
        assert first.endswith(".")
        assert rest.startswith("May import ")
    for folder in {path.parent for path in FILES}:
        assert ast.get_docstring(tree_of(folder / "__init__.py")), folder


def test_the_readme_lists_the_packages_in_their_order() -> None:
    text = (PACKAGE / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^  (\w+)/ ", text, re.MULTILINE) == list(PACKAGES)


def test_no_test_module_imports_another() -> None:
    between = re.compile(r"^\s*(?:from|import) (tests\.(?:\w+\.)*test_\w+)", re.MULTILINE)
    assert offenders(lambda path: between.findall(text_of(path)), PACKAGE.parent.glob("tests/**/*.py")) == {}


def test_heavy_libraries_are_imported_where_they_are_used() -> None:
    assert offenders(lambda path: {i.split(".")[0] for i in imports(path, at_top=True)} & set(HEAVY)) == {}


@pytest.mark.parametrize(
    "name",
    [
        *(
            f"config/{name}"
            for name in ("registry", "introspection", "compatibility", "plugins", "schema", "validation")
        ),
        *("config/validation", "cli/main", "core/types", "utils/errors", "runs/saved_run"),
    ],
)
def test_early_modules_do_not_import_torch(name: str) -> None:
    assert not {i for i in imports(PACKAGE / f"{name}.py", at_top=True) if i.split(".")[0] in ("torch", "hydra")}


def test_nothing_executes_its_input() -> None:
    assert offenders(lambda path: [line for line in text_of(path).splitlines() if FORBIDDEN.search(line)]) == {}


def test_the_training_loop_is_independent_of_the_task() -> None:
    known = imports(PACKAGE / "engine" / "trainer.py")
    assert not {name for name in known if name.startswith(tuple(f"trainer.{leaf}" for leaf in LEAVES))}
    assert "isinstance" not in (PACKAGE / "engine" / "trainer.py").read_text(encoding="utf-8")


def test_files_are_short() -> None:
    every = [*FILES, *sorted(PACKAGE.parent.glob("tests/**/*.py"))]
    assert offenders(lambda path: max(0, len(text_of(path).splitlines()) - 300), every) == {}


def test_string_constants_are_defined_once() -> None:
    places: dict[str, list[str]] = {}
    for path in FILES:
        for node in tree_of(path).body:
            match node:
                case ast.Assign(value=ast.Constant(value=str())):
                    places.setdefault(ast.unparse(node), []).append(name_of(path))
    assert {constant: where for constant, where in places.items() if len(where) > 1} == {}


@cache
def functions(path: Path) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.FunctionDef)]


def test_arguments_are_annotated_instead_of_asserted() -> None:
    """Annotations are checked by mypy, assertions only at run time."""

    def vague(function: ast.FunctionDef) -> bool:
        objects = {a.arg for a in function.args.args if a.annotation and ast.unparse(a.annotation) == "object"}
        asserted = {ast.unparse(node.test) for node in function.body if isinstance(node, ast.Assert)}
        return any(text.startswith(f"isinstance({name},") for name in objects for text in asserted)

    assert offenders(lambda path: [function.name for function in functions(path) if vague(function)]) == {}


def test_functions_are_short() -> None:
    """The signature and the docstring do not count."""

    def lines(function: ast.FunctionDef) -> int:
        *_, last = body = function.body[ast.get_docstring(function) is not None :] or function.body
        return (last.end_lineno or 0) - body[0].lineno

    assert offenders(lambda path: [function.name for function in functions(path) if lines(function) >= 45]) == {}


def test_code_names_no_class_path_and_no_option() -> None:
    """A class path or an option of the configuration is written in a YAML file, and found there."""
    path_of_class = re.compile(r"trainer(\.[a-z_0-9]+)+\.[A-Z]\w*$|(model|data|task)=\w+$")

    def named(path: Path) -> list[str]:
        constants = (node.value for node in ast.walk(tree_of(path)) if isinstance(node, ast.Constant))
        return [text for text in constants if isinstance(text, str) and path_of_class.match(text)]

    assert offenders(named) == {}


DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn", "hydra": "hydra-core", "yaml": "omegaconf"}
"""What brings a module of another name; PyYAML is OmegaConf's own reader."""
DISTRIBUTIONS |= {"huggingface_hub": "transformers", "torch_geometric": "torch-geometric"}


def test_imports_are_declared_dependencies() -> None:
    tables = tomllib.loads(text_of(PACKAGE.parent / "pyproject.toml"))["project"]
    extras = [line for name, group in tables["optional-dependencies"].items() if name != "dev" for line in group]
    declared = {re.match(r"[\w-]+", line).group() for line in (*tables["dependencies"], *extras)}  # type: ignore[union-attr]
    tops = {module.partition(".")[0] for path in FILES for module in imports(path)}
    foreign = {DISTRIBUTIONS.get(top, top) for top in tops - {*sys.stdlib_module_names, "trainer"}}
    assert foreign - declared == set()


def test_type_ignores_are_rare_and_targets_are_required_explicitly() -> None:
    """A model's methods are called through a Protocol, a target through ``require_target``."""
    ignored = sum(text_of(path).count("type: ignore") for path in FILES)
    assert ignored <= 15
    assert offenders(lambda path: re.findall(r"assert batch\.target is not None", text_of(path))) == {}
