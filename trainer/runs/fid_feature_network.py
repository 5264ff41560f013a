"""Feature network of FID and of precision and recall of samples: a classifier trained once per data set, as a run.

The scores are comparable between runs on the same data set, but not with published ones, which are computed with
features of an Inception network trained on ImageNet.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainer.config import compose, plugins
from trainer.config.run_config import RUNTIME_ONLY_KEYS, Config
from trainer.core.dataset import Dataset
from trainer.core.dataset_info import DatasetInfo
from trainer.core.task import Task
from trainer.engine import checkpoint, dataset_loading, factory
from trainer.engine.dataset_info_state import info_from_state
from trainer.runs import consistency, run_artifacts, run_dir, saved_run
from trainer.runs.results import Result
from trainer.runs.run_files import MEMBERS_DIR
from trainer.utils import digests
from trainer.utils.errors import ConfigError
from trainer.viz.console import print_line

log = logging.getLogger(__name__)

AUTO = "auto"
IMAGE_OVERRIDES, TABLE_OVERRIDES = ("experiment=image_classifier",), ("experiment=table_classifier",)
"""Configurations that classifiers are trained with; the data set is replaced by that of the run."""
INHERITED_KEYS = ("device", "threads", "num_workers", "worker_timeout", "data_dir", "plugins")
"""Keys that a classifier inherits from the run that needs it."""
MAX_SHOWN_DIFFERENCES = 5
"""Maximum number of differences that a message lists."""
POLL_SECONDS = 0.5
"""Seconds between checks whether another process has finished the classifier."""


class FeatureExtractor:
    """A trained classifier that returns features and predicted classes.

    Args:
        model: Model ``(B, ...) -> (B, C)``; it is set to evaluation mode, without gradients.

    Raises:
        ConfigError: The model has no linear layer.
    """

    def __init__(self, model: nn.Module):
        self.model = model.eval().requires_grad_(False)
        self._features: list[Tensor] = []
        last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1:]
        if not last:
            raise ConfigError("task.classifier: its model has no linear layer, whose inputs are used as features")
        last[0].register_forward_pre_hook(lambda _, inputs: self._features.append(inputs[0]))

    @torch.no_grad()
    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the inputs of the last linear layer (B, D) and the predicted classes (B,) of rows (B, ...)."""
        self._features.clear()
        self.model.to(x.device)
        logits = torch.cat([self.model(part) for part in x.split(1024)])
        classes = (logits[:, 0] > 0).long() if logits.shape[1] == 1 else logits.argmax(1)
        return torch.cat(self._features).flatten(1), classes


def attach_feature_extractor(config: Config, data: Dataset, train: Callable[[Config, Path], object]) -> None:
    """Attach the feature network to the info of a data set if the task uses one, and train it if needed.

    With ``task.classifier=auto`` it is trained if the rows have classes; otherwise it is the given run.

    Args:
        config: Configuration of the run that needs it.
        data: Data set of the run.
        train: Trains a configuration in a run directory, or completes a finished run there.

    Raises:
        ConfigError: The given run is not a classifier, or its rows are encoded in another way.
    """
    classifier = config.tree["task"].get("classifier")
    if classifier is None or (classifier == AUTO and not _has_classes(data)):
        return
    threads = torch.get_num_threads()
    path = (
        _ensure_trained(config, data, train)
        if classifier == AUTO
        else _resolve_in_start_dir(config, Path(classifier).expanduser())
    )
    torch.set_num_threads(threads)
    saved_config = saved_run.load(path, config.settings.plugins)
    if not factory.find_class(saved_config.tree["task"], Task).predicts_classes:
        raise ConfigError(
            f"task.classifier: {path} is a run of task={saved_config.names['task']}, which does not predict classes"
        )
    if saved_config.settings.ensemble is not None:
        member = path / MEMBERS_DIR / "0"
        raise ConfigError(f"task.classifier: {path} is an ensemble of several models; name a member, such as {member}")
    best = consistency.load_best(path)
    differences = _describe_encoding_differences(config, data, saved_config, best["data"])
    if differences:
        raise ConfigError(*(f"task.classifier: {path} was trained on other data: {each}" for each in differences))
    task = factory.make_task(saved_config.tree, data, saved_config.names, best["run_metadata"].get("architecture"))
    try:
        consistency.load_weights(task, best, path / checkpoint.BEST)
    except ConfigError as error:
        raise ConfigError(f"task.classifier: {path} was trained on other data: {error.problems[0]}") from error
    plugins.declare_plugins(config.settings.plugins)  # loading a run has declared only its own plugins
    score = run_dir.read_results(path).get("test", {}).get("accuracy", float("nan"))
    log.info("rows are compared in the features of %s, test accuracy %.4f", path, score)
    data.info = replace(data.info, classifier=FeatureExtractor(task.model))


