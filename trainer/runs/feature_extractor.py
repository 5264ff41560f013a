"""The classifier in whose features generated rows are compared with real ones: a run of this very tool, made once.

Distances in its features are comparable between runs on the same data, and not with published ones, which are taken
in the features of a network for photographs.
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
from trainer.config.compose import RUNTIME_ONLY_KEYS, Config
from trainer.core.dataset import Dataset
from trainer.core.dataset_info import DatasetInfo
from trainer.core.task import Task
from trainer.engine import checkpoint, dataset_loading, factory
from trainer.engine.dataset_info_state import info_from_state
from trainer.runs import consistency, run_artifacts, run_dir, saved_run
from trainer.runs.results import Result
from trainer.tasks.classification import Classification
from trainer.utils import digests
from trainer.utils.errors import ConfigError
from trainer.viz.console import print_line

log = logging.getLogger(__name__)

AUTO = "auto"
IMAGE_OVERRIDES, TABLE_OVERRIDES = ("experiment=image_classifier",), ("experiment=table_classifier",)
"""How classifiers are trained, as these files say; the data set is exchanged for the one at hand."""
INHERITED_KEYS = ("device", "threads", "num_workers", "worker_timeout", "data_dir", "plugins")
"""Keys a classifier takes from the run it is trained for."""
MAX_SHOWN_DIFFERENCES = 5
"""How many of the things that differ are named."""
POLL_SECONDS = 0.5
"""Seconds between looks at whether another process has finished the classifier."""


class FeatureExtractor:
    """A trained model (B, ...) -> (B, C), asked for its features and for the classes it tells."""

    def __init__(self, model: nn.Module):
        self.model = model.eval().requires_grad_(False)
        self._features: list[Tensor] = []
        last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1:]
        if not last:
            raise ConfigError("task.classifier: its model has no linear layer, before which features could be read")
        last[0].register_forward_pre_hook(lambda _, inputs: self._features.append(inputs[0]))

    @torch.no_grad()
    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What comes to the last linear layer, (B, D), and the class, (B), of rows x (B, ...)."""
        self._features.clear()
        self.model.to(x.device)
        odds = torch.cat([self.model(part) for part in x.split(1024)])
        told = (odds[:, 0] > 0).long() if odds.shape[1] == 1 else odds.argmax(1)
        return torch.cat(self._features).flatten(1), told


def attach_feature_extractor(asked: Config, data: Dataset, make: Callable[[Config, Path], object]) -> None:
    """Gives the data a classifier of its rows, if the task asks for one and they have classes; made if need be.

    ``make`` trains it in its folder, or draws what a finished one that was killed still lacks.

    Raises ConfigError for a run that is none of a classifier of rows that are encoded as those of this data.
    """
    wanted = asked.tree["task"].get("classifier")
    if wanted is None or (wanted == AUTO and not _has_classes(data)):
        return
    threads = torch.get_num_threads()
    path = (
        _ensure_trained(asked, data, make) if wanted == AUTO else _resolve_from_home(asked, Path(wanted).expanduser())
    )
    torch.set_num_threads(threads)
    kept = saved_run.load(path, asked.settings.plugins)
    if not issubclass(factory.find_class(kept.tree["task"], Task), Classification):
        raise ConfigError(f"task.classifier: {path} is a run of task={kept.names['task']}, which tells no classes")
    best = consistency.load_best(path)
    differences = _describe_encoding_differences(asked, data, kept, best["data"])
    if differences:
        raise ConfigError(*(f"task.classifier: {path} was trained on other data: {each}" for each in differences))
    task = factory.make_task(kept.tree, data, kept.names)
    try:
        consistency.load_weights(task, best, path / checkpoint.BEST)
    except ConfigError as error:
        raise ConfigError(f"task.classifier: {path} was trained on other data: {error.problems[0]}") from error
    plugins.declare_plugins(asked.settings.plugins)  # loading a run has declared those of its own alone
    score = run_dir.read_results(path).get("test", {}).get("accuracy", float("nan"))
    log.info("rows are compared in the features of %s, test accuracy %.4f", path, score)
    data.info = replace(data.info, classifier=FeatureExtractor(task.model))


def _resolve_from_home(asked: Config, path: Path) -> Path:
    """A relative path from the folder the run was started in, if there is something; as it stands, if not."""
    meant = Path(asked.working_dir) / path
    return meant if asked.working_dir != os.getcwd() and os.path.exists(meant) else path


def _has_classes(data: Dataset) -> bool:
    """Whether rows x have one class each, that is not known better from where they were drawn."""
    targets = data.train.get_targets()
    is_class = targets is not None and targets.dim() == 1 and not targets.is_floating_point()
    return (
        is_class
        and "num_classes" in data.info.sizes
        and data.info.density.modes is None
        and [*data.input_shapes()] == ["x"]
    )


def _describe_encoding_differences(
    asked: Config, data: Dataset, kept: Config, state: Mapping[str, Any] | None
) -> list[str]:
    """In what the rows of this data are encoded otherwise than those of a stored run, in sentences.

    state: what its checkpoint keeps of its data.
    """
    if state is None:
        return ["it was saved before runs kept what they learned of their data"]
    stored_info = info_from_state(state["facts"])
    found = []
    if list(stored_info.class_names) != list(data.info.class_names):
        told, here = (
            ", ".join(map(str, each.class_names[:MAX_SHOWN_DIFFERENCES])) or "no names"
            for each in (stored_info, data.info)
        )
        found.append(f"its classes are {told}; those of this data are {here}")
    theirs = digests.digest_parts(_select_encoding(kept.tree["data"], state["fitted"], stored_info))
    mine = digests.digest_parts(_current_encoding(asked, data))
    keys = sorted(key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key))
    if keys:
        more = f" and {len(keys) - MAX_SHOWN_DIFFERENCES} more" if len(keys) > MAX_SHOWN_DIFFERENCES else ""
        found.append(f"rows are encoded in another way: {', '.join(keys[:MAX_SHOWN_DIFFERENCES])}{more} differ")
    return found


