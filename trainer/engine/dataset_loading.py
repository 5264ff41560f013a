"""Loading of the data set of a run: for training, for a saved run with its preprocessing, or without its files."""

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
from trainer.config.run_config import Config
from trainer.core.dataset import Dataset
from trainer.core.types import MISSING
from trainer.engine import dataset_fingerprint, dataset_state, factory, split_digests
from trainer.engine.config_errors import explain_errors
from trainer.utils.errors import ConfigError
from trainer.utils.paths import describe_missing_path

log = logging.getLogger(__name__)

FIXED_OPTIONS_HINT = "the options of a trained run are fixed: correct the files, or train a new run"


def add_fingerprint(config: Config) -> Config:
    """Return the configuration with the fingerprint of the user's data files, if the data set reads any."""
    kind, paths = _find_user_files(config)
    if not paths:
        return config
    started_at, exact = time.time(), config.settings.fingerprint == "exact"
    fingerprint = dataset_fingerprint.compute_fingerprint(paths, kind.file_suffixes, exact=exact)
    return replace(config, fingerprint=fingerprint, fingerprint_time=started_at)


def load_dataset(config: Config) -> Dataset:
    """Load the data set of a new run; preprocessing is fitted unless the configuration contains it.

    Raises:
        ConfigError: The files have changed since their fingerprint was computed.
    """
    data = factory.make_dataset(_resolve_paths(config), config.fitted)
    _check_unchanged(config)
    if config.fingerprint is not None:
        dataset_fingerprint.check_not_empty(
            config.fingerprint, find_user_paths(type(data), _resolve_paths(config)["data"])
        )
    return data


def reload_dataset(config: Config, state: Mapping[str, Any] | None, *, compares_files: bool = True) -> Dataset:
    """Load the data set of a saved run from its files, encoded with the saved preprocessing.

    Args:
        config: Configuration of the run.
        state: State of the data set in the checkpoint; None for runs of format 1, which have none.
        compares_files: Compare the files with those of the training; else another process does.

    Raises:
        ConfigError: Files are missing, or have changed without ``allow_changed_data``, or they cannot be encoded or no
            longer fit the model.
    """
    if state is None:
        log.warning("this run was saved by a version without the preprocessing of the data, which is fitted again")
        return load_dataset(config)
    kind, tree = factory.find_dataset_class(config.tree), _resolve_paths(config)
    _check_missing_files(kind, tree, config.moved_paths)
    current = add_fingerprint(config) if compares_files and state["fingerprint"] is not None else config
    change = _describe_changed_files(current, state)
    if change and not kind.can_encode_changed_files:
        raise ConfigError(
            *(change, *_describe_contents(config, state)),
            "its model has an embedding of each entity that it was trained on, so that changed data cannot be used",
        )
    if change and not config.settings.allow_changed_data:
        raise ConfigError(*(change, *_describe_contents(config, state), _suggest_remedy(tree, state)))
    if change:
        log.warning("%s", change)
    try:
        data = factory.make_dataset(tree, dataset_state.load_preprocessing(state))
    except ConfigError as error:
        raise ConfigError(*error.problems, *[FIXED_OPTIONS_HINT] * bool(change)) from error
    _check_unchanged(current)
    _compare_rows(state, data)
    _check_same_sizes(config, state["dataset_info"]["sizes"], data.info.sizes)
    return data


def restore_dataset(config: Config, state: Mapping[str, Any] | None) -> Dataset:
    """Restore the data set of a saved run without its files.

    Args:
        config: Configuration of the run.
        state: State of the data set in the checkpoint; None for runs of format 1, for which the files are read.
    """
    if state is None:
        return reload_dataset(config, None)
    tree = _resolve_paths(config)
    with explain_errors(tree, "data"):
        return dataset_state.restore_from_state(factory.find_dataset_class(tree), state, tree["data"])