def _resolve_in_start_dir(config: Config, path: Path) -> Path:
    """Resolve a relative path from the directory where the run was started, if it exists there."""
    resolved = Path(config.working_dir) / path
    return resolved if config.working_dir != os.getcwd() and os.path.exists(resolved) else path


def _has_classes(data: Dataset) -> bool:
    """Return whether each row has one class; data sets with known modes need no classifier."""
    targets = data.train.get_targets()
    is_class = targets is not None and targets.dim() == 1 and not targets.is_floating_point()
    return (
        is_class
        and data.info.num_classes is not None
        and data.info.density.modes is None
        and [*data.input_shapes()] == ["x"]
    )


def _describe_encoding_differences(
    config: Config, data: Dataset, saved_config: Config, state: Mapping[str, Any] | None
) -> list[str]:
    """Describe the differences between the encoding of this data set and that of a saved run.

    Args:
        config: Configuration of this run.
        data: Data set of this run.
        saved_config: Configuration of the saved run.
        state: State of its data set in its checkpoint.
    """
    if state is None:
        return ["it was saved by a version without the preprocessing of the data"]
    info = info_from_state(state["dataset_info"])
    differences = []
    if list(info.class_names) != list(data.info.class_names):
        saved_names, current_names = (
            ", ".join(map(str, each.class_names[:MAX_SHOWN_DIFFERENCES])) or "no names" for each in (info, data.info)
        )
        differences.append(f"its classes are {saved_names}; those of this data are {current_names}")
    saved_digests = digests.digest_parts(_select_encoding(saved_config.tree["data"], state["fitted"], info))
    current_digests = digests.digest_parts(_current_encoding(config, data))
    keys = sorted(
        key
        for key in current_digests.keys() | saved_digests.keys()
        if current_digests.get(key) != saved_digests.get(key)
    )
    if keys:
        more = f" and {len(keys) - MAX_SHOWN_DIFFERENCES} more" if len(keys) > MAX_SHOWN_DIFFERENCES else ""
        differences.append(f"rows are encoded in another way: {', '.join(keys[:MAX_SHOWN_DIFFERENCES])}{more} differ")
    return differences


def _select_encoding(options: Mapping[str, Any], fitted: Mapping[str, Any] | None, info: DatasetInfo) -> dict[str, Any]:
    """Select the values that determine the encoding of rows, by name.

    Args:
        options: Keys of the data set in the configuration.
        fitted: Values of the preprocessing; None if there is none.
        info: Info of the data set.
    """
    if fitted is not None:
        return {key: value for key, value in fitted.items() if key != "split"}
    if info.image.bounds is not None:  # the value range determines the scaling
        return {"data": {"_target_": options["_target_"]}, "sizes": info.sizes, "bounds": info.image.bounds}
    return {"data": {key: value for key, value in options.items() if key not in RUNTIME_ONLY_KEYS}}


def _current_encoding(config: Config, data: Dataset) -> dict[str, Any]:
    fitted = None if data.fitted is None else data.fitted.values
    return _select_encoding(config.tree["data"], fitted, data.info)


def _ensure_trained(config: Config, data: Dataset, train: Callable[[Config, Path], object]) -> Path:
    """Return the run directory of the classifier of a data set, and train it if no other process does."""
    train_config, path = _choose_run(config, data)
    is_new = not _is_finished(path)
    if is_new:
        # Errors in the configuration of this run must be reported before the classifier is trained.
        factory.make_task(config.tree, data, config.names)
        print_line(
            f"rows are compared in the features of a classifier of {train_config.names['data']}"
            f" (model={train_config.names['model']}, {train_config.settings.max_steps:,} steps), trained once"
            f" for all runs on this data: {path}"
        )
    while not _is_finished(path):
        path.mkdir(parents=True, exist_ok=True)
        try:
            train(train_config, path)
        except run_dir.RunInUseError:
            time.sleep(POLL_SECONDS)
    # Its figures show the files that it was trained on, which may be missing.
    if run_artifacts.find_missing_artifacts(path, Result.read(path)) and not config.settings.allow_changed_data:
        with suppress(run_dir.RunInUseError):  # another process completes it
            train(train_config, path)
    if is_new:
        results = run_dir.read_results(path)
        print_line(f"classifier: test accuracy {results['test']['accuracy']:.4f} after {results['seconds']:.0f} s")
    return path


