"""Versions of the code of this process: its packages, and the commit of the working directory."""

from __future__ import annotations

import platform
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version


@dataclass(frozen=True)
class CodeVersion:
    """Versions of the code that computes a run.

    Args:
        packages: Version of Python and of each package, by name.
        commit: Commit of the working directory; None outside a repository.
    """

    packages: dict[str, str]
    commit: str | None


def read_code_version() -> CodeVersion:
    """Return the versions of the code, of which the commit takes a process."""
    return CodeVersion(collect_versions(), get_git_commit())


def collect_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages."""
    versions = {"python": platform.python_version()}
    for name in ("train-zoo", "torch", "hydra-core", "numpy"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def get_git_commit() -> str | None:
    """Return the commit of the working directory, with ``+`` if files differ from it; None outside a repository."""
    try:
        command = ["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
        process = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return process.stdout.strip() or None