def get_dataset_state(config: Config, data: Dataset) -> dict[str, Any]:
    """Return the state of a data set that checkpoints contain.

    Args:
        config: Configuration with the fingerprint of the files.
        data: The data set.
    """
    state = dataset_state.make_dataset_state(data)
    state |= {"fingerprint": config.fingerprint, "contents": _describe_size(data)}
    # The other data sets of the package are functions of their keys, up to the rounding of another machine.
    has_unknown_source = config.fingerprint is None and not type(data).__module__.startswith("trainer.")
    return state | ({"row_digests": split_digests.digest_splits(data)} if has_unknown_source else {})


def find_user_paths(kind: type[Dataset], options: Mapping[str, Any]) -> dict[str, Path]:
    """Return the user's files and folders that a data set reads, by key.

    Args:
        kind: Class of the data set.
        options: Its keys in the configuration.
    """
    keys = introspection.find_data_paths(f"{kind.__module__}.{kind.__qualname__}")
    return kind.get_user_paths(
        options, {key: Path(options[key]).expanduser() for key in keys if options.get(key) is not None}
    )


def list_user_paths(config: Config) -> list[Path]:
    """Return the user's files and folders that the data set of a configuration reads."""
    return list(_find_user_files(config)[1].values())


def _resolve_paths(config: Config) -> dict[str, Any]:
    """Return the configuration with data paths relative to the directory where the run was started.

    A path that does not exist there is unchanged: the project may have been moved together with its data.
    """
    node = {**config.tree["data"], **config.moved_paths}
    for key in (*introspection.find_data_paths(config.tree["data"]["_target_"]), "data_dir"):
        if isinstance(node.get(key), str) and node[key] != MISSING:
            resolved = os.path.join(config.working_dir, os.path.expanduser(node[key]))
            node[key] = resolved if os.path.exists(resolved) else node[key]
    return {**config.tree, "data": node}


def _check_missing_files(kind: type[Dataset], tree: Mapping[str, Any], moved: Mapping[str, str]) -> None:
    """Raise ConfigError for missing files, with the commands that do not need them."""
    missing = {
        key: path.absolute() for key, path in find_user_paths(kind, tree["data"]).items() if not os.path.exists(path)
    }
    trained_on = [key for key in missing if key not in moved]
    if missing:
        task = introspection.read_signature(tree["task"]["_target_"])
        methods = task.parameters_by_method if task else {}
        verbs = ["sample RUN"] * ("sample" in methods)
        verbs += ["score RUN input=PATH"] * ("score_rows" in methods and kind.read is not Dataset.read)
        raise ConfigError(
            *(f"data.{key}: {missing[key]} does not exist, which this run was trained on" for key in trained_on),
            *(f"data.{key}: {describe_missing_path(missing[key])}" for key in missing if key in moved),
            *(f"data.{key}=PATH sets its current path" for key in trained_on),
            f"these need no data: {', '.join(f'train {verb}' for verb in [*verbs, 'show RUN'])}",
        )


def _find_user_files(config: Config) -> tuple[type[Dataset], dict[str, Path]]:
    kind = factory.find_dataset_class(config.tree)
    return kind, find_user_paths(kind, _resolve_paths(config)["data"])


def _check_unchanged(config: Config) -> None:
    """Raise ConfigError if files have changed while they were read, since no fingerprint would match the data."""
    if config.fingerprint is None or not config.fingerprint_time:
        return
    kind, paths = _find_user_files(config)
    if not dataset_fingerprint.is_modified_since(paths, kind.file_suffixes, config.fingerprint_time):
        return
    now = dataset_fingerprint.compute_fingerprint(paths, kind.file_suffixes, exact=config.fingerprint["exact"])
    files = dataset_fingerprint.describe_changes(config.fingerprint, now, paths)
    if files:
        raise ConfigError(f"the data changed while it was read: files: {'; '.join(files)}", "run the command again")


def _describe_changed_files(config: Config, state: Mapping[str, Any]) -> str:
    """Describe the files that have changed since training; empty if there are none."""
    if config.fingerprint is None or state["fingerprint"] is None:
        return ""
    kind, paths = _find_user_files(config)
    current, saved = config.fingerprint, state["fingerprint"]
    if current["exact"] != saved["exact"]:
        current = dataset_fingerprint.compute_fingerprint(paths, kind.file_suffixes, exact=saved["exact"])
    files = dataset_fingerprint.describe_changes(saved, current, paths)
    return f"the data is not what this run was trained on: files: {'; '.join(files)}" if files else ""