def _choose_run(config: Config, data: Dataset) -> tuple[Config, Path]:
    """Return the configuration of the classifier of a data set and its directory, whose name has digests of both.

    If the files have changed since the run was trained, its original classifier is still valid, because its rows were
    encoded in the same way. If that is missing, another one is trained on the current files with the preprocessing of
    the run. The name of its directory has another digest, to distinguish it from the original one.
    """
    if config.fingerprint is None:
        config = dataset_loading.add_fingerprint(config)
    train_config = replace(_make_training_config(config, data), fingerprint=config.fingerprint)
    name = _name_run(train_config)
    path = _resolve_in_start_dir(config, run_dir.make_runs_root() / run_dir.CLASSIFIERS_DIR / name)
    is_finished = _is_finished(path)
    if is_finished and not _describe_encoding_differences(
        config, data, train_config, consistency.load_best(path)["data"]
    ):
        return replace(train_config, run_dir=str(path)), path
    current = _with_current_fingerprint(config)
    if is_finished or _file_digests(current) != _file_digests(config):
        (digest,) = digests.digest_parts({"": [_file_digests(current), _current_encoding(config, data)]}).values()
        path = _resolve_in_start_dir(config, run_dir.make_runs_root() / run_dir.CLASSIFIERS_DIR / f"{name}-{digest}")
    train_config = replace(train_config, fingerprint=current.fingerprint, fingerprint_time=current.fingerprint_time)
    return replace(train_config, run_dir=str(path)), path


def _name_run(train_config: Config) -> str:
    """Return the name of the directory of a classifier.

    The hash has the sampled digest of the files. If that is not a digest of every byte, as with large files, the exact
    digest follows, so that a change outside of the sample leads to another classifier.
    """
    name = f"{train_config.names['model']}-{train_config.names['data']}-{train_config.config_hash}"
    exact_digest = train_config.exact_data_digest
    return name if exact_digest in (None, train_config.data_digest) else f"{name}-{exact_digest}"


def _with_current_fingerprint(config: Config) -> Config:
    """Return the configuration with the fingerprint of the current files, exact if the saved one is."""
    if config.fingerprint is None:
        return config
    settings = replace(config.settings, fingerprint="exact" if config.fingerprint["exact"] else "sampled")
    return dataset_loading.add_fingerprint(replace(config, settings=settings))


def _file_digests(config: Config) -> Mapping[str, Any]:
    """Return the digests of the user's data files, if there are any."""
    return {} if config.fingerprint is None else config.fingerprint["files"]


def _is_finished(path: Path) -> bool:
    return run_dir.read_results(path).get("status") == "finished"


def _make_training_config(config: Config, data: Dataset) -> Config:
    """Return the configuration of the classifier of a data set."""
    train_config = compose.compose(IMAGE_OVERRIDES if data.image_inputs() else TABLE_OVERRIDES)
    plugins.declare_plugins(config.settings.plugins)  # composing has removed the declarations
    inherited = {"data": config.tree["data"]} | {key: config.tree[key] for key in INHERITED_KEYS}
    return replace(
        train_config,
        tree={**train_config.tree, **inherited},
        raw={**train_config.raw, **{key: config.raw[key] for key in inherited}},
        names={**train_config.names, "data": config.names["data"]},
        overrides=[],
        settings=replace(train_config.settings, **{key: config.tree[key] for key in INHERITED_KEYS}),
        working_dir=config.working_dir,
        moved_paths=config.moved_paths,
        # For a new run, the classifier fits the same preprocessing on the same files, unless that of another is reused.
        fitted=None if data.fitted is None or not (data.fitted.is_stored or data.fitted.reused) else data.fitted.copy(),
    )
