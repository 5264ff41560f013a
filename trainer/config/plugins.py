"""Plugins: modules of the user, declared by ``plugins=[my_module]``.

The working directory is not on the import path, so that no file in it is imported by accident; only declared plugins
are looked up there.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from trainer.utils.errors import ConfigError
from trainer.utils.suggest import did_you_mean

_PLUGIN_FILES: dict[str, Path] = {}
_IMPORT_TIME = "__trainer_import_time_ns__"
"""Attribute of a plugin, or of a helper that one imported, with the time at which the import began."""
_INSTALL_DIRS = frozenset({"site-packages", "dist-packages"})


def declare_plugins(names: Iterable[str], directory: Path | None = None) -> None:
    """Declare plugins by name, replacing those declared before; nothing is imported.

    Args:
        names: Names of modules or packages, without dots.
        directory: Directory with modules of the user; by default the working directory.

    Raises:
        ConfigError: A name is invalid or reserved, or is found neither in the directory nor installed.
    """
    _PLUGIN_FILES.clear()
    directory = directory or Path.cwd()
    for name in names:
        if not name.isidentifier():
            raise ConfigError(f"plugins: {name!r} is not the name of a module; it must be in {directory} or installed")
        if name in sys.stdlib_module_names or name == "trainer":
            raise ConfigError(f"plugins: {name!r} is a module of the standard library or of train; rename the plugin")
        local_path = directory / name
        candidates = [local_path.with_suffix(".py"), local_path / "__init__.py"]
        file = next((path for path in candidates if path.is_file()), None)
        if file is None:
            spec = importlib.util.find_spec(name)
            file = Path(spec.origin) if spec and spec.origin else None
        if file is None:
            suggestion = did_you_mean(name, [path.stem for path in directory.glob("*.py")])
            raise ConfigError(f"plugins: no module {name!r} in {directory} or installed{suggestion}")
        _PLUGIN_FILES[name] = file


def split_plugin_args(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separate ``plugins=[...]`` from the other words of a command.

    Args:
        words: Words of the command line.

    Returns:
        ``(other words, names of plugins)``.
    """
    values = [word.partition("=")[2] for word in words if word.startswith("plugins=")]
    names = [name.strip(" '\"") for text in values for name in text.strip("[] ").split(",")]
    return [word for word in words if not word.startswith("plugins=")], [name for name in names if name]


def find_undeclared_plugins(saved_names: object, declared: Collection[str]) -> list[str]:
    """Return a problem if a saved run names plugins that the command line does not declare.

    A run directory is data; only the command line may decide which code is imported.

    Args:
        saved_names: ``plugins`` of the saved configuration.
        declared: Plugins of the command line.
    """
    undeclared = (
        [str(name) for name in saved_names if str(name) not in declared] if isinstance(saved_names, list) else []
    )
    if not undeclared:
        return []
    argument = f"plugins=[{','.join([*declared, *undeclared])}]"
    return [
        f"plugins: this run uses the modules {', '.join(undeclared)}, and a saved run never imports code by itself;"
        f" if you trust them, add {argument} to the command"
    ]


def is_declared(module: str) -> bool:
    """Return whether a dotted name is inside a declared plugin."""
    return module.split(".")[0] in _PLUGIN_FILES


def find_plugin_file(module: str) -> Path | None:
    """Return the file of a declared module, or of a module inside a declared package.

    Args:
        module: Dotted name of the module.

    Returns:
        None if the module is not declared or does not exist.
    """
    top, *rest = module.split(".")
    if top not in _PLUGIN_FILES:
        return None
    if not rest:
        return _PLUGIN_FILES[top]
    path = _PLUGIN_FILES[top].parent.joinpath(*rest)
    return next((p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file()), None)


def find_package(path: Path) -> str:
    """Return the dotted name of the package that contains a file of a declared plugin; empty if there is none."""
    packages = {name: file.parent for name, file in _PLUGIN_FILES.items() if file.name == "__init__.py"}
    package = next(((name, root) for name, root in packages.items() if path.is_relative_to(root)), None)
    return ".".join([package[0], *path.parent.relative_to(package[1]).parts]) if package else ""


def import_plugins() -> None:
    """Import the declared plugins; reload those whose files have changed since they were imported.

    The modules of a plugin package belong to it. A helper is a module that a plugin was the first to import, from the
    directory that contains the plugin; if one has changed, all plugins and helpers are reloaded. A module that the
    user's program imported itself is neither.

    Raises:
        ConfigError: A plugin, or a module that it imports, is not valid Python.
    """
    if _PLUGIN_FILES:
        _remove_changed_modules()
    for name, path in _PLUGIN_FILES.items():
        if name not in sys.modules:
            _import_plugin(name, path)


def _import_plugin(name: str, path: Path) -> None:
    """Import a plugin from its file, and mark the helpers that it imports."""
    is_package = path.name == "__init__.py"
    spec = importlib.util.spec_from_file_location(
        name, path, submodule_search_locations=[str(path.parent)] if is_package else None
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    start_time = time.time_ns()
    setattr(module, _IMPORT_TIME, start_time)
    known_modules = set(sys.modules)
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        del sys.modules[name]
        raise ConfigError(f"plugins: {_describe_syntax_error(error, path)}") from error
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        for other in sys.modules.keys() - known_modules:
            directory = path.parent.parent if is_package else path.parent
            if not _is_inside(other, [name, "trainer"]) and _is_helper(other, directory):
                setattr(sys.modules[other], _IMPORT_TIME, start_time)


def _is_helper(name: str, directory: Path) -> bool:
    """Return whether the file of a module is below a directory, but not of Python or of an installed package."""
    file = getattr(sys.modules[name], "__file__", None)
    if file is None or name.partition(".")[0] in sys.stdlib_module_names:
        return False
    return Path(file).resolve().is_relative_to(directory.resolve()) and _INSTALL_DIRS.isdisjoint(Path(file).parts)


def _remove_changed_modules() -> None:
    """Remove all plugins and their helpers from ``sys.modules`` if one has changed: they may import each other."""
    # Not by getattr, because some modules import others when an attribute is missing.
    attributes = {name: getattr(module, "__dict__", {}) for name, module in list(sys.modules.items())}
    times = {name: values[_IMPORT_TIME] for name, values in attributes.items() if _IMPORT_TIME in values}
    if not any(_has_changed(name, import_time) for name, import_time in times.items()):
        return
    for name in [name for name in sys.modules if _is_inside(name, times)]:
        del sys.modules[name]
        parent, _, child = name.rpartition(".")
        if parent in sys.modules:  # or "from parent import child" would find the old module
            vars(sys.modules[parent]).pop(child, None)
    importlib.invalidate_caches()


def _has_changed(name: str, import_time: int) -> bool:
    """Return whether the file of a module, or of one inside a package, was modified after a time."""
    modules = [module for key, module in sys.modules.items() if _is_inside(key, [name])]
    files = (Path(file) for module in modules if (file := getattr(module, "__file__", None)))
    return any(file.is_file() and file.stat().st_mtime_ns > import_time for file in files)


def _is_inside(name: str, packages: Collection[str]) -> bool:
    """Return whether a module is one of several packages or inside one."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def _describe_syntax_error(error: SyntaxError, plugin_file: Path) -> str:
    """Return file, line and message, with the file relative to the working directory if it is inside."""
    file = Path(error.filename or plugin_file)
    if file.is_relative_to(Path.cwd()):
        file = file.relative_to(Path.cwd())
    return f"{file}{f', line {error.lineno}' if error.lineno else ''}: {error.msg}"
