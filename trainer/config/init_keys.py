"""Keys of initial weights: ``init_from``, and the keys that only apply with it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.config import resume_keys
from trainer.utils.paths import describe_missing_path, find_nearest_dir
from trainer.utils.suggest import did_you_mean

SOURCE_KEY = "init_from"
DEPENDENT_DEFAULTS: Mapping[str, Any] = {"init_skip": [], "init_preprocessing": "auto"}
"""Defaults of the keys that have no effect without a source."""
KEYS = (SOURCE_KEY, *DEPENDENT_DEFAULTS)


def find_init_problems(tree: Mapping[str, Any]) -> list[str]:
    """Return the problems of these keys: a source that does not exist, and keys without a source.

    Args:
        tree: Resolved configuration of a command line. A saved run needs its source no more.
    """
    source = tree.get(SOURCE_KEY)
    if source is None:
        return [
            f"{key}: it has no effect without {SOURCE_KEY}"
            for key, default in DEPENDENT_DEFAULTS.items()
            if tree.get(key, default) != default
        ]
    if not isinstance(source, str) or resume_keys.names_run(tree) or os.path.exists(resolve_source(source)):
        return []
    path = Path(source).expanduser()
    nearest = find_nearest_dir(path)
    entries = os.listdir(nearest) if os.access(nearest, os.R_OK) else []
    missing_name = path.absolute().relative_to(nearest).parts[:1]
    suggestion = did_you_mean(missing_name[0], entries) if missing_name else ""
    return [f"{SOURCE_KEY}: {describe_missing_path(path)}{suggestion}"]


def resolve_source(source: str) -> str:
    """Return the absolute path of a source; links such as ``outputs/latest`` point at another run later.

    The name of a file is kept: in the cache of a hub, ``model.safetensors`` is a link to a file without a suffix.
    """
    path = os.path.expanduser(source)
    if not os.path.isfile(path):
        return os.path.realpath(path)
    return os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))


def with_resolved_source(tree: Mapping[str, Any], resolved: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration with the absolute path of the source, unless it is written with an interpolation.

    Args:
        tree: Configuration as it is saved, or resolved.
        resolved: The same with all interpolations resolved.
    """
    source = resolved.get(SOURCE_KEY)
    is_plain = isinstance(source, str) and tree.get(SOURCE_KEY) == source
    return {**tree, SOURCE_KEY: resolve_source(str(source))} if is_plain else dict(tree)


def select_identity(tree: Mapping[str, Any], source_digest: str | None) -> dict[str, Any]:
    """Return the configuration that identifies a run: a source counts by its contents, wherever it is.

    Without a source there are no such keys, as in runs that were saved before there were any.

    Args:
        tree: Resolved configuration.
        source_digest: Digest of the source; None if there is none.
    """
    if tree.get(SOURCE_KEY) is None:
        return {key: value for key, value in tree.items() if key not in KEYS}
    return {**tree, SOURCE_KEY: source_digest or tree[SOURCE_KEY]}