def _compare_rows(state: Mapping[str, Any], data: Dataset) -> None:
    """Warn if rows of a data set whose files are unknown differ: its numbers may be rounded differently here."""
    saved = state.get("row_digests")
    different = [] if saved is None else split_digests.find_differences(saved, split_digests.digest_splits(data))
    if different:
        log.warning(
            "the %s rows are not those that this run was trained on: the code of %s, a file that it reads (it names no"
            " DataPath), a random number without a seed, or the rounding of this machine differs",
            " and ".join(different),
            type(data).__name__,
        )


def _suggest_remedy(tree: Mapping[str, Any], state: Mapping[str, Any]) -> str:
    """Suggest a remedy for changed data, depending on whether it can be encoded."""
    with _silence_log():
        try:
            factory.make_dataset(tree, dataset_state.load_preprocessing(state))
        except ConfigError as error:
            return f"it cannot be encoded as in training: {error.problems[0]}; {FIXED_OPTIONS_HINT}"
    return "allow_changed_data=true continues anyway, with the data encoded as in training"


@contextmanager
def _silence_log() -> Iterator[None]:
    """Suppress log messages within the block, where data is read again only to describe it."""
    package = logging.getLogger("trainer")
    level = package.level
    package.setLevel(logging.ERROR)
    try:
        yield
    finally:
        package.setLevel(level)


def _describe_contents(config: Config, state: Mapping[str, Any]) -> list[str]:
    """Describe the differences in rows, columns and classes, if the data can be read."""
    with _silence_log():
        try:
            data = load_dataset(config)
        except ConfigError as error:
            return [f"it cannot be read as it was: {error.problems[0]}"]
    saved, current = state["contents"], _describe_size(data)
    differences = []
    for name in ("columns", "classes"):
        missing = [str(value) for value in saved[name] if value not in current[name]]
        new = [str(value) for value in current[name] if value not in saved[name]]
        parts = [f"{word} {', '.join(names[:5])}" for word, names in (("missing", missing), ("new", new)) if names]
        differences += [f"{name}: {'; '.join(parts)}"] * bool(parts)
    num_missing = 0 if differences else _count_missing_rows(state["fitted"], data)
    if num_missing or saved["rows"] != current["rows"]:
        suffix = f"; {num_missing:,} of those before are gone or changed" if num_missing else ""
        differences.insert(0, f"rows: {saved['rows']:,} before, {current['rows']:,} now{suffix}")
    return differences


def _count_missing_rows(fitted: Mapping[str, Any] | None, data: Dataset) -> int:
    """Return how many rows of a saved run are no longer in the data; 0 if rows are not identified by content."""
    splits = [each and each.get("split") for each in (fitted, data.fitted and data.fitted.values)]
    if not all(splits):
        return 0
    saved_keys, current_keys = ({key for keys in split.values() for key in keys.tolist()} for split in splits if split)
    return len(saved_keys - current_keys)


def _describe_size(data: Dataset) -> dict[str, Any]:
    """Return the number of rows, the columns and the classes, for a description of changes."""
    schema = {} if data.fitted is None else data.fitted.values.get("schema", {})
    return {
        "rows": sum(len(split) for split in (data.train, data.val, data.test)),
        "columns": list(schema.get("names", ())),
        "classes": [str(name) for name in data.info.class_names],
    }


def _check_same_sizes(config: Config, saved_sizes: Mapping[str, Any], current_sizes: Mapping[str, Any]) -> None:
    """Raise ConfigError if a size that the model was built with has changed."""
    data_keys = {key for group in ("model", "task") for key, value in config.tree[group].items() if value == MISSING}
    problems = [
        f"data: {key} is {current_sizes.get(key)}, and the model of this run was built for {saved_sizes[key]}"
        for key in sorted(data_keys & saved_sizes.keys())
        if saved_sizes[key] != current_sizes.get(key)
    ]
    if problems:
        raise ConfigError(*problems)
