"""The classifier in whose features generated rows are compared with real ones: a run of this very tool, made once.

Distances in its features are comparable between runs on the same data, and not with published ones, which are taken
in the features of a network for photographs.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from trainer import artifacts, builder, checkpoint, config, folder, integrity, stored
from trainer.config import Config
from trainer.console import say
from trainer.data.base import Data
from trainer.errors import ConfigError
from trainer.result import Result

log = logging.getLogger(__name__)

AUTO = "auto"
PICTURES = ("model=cnn", "data=digits", "augment=none", "batch_size=64", "max_steps=1500", "val_every=4")
TABLES = ("model=mlp", "data=wine", "batch_size=64", "max_steps=1500", "val_every=4")
"""How classifiers are trained; the data set is exchanged for the one at hand."""
HERE = ("device", "threads", "num_workers", "worker_timeout", "data_dir", "plugins")
"""Keys a classifier takes from the run it is trained for."""
WAIT = 0.5
"""Seconds between looks at whether another process has finished the classifier."""


class Classifier:
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


def attach(asked: Config, data: Data, make: Callable[[Config, Path], object]) -> None:
    """Gives the data a classifier of its rows, if the task asks for one and they have classes; made if need be.

    ``make`` trains it in its folder, or draws what a finished one that was killed still lacks.

    Raises ConfigError for a run that is none of a classifier of this data.
    """
    wanted = asked.tree["task"].get("classifier")
    if wanted is None or (wanted == AUTO and not _has_classes(data)):
        return
    threads = torch.get_num_threads()
    kept = stored.load(Path(wanted), asked.settings.plugins) if wanted != AUTO else _trained(asked, data, make)
    torch.set_num_threads(threads)
    if kept.tree["task"]["_target_"] != "trainer.tasks.classification.Classification":
        raise ConfigError(f"task.classifier: {wanted} is a run of task={kept.names['task']}, which tells no classes")
    task = builder.task(kept.tree, data, kept.names)
    file = Path(kept.folder) / checkpoint.BEST
    best = integrity.load_best(Path(kept.folder))
    try:
        integrity.load_weights(task, best, file)
    except ConfigError as error:
        raise ConfigError(f"task.classifier: {wanted} was trained on other data: {error.problems[0]}") from error
    score = folder.read_results(Path(kept.folder)).get("test", {}).get("accuracy", float("nan"))
    log.info("rows are compared in the features of %s, test accuracy %.4f", kept.folder, score)
    data.facts = replace(data.facts, classifier=Classifier(task.model))


def _has_classes(data: Data) -> bool:
    """Whether rows x have one class each, that is not known better from where they were drawn."""
    targets = data.train.targets()
    is_class = targets is not None and targets.dim() == 1 and not targets.is_floating_point()
    return (
        is_class and "num_classes" in data.facts.sizes and data.facts.modes is None and [*data.input_shapes()] == ["x"]
    )


def _trained(asked: Config, data: Data, make: Callable[[Config, Path], object]) -> Config:
    """The finished run of the classifier of this data, whoever trains it."""
    recipe = PICTURES if data.pictures() else TABLES
    made = config.compose([*recipe, "task=classification"])
    given = {"data": asked.tree["data"]} | {key: asked.tree[key] for key in HERE}
    settings = replace(made.settings, **{key: asked.tree[key] for key in HERE})
    names = {**made.names, "data": asked.names["data"]}
    made = replace(
        made,
        tree={**made.tree, **given},
        raw={**made.raw, **{key: asked.raw[key] for key in given}},
        names=names,
        settings=settings,
        home=asked.home,
        moved=asked.moved,
        fingerprint=asked.fingerprint,
    )
    name = f"{names['model']}-{names['data']}-{made.identity}"
    path = folder.root() / folder.CLASSIFIERS / name
    made = replace(made, folder=str(path), overrides=[])
    is_new = False
    if folder.read_results(path).get("status") != "finished":
        # What does not fit in the run that wants it is told now, and not when the classifier is trained.
        builder.task(asked.tree, data, asked.names)
        say(
            f"rows are compared in the features of a classifier of {names['data']} (model={names['model']},"
            f" {settings.max_steps:,} steps), trained once for all runs on this data: {path}"
        )
        is_new = True
    while folder.read_results(path).get("status") != "finished":
        path.mkdir(parents=True, exist_ok=True)
        try:
            make(made, path)
        except folder.InUse:
            time.sleep(WAIT)
    if artifacts.missing(path, Result.read(path)):
        with suppress(folder.InUse):  # another process draws it
            make(made, path)
    if is_new:
        results = folder.read_results(path)
        say(f"classifier: test accuracy {results['test']['accuracy']:.4f} after {results['seconds']:.0f} s")
    return stored.load(path, asked.settings.plugins)
