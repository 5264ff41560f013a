"""The data of a run: read for training, read again as a stored run learned it, or restored without its files."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainer.config import introspection
from trainer.config.compose import Config
from trainer.core.dataset import Dataset
from trainer.core.types import MISSING
from trainer.engine import dataset_fingerprint, dataset_state, factory
from trainer.engine.config_errors import explain_errors
from trainer.utils.errors import ConfigError
from trainer.utils.paths import describe_missing_path

log = logging.getLogger(__name__)

FIXED_OPTIONS_HINT = "a run keeps the options it was trained with: mend the files, or train anew"


def add_fingerprint(config: Config) -> Config:
    """The configuration with the fingerprint of the user's own files; as it is, where the data set reads none."""
    kind, paths = _find_user_files(config)
    if not paths:
        return config
    begun, exact = time.time(), config.settings.fingerprint == "exact"
    found = dataset_fingerprint.compute_fingerprint(paths, kind.file_suffixes, exact=exact)
    return replace(config, fingerprint=found, fingerprint_time=begun)


def load_dataset(config: Config) -> Dataset:
    """The data of a run that begins: what is to be learned of it is learned, unless another run has done so for it.

    Raises ConfigError for files that have another content than when their fingerprint was taken.
    """
    data = factory.make_dataset(_resolve_paths(config), config.fitted)
    _check_unchanged(config)
    if config.fingerprint is not None:
        dataset_fingerprint.check_not_empty(
            config.fingerprint, find_user_paths(type(data), _resolve_paths(config)["data"])
        )
    return data


def reload_dataset(config: Config, state: Mapping[str, Any] | None) -> Dataset:
    """The data of a stored run from its files, encoded as the run stores it.

    Raises ConfigError for files that are gone or have changed, with what changed, unless ``allow_changed_data`` says
    that they may; and for data that can no longer be encoded so, or no longer fits the model.
    """
    if state is None:
        log.warning("this run was saved before runs kept what they learned of their data: it is learned anew")
        return load_dataset(config)
    kind, tree = factory.find_dataset_class(config.tree), _resolve_paths(config)
    _check_missing_files(kind, tree, config.moved_paths)
    today = config if state["fingerprint"] is None else add_fingerprint(config)
    change = _describe_changed_files(today, state)
    if change and not kind.can_encode_changed_files:
        raise ConfigError(
            *(change, *_describe_contents(config, state)),
            "its model learned each of the things it was trained on: changed data is not encoded",
        )
    if change and not config.settings.allow_changed_data:
        raise ConfigError(*(change, *_describe_contents(config, state), _suggest_remedy(tree, state)))
    if change:
        log.warning("%s", change)
    try:
        data = factory.make_dataset(tree, dataset_state.load_preprocessing(state))
    except ConfigError as error:
        raise ConfigError(*error.problems, *[FIXED_OPTIONS_HINT] * bool(change)) from error
    _check_unchanged(today)
    _check_same_sizes(config, state["facts"]["sizes"], data.info.sizes)
    return data


def restore_dataset(config: Config, state: Mapping[str, Any] | None) -> Dataset:
    """The data of a stored run without its files; read anew for a run that was saved before runs kept it."""
    if state is None:
        return reload_dataset(config, None)
    tree = _resolve_paths(config)
    with explain_errors(tree, "data"):
        return dataset_state.restore_from_state(factory.find_dataset_class(tree), state, tree["data"])


def get_dataset_state(config: Config, data: Dataset) -> dict[str, Any]:
    """What a checkpoint keeps of the data."""
    return dataset_state.make_dataset_state(data) | {
        "fingerprint": config.fingerprint,
        "contents": _describe_size(data),
    }


def find_user_paths(kind: type[Dataset], options: Mapping[str, Any]) -> dict[str, Path]:
    """The files and folders of the user's that a data set with these options reads, by key."""
    keys = introspection.find_data_paths(f"{kind.__module__}.{kind.__qualname__}")
    return kind.get_user_paths(
        options, {key: Path(options[key]).expanduser() for key in keys if options.get(key) is not None}
    )


def _resolve_paths(config: Config) -> dict[str, Any]:
    """The configuration with relative paths of data as they were meant: from the folder the run was started in.

    Where there is nothing, the path is left as it stands: the project may have been moved with its data.
    """
    node = {**config.tree["data"], **config.moved_paths}
    for key in (*introspection.find_data_paths(config.tree["data"]["_target_"]), "data_dir"):
        if isinstance(node.get(key), str) and node[key] != MISSING:
            meant = os.path.join(config.working_dir, os.path.expanduser(node[key]))
            node[key] = meant if os.path.exists(meant) else node[key]
    return {**config.tree, "data": node}


