"""Migration of configurations that earlier versions have saved, one format version at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

from trainer.config.moved_classes import get_current_path
from trainer.utils.errors import ConfigError

FORMAT_VERSION = 5
"""Format version of ``config.yaml`` and ``results.json``; files of train 0.1.0, which state none, are of version 1."""
KEY = "format_version"
_IDENTITY_VERSION = 3
"""First version whose runs have the same identities as in the current one; later changes do not affect training."""
_REPORTED_SCORES: Mapping[str, Sequence[str]] = {
    "regression.Regression": ("mse", "rmse", "mae", "r2"),
    "language.Language": ("nll", "bits", "perplexity", "token_accuracy"),
    "ranking.Ranking": ("mrr", "hits_at_1", "hits_at_3", "hits_at_10", "nll"),
    "graph_generation.GraphGeneration": ("auc", "average_precision", "nll", "kl"),
    "seq2seq.Seq2Seq": (
        *("token_accuracy", "exact_match", "bleu", "beam_token_accuracy", "beam_exact_match", "beam_bleu"),
        *("forcing_gap", "nll"),
    ),
    **dict.fromkeys(
        (
            *("density.Density", "diffusion.Diffusion", "gan.Adversarial"),
            *("flow_matching.FlowMatching", "vae.VariationalInference"),
            "vq_vae.VectorQuantization",
        ),
        (),
    ),
}
"""``task.scores`` of the tasks, below ``trainer.tasks``, that had no such key in version 1."""
_RENAMED_KEYS: Mapping[str, Mapping[str, str]] = {
    "data.datasets.graph.edge_list.EdgeList": {"neighbours": "num_neighbors"},
    "data.datasets.graph.parcel_series.ParcelSeries": {"standardise": "standardize"},
    "data.datasets.graph.planetoid.Planetoid": {"neighbours": "num_neighbors", "row_normalise": "row_normalize"},
    "data.datasets.graph.relation_sign.RelationSign": {"labelled": "labeled_nodes"},
    "data.datasets.graph.sbm.StochasticBlockModel": {"labelled": "labeled_nodes"},
    "models.generative.gan.DCGAN": {"squash": "output_activation"},
    "models.generative.gan.GAN": {"squash": "output_activation"},
    "models.language.gpt.GPT": {"tied": "tie_weights"},
    "tasks.vae.VariationalInference": {"binarise": "binarize"},
    "viz.loggers.tensorboard_logger.TensorBoardLogger": {"folder": "log_dir"},
}
"""Current name of each key that was renamed in version 3, or in version 4 (TensorBoard), by class below ``trainer``."""
_RENAMED_OPTIONS: Mapping[str, Mapping[str, str]] = {
    "data": {"neighbour_sum": "neighbor_sum"},
    "model": {"matrix_factorisation": "matrix_factorization"},
}
"""Current name of each option that was renamed in version 3, by group."""
ADDED_KEYS: Mapping[str, Mapping[str, Any]] = {
    "tasks.classification.Classification": {
        **{"class_weights": None, "focal_gamma": 0.0, "threshold": None, "costs": None},
        **{"calibration": None, "coverage": None},
    },
    "tasks.regression.Regression": {"coverage": None},
}
"""Keys that were added in version 5, by class below ``trainer``, with the values that change nothing."""
_RENAMED_RESULT_KEYS = {"folder": "run_dir", "home": "working_dir"}
"""Current name of each key of results, and of the metadata of checkpoints, that was renamed in version 4."""


def check_version(version: object, file: Path, newest: int = FORMAT_VERSION) -> int:
    """Return the format version of a file after checking it.

    Args:
        version: Value that the file contains.
        file: Path for messages.
        newest: Newest version that can be read.

    Raises:
        ConfigError: It is not a version, or it was written by a later version of train.
    """
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise ConfigError(f"{file}: {KEY} is {version!r}, not a number that a run saves there; the file was edited")
    if version > newest:
        raise ConfigError(f"{file} has {KEY} {version}; this version of train reads 1 to {newest}: update it")
    return version


def get_identity_version(results: Mapping[str, Any]) -> Any:
    """Return the version of the identity in results, or in the metadata of a checkpoint; equal ones are comparable."""
    version = results.get(KEY, 1)
    return FORMAT_VERSION if version in range(_IDENTITY_VERSION, FORMAT_VERSION) else version


def migrate_config(config: Mapping[str, Any], version: int) -> dict[str, Any]:
    """Return a saved configuration in the current format.

    Args:
        config: Configuration as saved.
        version: Its format version.
    """
    migrated = dict(config)
    for step in range(version, FORMAT_VERSION):
        migrated = _MIGRATIONS[step](migrated)
    return migrated


def _rename_classes(config: dict[str, Any]) -> dict[str, Any]:
    """Version 2: modules were moved into packages, which changed the class paths of ``_target_``."""

    def rename(node: Any) -> Any:
        if isinstance(node, Mapping):
            return {key: rename(value) for key, value in node.items()}
        if isinstance(node, list):
            return [rename(value) for value in node]
        return get_current_path(node) if isinstance(node, str) else node

    return {key: rename(value) for key, value in config.items()}


def _add_groups(config: dict[str, Any]) -> dict[str, Any]:
    """Version 2: optimizers have the key ``groups``; before, there were no groups."""
    optimizer = config.get("optimizer")
    return config | {"optimizer": {"groups": [], **optimizer}} if isinstance(optimizer, Mapping) else config


def _move_teacher_forcing(config: dict[str, Any]) -> dict[str, Any]:
    """Version 2: ``teacher_forcing`` is a key of the task; before, it was a global key, and null meant 1."""
    flat = config.pop("teacher_forcing", None)
    task = config.get("task")
    if isinstance(task, Mapping) and "teacher_forcing" in task:
        set_value = flat if task["teacher_forcing"] == "${teacher_forcing}" else task["teacher_forcing"]
        config["task"] = {**task, "teacher_forcing": 1.0 if set_value is None else set_value}
    return config


def _drop_target_class_path(config: dict[str, Any]) -> dict[str, Any]:
    """Version 2: ``data.target_kind`` is the kind of target; before, it was the class path of the task."""
    data = config.get("data")
    if isinstance(data, Mapping) and "." in str(data.get("target_kind")):
        config["data"] = {**data, "target_kind": None}
    return config


def _add_scores(config: dict[str, Any]) -> dict[str, Any]:
    """Version 2: every task lists its scores; before, all tasks except classification reported all of theirs."""
    task = config.get("task")
    scores = (
        _REPORTED_SCORES.get(str(task.get("_target_")).removeprefix("trainer.tasks."))
        if isinstance(task, Mapping)
        else None
    )
    return config | {"task": {"scores": list(scores), **task}} if scores is not None and task else config


def _from_0_1_0(config: dict[str, Any]) -> dict[str, Any]:
    steps = (_rename_classes, _move_teacher_forcing, _drop_target_class_path, _add_groups, _add_scores)
    return reduce(lambda migrated, step: step(migrated), steps, config)


def _rename_keys(config: dict[str, Any]) -> dict[str, Any]:
    """Rename keys as in versions 3 and 4, and the interpolations ``${GROUP.KEY}`` that refer to them."""
    interpolations: dict[str, str] = {}

    def rename(node: Any, prefix: str) -> Any:
        if not isinstance(node, Mapping):
            return node
        renamed = _find_renamed_keys(node)
        interpolations.update(
            {f"${{{prefix}{old}}}": f"${{{prefix}{new}}}" for old, new in renamed.items() if old in node}
        )
        return {renamed.get(key, key): rename(value, f"{prefix}{key}.") for key, value in node.items()}

    config = {group: rename(node, f"{group}.") for group, node in config.items()}
    return {key: _replace_text(value, interpolations) for key, value in config.items()} if interpolations else config


def _find_renamed_keys(node: Any) -> Mapping[str, str]:
    path = node.get("_target_") if isinstance(node, Mapping) else None
    return _RENAMED_KEYS.get(str(path).removeprefix("trainer."), {}) if str(path).startswith("trainer.") else {}


def _replace_text(node: Any, replacements: Mapping[str, str]) -> Any:
    if isinstance(node, Mapping):
        return {key: _replace_text(value, replacements) for key, value in node.items()}
    if isinstance(node, list):
        return [_replace_text(value, replacements) for value in node]
    return reduce(lambda text, pair: text.replace(*pair), replacements.items(), node) if isinstance(node, str) else node


def _add_keys(config: dict[str, Any]) -> dict[str, Any]:
    """Version 5: tasks have keys of decisions; before, there were none."""

    def add(node: Any) -> Any:
        added = {key: value for key, value in find_added_keys(node).items() if key not in node}
        return {**node, **added} if added else node

    return {group: add(node) for group, node in config.items()}


def find_added_keys(node: Any) -> Mapping[str, Any]:
    """Return the keys that the class of a node did not always have, with the values that change nothing.

    Args:
        node: Node of a group of the configuration.
    """
    path = str(node.get("_target_")) if isinstance(node, Mapping) else ""
    return ADDED_KEYS.get(path.removeprefix("trainer."), {}) if path.startswith("trainer.") else {}


def migrate_results(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return results, or the metadata of a checkpoint, with the current names of their keys and options.

    The version stays that of the identity: the results of an earlier run that was completed have the current keys.
    """
    version = results.get(KEY, 1)
    if not isinstance(version, int) or version < 4:
        results = {_RENAMED_RESULT_KEYS.get(key, key): value for key, value in results.items()}
    if isinstance(version, int) and version >= 3:
        return dict(results)
    renamed = _rename_option_values(results)
    options = results.get("options")
    return renamed | ({"options": _rename_option_values(options)} if isinstance(options, Mapping) else {})