def _select_encoding(options: Mapping[str, Any], fitted: Mapping[str, Any] | None, info: DatasetInfo) -> dict[str, Any]:
    """What decides how the rows of a data set are encoded, by name, whichever split they are in.

    Args:
        options: the keys of the data set in the configuration.
        fitted: what was learned of it; None where nothing is stored.
    """
    if fitted is not None:
        return {key: value for key, value in fitted.items() if key != "split"}
    if info.image.bounds is not None:  # the two ends of a scale say all of it
        return {"data": {"_target_": options["_target_"]}, "sizes": info.sizes, "bounds": info.image.bounds}
    return {"data": {key: value for key, value in options.items() if key not in RUNTIME_ONLY_KEYS}}


def _current_encoding(asked: Config, data: Dataset) -> dict[str, Any]:
    fitted = None if data.fitted is None else data.fitted.values
    return _select_encoding(asked.tree["data"], fitted, data.info)


def _ensure_trained(asked: Config, data: Dataset, make: Callable[[Config, Path], object]) -> Path:
    """The folder of the finished classifier of this data, whoever trains it."""
    made, path = _choose_run(asked, data)
    is_new = not _is_finished(path)
    if is_new:
        # What does not fit in the run that wants it is told now, and not when the classifier is trained.
        factory.make_task(asked.tree, data, asked.names)
        print_line(
            f"rows are compared in the features of a classifier of {made.names['data']} (model={made.names['model']},"
            f" {made.settings.max_steps:,} steps), trained once for all runs on this data: {path}"
        )
    while not _is_finished(path):
        path.mkdir(parents=True, exist_ok=True)
        try:
            make(made, path)
        except run_dir.RunInUseError:
            time.sleep(POLL_SECONDS)
    # Its pictures are of the files it was trained on, which may be gone.
    if run_artifacts.find_missing_artifacts(path, Result.read(path)) and not asked.settings.allow_changed_data:
        with suppress(run_dir.RunInUseError):  # another process draws it
            make(made, path)
    if is_new:
        results = run_dir.read_results(path)
        print_line(f"classifier: test accuracy {results['test']['accuracy']:.4f} after {results['seconds']:.0f} s")
    return path


def _choose_run(asked: Config, data: Dataset) -> tuple[Config, Path]:
    """The configuration of the classifier of this data and its folder, which is named by both.

    Where the files have changed since the run was trained, the one it was scored by is as good: it was trained on rows
    that were encoded as these are. If it is gone, another is trained on the files of today, encoded by what the run
    learned, in a folder that is named by both: under the name of the first it would be taken for it.
    """
    if asked.fingerprint is None:
        asked = dataset_loading.add_fingerprint(asked)
    made = replace(_make_training_config(asked, data), fingerprint=asked.fingerprint)
    name = f"{made.names['model']}-{made.names['data']}-{made.config_hash}"
    path = _resolve_from_home(asked, run_dir.make_runs_root() / run_dir.CLASSIFIERS_DIR / name)
    is_kept = _is_finished(path)
    if is_kept and not _describe_encoding_differences(asked, data, made, consistency.load_best(path)["data"]):
        return replace(made, run_dir=str(path)), path
    today = _with_current_fingerprint(asked)
    if is_kept or _file_digests(today) != _file_digests(asked):
        (digest,) = digests.digest_parts({"": [_file_digests(today), _current_encoding(asked, data)]}).values()
        path = _resolve_from_home(asked, run_dir.make_runs_root() / run_dir.CLASSIFIERS_DIR / f"{name}-{digest}")
    made = replace(made, fingerprint=today.fingerprint, fingerprint_time=today.fingerprint_time)
    return replace(made, run_dir=str(path)), path


def _with_current_fingerprint(asked: Config) -> Config:
    """The configuration with the fingerprint of the files as they are now, as exact as the one it has."""
    if asked.fingerprint is None:
        return asked
    settings = replace(asked.settings, fingerprint="exact" if asked.fingerprint["exact"] else "sampled")
    return dataset_loading.add_fingerprint(replace(asked, settings=settings))


def _file_digests(asked: Config) -> Mapping[str, Any]:
    """The digests of the user's own files, if there are any."""
    return {} if asked.fingerprint is None else asked.fingerprint["files"]


def _is_finished(path: Path) -> bool:
    return run_dir.read_results(path).get("status") == "finished"


def _make_training_config(asked: Config, data: Dataset) -> Config:
    """The configuration by which a classifier of this data is trained."""
    made = compose.compose(IMAGE_OVERRIDES if data.image_inputs() else TABLE_OVERRIDES)
    plugins.declare_plugins(asked.settings.plugins)  # composing has declared none
    given = {"data": asked.tree["data"]} | {key: asked.tree[key] for key in INHERITED_KEYS}
    return replace(
        made,
        tree={**made.tree, **given},
        raw={**made.raw, **{key: asked.raw[key] for key in given}},
        names={**made.names, "data": asked.names["data"]},
        overrides=[],
        settings=replace(made.settings, **{key: asked.tree[key] for key in INHERITED_KEYS}),
        working_dir=asked.working_dir,
        moved_paths=asked.moved_paths,
        # Of a run that begins, the classifier learns the same from the same files.
        fitted=data.fitted if data.fitted is not None and data.fitted.is_stored else None,
    )
