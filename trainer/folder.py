"""The folder of a run: claimed by one process, found again by what is trained in it."""

from __future__ import annotations

import fcntl
import glob
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trainer.errors import ConfigError, SystemFault
from trainer.escaping import PrintableFilter

log = logging.getLogger(__name__)

RESULTS, CONFIG, METRICS, LOG, CURVES = "results.json", "config.yaml", "metrics.csv", "train.log", "curves.png"
LOCK = ".lock"
BEGINNING = {LOCK, LOG, CONFIG, RESULTS}
ROOT, LATEST, CLASSIFIERS = "outputs", "latest", "classifiers"


def root() -> Path:
    """The folder of all runs, made if it is not there. Raises SystemFault where nothing can be written."""
    try:
        Path(ROOT).mkdir(exist_ok=True)
    except OSError as error:
        raise SystemFault(f"cannot create {Path(ROOT).absolute()}: {error.strerror}") from error
    return Path(ROOT)


def claim(wanted: str, *, reuse: bool = False) -> Path:
    """A new folder of that name; with a number behind it if another run already has it.

    ``reuse`` accepts one in which a run was killed before it could say what it is.

    Raises SystemFault where nothing can be written.
    """
    for number in range(1000):
        path = Path(wanted if not number else f"{wanted}-{number + 1}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            if reuse and path.is_dir() and not (path / RESULTS).exists() and _has_only_begun(path):
                return path
            continue
        except OSError as error:
            raise SystemFault(f"cannot create {path.absolute()}: {error.strerror}") from error
        return path
    raise SystemFault(f"a thousand runs are called {wanted}")


def _has_only_begun(path: Path) -> bool:
    """Whether a folder holds nothing but what a run writes before it trains: nothing that could be missed."""
    return all(file.name in BEGINNING or file.match(".*.tmp") for file in path.iterdir())


class InUse(ConfigError):
    """Another process works in a run folder."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keeps other processes out of a run folder; the lock ends with the process, however it ends.

    Raises InUse naming the process that holds it.
    """
    file = open(path / LOCK, "a+")  # noqa: SIM115
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise InUse(f"run folder {path} is in use by process {file.read().strip() or '?'}") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
    finally:
        file.close()


def write_text(path: Path, text: str) -> None:
    """Replaces a small file in one step, so that a reader never sees half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise SystemFault(f"cannot write {path}: {error.strerror}") from error


def link_latest(path: Path) -> None:
    """Makes ``outputs/latest`` lead to a run below ``outputs``, in one step; a file or folder of that name stays."""
    link = Path(ROOT) / LATEST
    target = os.path.relpath(path, ROOT)
    if target.startswith(os.pardir) or (link.exists() and not link.is_symlink()):
        return
    temporary = link.with_name(f".{LATEST}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target, target_is_directory=True)
        os.replace(temporary, link)
    except OSError as error:  # a file system without links: nothing depends on this one
        log.info("no link %s: %s", link, error.strerror)


def read_results(path: Path) -> dict[str, Any]:
    """What a run last said of itself; empty if it never did."""
    try:
        found = json.loads((path / RESULTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def find(identity: str, preferred: Path, name: str | None = None) -> Path | None:
    """The newest run of this very configuration, unfinished ones first; None if there is none.

    Looked for in ``preferred`` if there is such a folder, else everywhere; ``name`` is one its folder must have.
    """
    pattern = f"**/{glob.escape(name)}/{RESULTS}" if name else f"**/{RESULTS}"
    places = [preferred / RESULTS] if preferred.is_dir() else Path(ROOT).glob(pattern)
    runs = {path.parent: read_results(path.parent) for path in places if path.is_file()}
    mine = [path for path, results in runs.items() if results.get("identity") == identity]
    return max(
        mine,
        key=lambda path: (runs[path].get("status") != "finished", (path / RESULTS).stat().st_mtime_ns),
        default=None,
    )


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """Sends this package's log to the run's own file."""
    handler = logging.FileHandler(path / LOG, encoding="utf-8")
    handler.addFilter(PrintableFilter())
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("trainer")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()


def remove_if_empty(path: Path) -> bool:
    """Takes back a folder in which no training happened, with those above it that were made for it; tells if it did."""
    if not _has_only_begun(path):
        return False
    for file in path.iterdir():
        file.unlink()
    path.rmdir()
    for parent in path.parents:
        if ROOT not in parent.parts or any(parent.iterdir()):
            break
        parent.rmdir()
    return True


SECRET = re.compile(r"token(?![a-z])|secret|passw|api_key")
"""One token opens a door; tokens, and a tokenizer, are what text is made of."""


def sounds_secret(key: str) -> bool:
    return SECRET.search(key.lower()) is not None


def mask_override(text: str) -> str:
    """An override that may be shown."""
    key, equals, value = text.partition("=")
    return f"{key}=***" if equals and sounds_secret(key.split(".")[-1]) and "${" not in value else text


def mask(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration that may be shown: values of keys that sound secret are left out."""

    def clean(key: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            return mask(value)
        return "***" if sounds_secret(key) and isinstance(value, str) and "${" not in value else value

    return {key: clean(str(key), value) for key, value in tree.items()}