def _rename_option_values(node: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _RENAMED_OPTIONS[key].get(value, value) if key in _RENAMED_OPTIONS and isinstance(value, str) else value
        for key, value in node.items()
    }


def find_renamed_key(class_path: str, key: str) -> str | None:
    """Return the current name of a former key of a class.

    Args:
        class_path: Dotted name of the class.
        key: Former name of the key.

    Returns:
        None if the class had no such key.
    """
    return _find_renamed_keys({"_target_": class_path}).get(key)


def migrate_overrides(overrides: Sequence[str], config: Mapping[str, Any]) -> list[str]:
    """Return the overrides of a saved run with the current names of their keys.

    Args:
        overrides: The overrides, such as ``data.neighbours=[5,5]``.
        config: The migrated configuration of the run.
    """

    def rename(text: str) -> str:
        full, is_set, value = text.partition("=")
        parent, dot, key = full.rpartition(".")
        prefix = parent[: len(parent) - len(parent.lstrip("+~"))]
        parent = parent.removeprefix(prefix)
        node: Any = config
        for name in parent.split("."):
            node = node.get(name) if isinstance(node, Mapping) else None
        new = _find_renamed_keys(node).get(key)
        return text if new is None else f"{prefix}{parent}{dot}{new}{is_set}{value}"

    return [rename(text) for text in overrides]


_MIGRATIONS: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    1: _from_0_1_0,
    2: _rename_keys,
    3: _rename_keys,
    4: _add_keys,
}
"""Migration of each version to the next one."""
