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
    *("utils", "core", "metrics", "stats", "config", "optim", "models", "data", "tasks"),
    *("engine", "viz", "runs", "search", "inference", "export", "analysis", "report", "cli"),
)
"""In the order of imports: each imports only from those before it."""
LEAVES = ("models", "data", "tasks")
TOP = ("engine", "viz", "runs", "search", "inference", "export", "analysis", "report", "cli")
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
"""Modules that leaves may share; every other module of their packages is a leaf."""


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


@cache
def read_source(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def parse_source(path: Path) -> ast.Module:
    return ast.parse(read_source(path))


@cache
def find_imports(path: Path, *, at_top: bool = False) -> set[str]:
    """Return the modules a file imports; ``at_top`` restricts them to top-level imports."""
    tree = parse_source(path)
    nodes = tree.body if at_top else list(ast.walk(tree))
    modules = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return modules


def violations(rule: Callable[[Path], object], files: Iterable[Path] = FILES) -> dict[str, object]:
    """Return the violations of a rule by module."""
    return {module_name(path): violation for path in files if (violation := rule(path))}


def test_leaf_modules_import_no_siblings() -> None:
    modules = {module_name(path) for path in FILES}

    def forbidden_imports(path: Path) -> set[str]:
        internal = {name for name in find_imports(path) if name.startswith("trainer")}
        upwards = {name for name in internal if len(name.split(".")) > 1 and name.split(".")[1] in TOP}
        leaves = {name for name in internal & modules if name.split(".")[1] in LEAVES and name.count(".") > 1}
        return upwards | {name for name in leaves if not name.startswith(SHARED)}

    assert violations(forbidden_imports, [path for path in FILES if path.relative_to(PACKAGE).parts[0] in LEAVES]) == {}


def test_packages_import_only_from_earlier_packages() -> None:
    rank = {name: place for place, name in enumerate(PACKAGES)}

    def find_later_packages(path: Path) -> set[str]:
        package = path.relative_to(PACKAGE).parts[0]
        parts = (name.split(".") for name in find_imports(path) if name.startswith("trainer."))
        return {".".join(part) for part in parts if rank.get(part[1], 99) > rank[package]}

    assert violations(find_later_packages, [path for path in FILES if path.parent != PACKAGE]) == {}


def test_every_package_documents_its_contents_and_imports() -> None:
    assert {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"} == set(PACKAGES)
    at_root = {path.name for path in PACKAGE.iterdir() if path.is_file()}
    assert at_root == {"__init__.py", "__main__.py", "py.typed", "README.md"}
    for name in PACKAGES:
        first, _, rest = (ast.get_docstring(parse_source(PACKAGE / name / "__init__.py")) or "").partition("\n\n")
        assert first.endswith(".")
        assert rest.startswith("May import ")
    for folder in {path.parent for path in FILES}:
        assert ast.get_docstring(parse_source(folder / "__init__.py")), folder


def test_readme_lists_packages_in_import_order() -> None:
    text = (PACKAGE / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^  (\w+)/ ", text, re.MULTILINE) == list(PACKAGES)


def test_no_test_module_imports_another() -> None:
    pattern = re.compile(r"^\s*(?:from|import) (tests\.(?:\w+\.)*test_\w+)", re.MULTILINE)
    assert violations(lambda path: pattern.findall(read_source(path)), PACKAGE.parent.glob("tests/**/*.py")) == {}


def test_forward_takes_the_number_of_rows_from_the_shape() -> None:
    """``len(x)`` is a constant in an exported program, which then takes one batch size only."""

    def find_lengths(path: Path) -> set[str]:
        methods = [node for node in ast.walk(parse_source(path)) if getattr(node, "name", "") == "forward"]
        names = [(node, {a.arg for a in node.args.args}) for node in methods if isinstance(node, ast.FunctionDef)]
        calls = [(ast.unparse(call), found) for node, found in names for call in ast.walk(node)]
        return {text for text, found in calls if text in {f"len({name})" for name in found}}

    assert violations(find_lengths, [path for path in FILES if path.is_relative_to(PACKAGE / "models")]) == {}


def test_heavy_libraries_are_imported_where_they_are_used() -> None:
    assert violations(lambda path: {i.split(".")[0] for i in find_imports(path, at_top=True)} & set(HEAVY)) == {}


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
    assert not {i for i in find_imports(PACKAGE / f"{name}.py", at_top=True) if i.split(".")[0] in ("torch", "hydra")}


def test_no_module_calls_eval_pickle_or_shell() -> None:
    assert violations(lambda path: [line for line in read_source(path).splitlines() if FORBIDDEN.search(line)]) == {}


def test_the_training_loop_is_independent_of_the_task() -> None:
    modules = find_imports(PACKAGE / "engine" / "trainer.py")
    assert not {name for name in modules if name.startswith(tuple(f"trainer.{leaf}" for leaf in LEAVES))}
    assert "isinstance" not in (PACKAGE / "engine" / "trainer.py").read_text(encoding="utf-8")


GENERIC_FILES = [path for path in FILES if path.relative_to(PACKAGE).parts[0] in TOP]


def test_generic_packages_import_no_model_data_set_or_task() -> None:
    modules = {module_name(path) for path in FILES}

    def find_leaves(path: Path) -> set[str]:
        names = {name for name in find_imports(path) & modules if name.split(".")[1] in LEAVES}
        return {name for name in names if not name.startswith(SHARED)}

    assert violations(find_leaves, GENERIC_FILES) == {}


def test_attributes_of_tasks_and_models_are_declared() -> None:
    """What generic packages and the base classes of tasks read is declared, not looked up by name."""
    lookup = re.compile(r"hasattr\(|getattr\((?:self\.)?(?:[\w.]*\.)?(?:task|model)\b")
    base = [path for path in FILES if path.is_relative_to(PACKAGE / "tasks" / "base")]
    assert violations(lambda path: lookup.findall(read_source(path)), [*GENERIC_FILES, *base]) == {}


def test_files_are_short() -> None:
    files = [*FILES, *sorted(PACKAGE.parent.glob("tests/**/*.py"))]
    assert violations(lambda path: max(0, len(read_source(path).splitlines()) - 300), files) == {}


def test_string_constants_are_defined_once() -> None:
    places: dict[str, list[str]] = {}
    for path in FILES:
        for node in parse_source(path).body:
            match node:
                case ast.Assign(value=ast.Constant(value=str())):
                    places.setdefault(ast.unparse(node), []).append(module_name(path))
    assert {constant: where for constant, where in places.items() if len(where) > 1} == {}


@cache
def list_functions(path: Path) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(parse_source(path)) if isinstance(node, ast.FunctionDef)]


def test_arguments_are_annotated_instead_of_asserted() -> None:
    """Annotations are checked by mypy, assertions only at run time."""

    def asserts_type(function: ast.FunctionDef) -> bool:
        objects = {a.arg for a in function.args.args if a.annotation and ast.unparse(a.annotation) == "object"}
        asserted = {ast.unparse(node.test) for node in function.body if isinstance(node, ast.Assert)}
        return any(text.startswith(f"isinstance({name},") for name in objects for text in asserted)

    assert violations(lambda path: [function.name for function in list_functions(path) if asserts_type(function)]) == {}


def test_functions_are_short() -> None:
    """The signature and the docstring do not count."""

    def count_lines(function: ast.FunctionDef) -> int:
        *_, last = body = function.body[ast.get_docstring(function) is not None :] or function.body
        return (last.end_lineno or 0) - body[0].lineno

    assert (
        violations(lambda path: [function.name for function in list_functions(path) if count_lines(function) >= 45])
        == {}
    )


def test_documented_public_functions_describe_arguments_and_errors() -> None:
    def is_public(node: ast.stmt) -> bool:
        return isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")

    def is_incomplete(function: ast.FunctionDef) -> bool:
        doc = ast.get_docstring(function)
        names = {a.arg for a in (*function.args.args, *function.args.kwonlyargs)} - {"self", "cls"}
        raised = [node.exc for node in ast.walk(function) if isinstance(node, ast.Raise)]
        errors = {ast.unparse(error.func) for error in raised if isinstance(error, ast.Call)}
        is_raised = any(
            name.endswith(("Error", "Fault")) for name in errors - {"NotImplementedError", "AssertionError"}
        )
        if doc is None:
            return False
        return (len(names) > 1 and "Args:" not in doc) or (is_raised and "Raise" not in doc)

    def list_incomplete(path: Path) -> list[str]:
        nodes = [node for node in parse_source(path).body if is_public(node)]
        members = [node for cls in nodes if isinstance(cls, ast.ClassDef) for node in cls.body if is_public(node)]
        functions = [node for node in (*nodes, *members) if isinstance(node, ast.FunctionDef)]
        return [function.name for function in functions if is_incomplete(function)]

    assert violations(list_incomplete) == {}


def test_code_contains_no_class_paths_or_option_names() -> None:
    """A class path or an option of the configuration is written in a YAML file, and found there."""
    pattern = re.compile(r"trainer(\.[a-z_0-9]+)+\.[A-Z]\w*$|(model|data|task)=\w+$")

    def find_literals(path: Path) -> list[str]:
        constants = (node.value for node in ast.walk(parse_source(path)) if isinstance(node, ast.Constant))
        return [text for text in constants if isinstance(text, str) and pattern.match(text)]

    assert violations(find_literals) == {}


DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn", "hydra": "hydra-core", "yaml": "omegaconf"}
"""Distributions whose name differs from their module; PyYAML is a dependency of OmegaConf."""
DISTRIBUTIONS |= {"huggingface_hub": "transformers", "torch_geometric": "torch-geometric"}
DISTRIBUTIONS |= {"python_multipart": "python-multipart"}


def test_imports_are_declared_dependencies() -> None:
    tables = tomllib.loads(read_source(PACKAGE.parent / "pyproject.toml"))["project"]
    extras = [line for name, group in tables["optional-dependencies"].items() if name != "dev" for line in group]
    declared = {re.match(r"[\w-]+", line).group() for line in (*tables["dependencies"], *extras)}  # type: ignore[union-attr]
    tops = {module.partition(".")[0] for path in FILES for module in find_imports(path)}
    foreign = {DISTRIBUTIONS.get(top, top) for top in tops - {*sys.stdlib_module_names, "trainer"}}
    assert foreign - declared == set()


def test_type_ignores_are_rare_and_targets_are_required_explicitly() -> None:
    """A model's methods are called through a Protocol, a target through ``require_target``."""
    ignored = sum(read_source(path).count("type: ignore") for path in FILES)
    assert ignored <= 15
    assert violations(lambda path: re.findall(r"assert batch\.target is not None", read_source(path))) == {}