def _check_missing_files(kind: type[Dataset], tree: Mapping[str, Any], moved: Mapping[str, str]) -> None:
    """Raises ConfigError for files that are gone, with what can be done without them."""
    gone = {
        key: path.absolute() for key, path in find_user_paths(kind, tree["data"]).items() if not os.path.exists(path)
    }
    trained_on = [key for key in gone if key not in moved]
    if gone:
        task = introspection.read_signature(tree["task"]["_target_"])
        able = task.parameters_by_method if task else {}
        verbs = ["sample RUN"] * ("sample" in able)
        verbs += ["score RUN input=PATH"] * ("score_rows" in able and kind.read is not Dataset.read)
        raise ConfigError(
            *(f"data.{key}: {gone[key]} does not exist, which this run was trained on" for key in trained_on),
            *(f"data.{key}: {describe_missing_path(gone[key])}" for key in gone if key in moved),
            *(f"data.{key}=PATH says where it is now" for key in trained_on),
            f"these need no data: {', '.join(f'train {verb}' for verb in [*verbs, 'show RUN'])}",
        )


def _find_user_files(config: Config) -> tuple[type[Dataset], dict[str, Path]]:
    kind = factory.find_dataset_class(config.tree)
    return kind, find_user_paths(kind, _resolve_paths(config)["data"])


def _check_unchanged(config: Config) -> None:
    """Raises ConfigError where files were written while they were read: what was read would have no name."""
    if config.fingerprint is None or not config.fingerprint_time:
        return
    kind, paths = _find_user_files(config)
    if not dataset_fingerprint.is_modified_since(paths, kind.file_suffixes, config.fingerprint_time):
        return
    now = dataset_fingerprint.compute_fingerprint(paths, kind.file_suffixes, exact=config.fingerprint["exact"])
    files = dataset_fingerprint.describe_changes(config.fingerprint, now, paths)
    if files:
        raise ConfigError(f"the data changed while it was read: files: {'; '.join(files)}", "give the command again")


def _describe_changed_files(config: Config, state: Mapping[str, Any]) -> str:
    """Which files are no longer as they were in training, in a sentence; empty where none is."""
    if config.fingerprint is None or state["fingerprint"] is None:
        return ""
    kind, paths = _find_user_files(config)
    now, before = config.fingerprint, state["fingerprint"]
    if now["exact"] != before["exact"]:
        now = dataset_fingerprint.compute_fingerprint(paths, kind.file_suffixes, exact=before["exact"])
    files = dataset_fingerprint.describe_changes(before, now, paths)
    return f"the data is not what this run was trained on: files: {'; '.join(files)}" if files else ""


def _suggest_remedy(tree: Mapping[str, Any], state: Mapping[str, Any]) -> str:
    """What may be done about changed data: what cannot be encoded cannot be allowed either."""
    with _silence_log():
        try:
            factory.make_dataset(tree, dataset_state.load_preprocessing(state))
        except ConfigError as error:
            return f"it cannot be encoded as in training: {error.problems[0]}; {FIXED_OPTIONS_HINT}"
    return "allow_changed_data=true goes on all the same, with the data encoded as in training"


@contextmanager
def _silence_log() -> Iterator[None]:
    """A block in which data is read only to tell about it: what reading says in the log would come twice."""
    package = logging.getLogger("trainer")
    level = package.level
    package.setLevel(logging.ERROR)
    try:
        yield
    finally:
        package.setLevel(level)


def _describe_contents(config: Config, state: Mapping[str, Any]) -> list[str]:
    """What differs in rows, columns and classes, in sentences, as far as the data can be read at all."""
    with _silence_log():
        try:
            data = load_dataset(config)
        except ConfigError as error:
            return [f"it cannot be read as it was: {error.problems[0]}"]
    before, now = state["contents"], _describe_size(data)
    differences = []
    for name in ("columns", "classes"):
        gone, new = ([str(one) for one in a[name] if one not in b[name]] for a, b in ((before, now), (now, before)))
        parts = [f"{word} {', '.join(names[:5])}" for word, names in (("missing", gone), ("new", new)) if names]
        differences += [f"{name}: {'; '.join(parts)}"] * bool(parts)
    lost = 0 if differences else _count_missing_rows(state["fitted"], data)
    if lost or before["rows"] != now["rows"]:
        others = f"; {lost:,} of those before are gone or changed" if lost else ""
        differences.insert(0, f"rows: {before['rows']:,} before, {now['rows']:,} now{others}")
    return differences


def _count_missing_rows(fitted: Mapping[str, Any] | None, data: Dataset) -> int:
    """How many rows of a stored run are not in the data now; 0 where rows are not known by their contents."""
    splits = [each and each.get("split") for each in (fitted, data.fitted and data.fitted.values)]
    if not all(splits):
        return 0
    before, now = ({key for keys in split.values() for key in keys.tolist()} for split in splits if split)
    return len(before - now)


def _describe_size(data: Dataset) -> dict[str, Any]:
    """How much there is, and of what, for a sentence on what changed."""
    schema = {} if data.fitted is None else data.fitted.values.get("schema", {})
    return {
        "rows": sum(len(split) for split in (data.train, data.val, data.test)),
        "columns": list(schema.get("names", ())),
        "classes": [str(name) for name in data.info.class_names],
    }


def _check_same_sizes(config: Config, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """A size that the model was built with must not change."""
    filled = {key for group in ("model", "task") for key, value in config.tree[group].items() if value == MISSING}
    other = [key for key in sorted(filled & before.keys()) if before[key] != now.get(key)]
    if other:
        raise ConfigError(
            *(f"data: {key} is {now.get(key)}, and the model of this run was built for {before[key]}" for key in other)
        )
