"""The objects of a saved run: its trainer with the last weights, and what can be measured with them.

Nothing here changes the run directory.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from trainer.analysis.diagnosis.activations import ActivationRecorder, LayerActivations
from trainer.config import plugins
from trainer.config.run_config import Config
from trainer.core import rng
from trainer.core.batch import Batch
from trainer.core.dataset import Dataset
from trainer.core.task import Predictor
from trainer.engine.process_group import SingleProcess
from trainer.engine.trainer import Trainer
from trainer.runs import run_dir
from trainer.runs.resume import load_saved_state, load_trainer_state, with_saved_fingerprint
from trainer.runs.training_setup import build_training
from trainer.utils.errors import ConfigError, NonFiniteError, UserError
from trainer.utils.thread_clock import read_clock

SAMPLE_ROWS = 256
"""Number of training rows that are looked at."""
SAMPLE_SEED = 0


class LiveRun:
    """Task, data and weights of a saved run, as its training would continue.

    Args:
        config: Configuration of the run.

    Raises:
        UserError: The data has changed, or files of the run are damaged.
    """

    def __init__(self, config: Config):
        path = Path(config.run_dir)
        plugins.declare_plugins(config.settings.plugins, Path(config.working_dir))
        state = load_saved_state(path, fall_back=True)
        config = with_saved_fingerprint(config, state)
        training = build_training(config, state, SingleProcess(), _refuse_training, lambda _: None)
        self.data: Dataset = training.data
        self.loaders = training.loaders
        self.trainer: Trainer = training.make_trainer([])
        self.initial_state = self._copy_state()
        if state is not None:
            load_trainer_state(self.trainer, state, path)

    @contextmanager
    def _preserve(self) -> Iterator[None]:
        """Restore weights, buffers and random numbers after the block."""
        saved = self._copy_state()
        with rng.fork_rng(SAMPLE_SEED, self.trainer.device):
            yield
        self._restore_state(saved)

    def _copy_state(self) -> dict[str, Tensor]:
        """Return copies of weights and buffers."""
        return {name: value.detach().clone() for name, value in self.trainer.task.state_dict().items()}

    def _restore_state(self, saved: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, value in self.trainer.task.state_dict().items():
                value.copy_(saved[name])

    @cached_property
    def sample_index(self) -> Tensor:
        """Numbers (B,) of the training rows that are looked at."""
        rows = len(self.loaders["train"].split)
        return rng.make_permutation(rows, SAMPLE_SEED, 0)[:SAMPLE_ROWS]

    @cached_property
    def sample(self) -> Batch:
        """Training rows without augmentation."""
        return self.loaders["train"].load_rows(self.sample_index)

    @cached_property
    def layers(self) -> list[LayerActivations]:
        """Activations of each layer for the sample, with the last weights, in the order of their computation."""
        return self.record_layers(self.sample)

    def record_layers(self, batch: Batch) -> list[LayerActivations]:
        """Record the activations of the losses of a batch; empty if the task needs other rows at the same time.

        Args:
            batch: The rows.
        """
        task = self.trainer.task.eval()
        with rng.fork_rng(SAMPLE_SEED, batch.index.device), torch.no_grad(), ActivationRecorder(task) as recorder:
            for name in self.trainer.param_groups:
                task.loss(batch, name)
        return recorder.layers

    def measure_growth(self) -> dict[str, float]:
        """Norm of each parameter, divided by that of its initial value or by 1 if that is smaller; infinite for NaN."""
        growth = {
            name: float(value.detach().norm() / self.initial_state[name].norm().clamp_min(1.0))
            for name, value in self.trainer.task.named_parameters()
        }
        return {name: math.inf if math.isnan(value) else value for name, value in growth.items()}

    @cached_property
    def sample_losses(self) -> tuple[float, float]:
        """Loss of the sample with the initial and with the last weights, without dropout; the sum of several losses."""
        with self._preserve():
            last = self._compute_loss()
            self._restore_state(self.initial_state)
            return self._compute_loss(), last

    def _compute_loss(self) -> float:
        task = self.trainer.task.eval()
        with rng.fork_rng(SAMPLE_SEED, self.trainer.device), torch.no_grad():
            return sum(float(task.loss(self.sample, name)) for name in self.trainer.param_groups)

    @cached_property
    def update_ratios(self) -> dict[str, float]:
        """Norm of one update at the highest learning rate, divided by that of the weights, by parameter group.

        The update is taken with the state of the optimizer and the last weights, which are restored.
        """
        trainer = self.trainer
        trainer.task.train()
        ratios = {}
        with self._preserve():
            with closing(trainer.strategy.iter_epoch(trainer.train_loader, trainer.epoch, 0)) as batches:
                rows = list(islice(batches, trainer.settings.accumulate))
            for name, group in trainer.param_groups.items():
                before, position = group.params.data.clone(), group.num_updates
                steps = torch.linspace(0, max(0, trainer.total_steps - 1), 64).long().tolist()
                group.num_updates = max(steps, key=lambda step: group.schedule(step)[0])
                with suppress(NonFiniteError):  # such an update is not taken
                    trainer.update_param_group(group, rows)
                    ratios[name] = float((group.params.data - before).norm() / before.norm().clamp_min(1e-12))
                group.num_updates = position
        return ratios

    def measure_loader_share(self, num_steps: int, budget_seconds: float) -> tuple[float, float]:
        """Measure how the time of training steps is divided between loading and computing.

        Args:
            num_steps: Number of steps, of which the first is not measured.
            budget_seconds: Seconds after which no further step is measured.

        Returns:
            Seconds per step of loading, and of computing.
        """
        trainer = self.trainer
        trainer.task.train()
        loading, computing = [], []
        started_at = time.perf_counter()
        with (
            self._preserve(),
            closing(trainer.strategy.iter_epoch(trainer.train_loader, trainer.epoch, 0)) as batches,
        ):
            for _ in range(num_steps):
                before = read_clock()
                rows = list(islice(batches, 1))
                loaded = read_clock()
                if not rows or time.perf_counter() - started_at > budget_seconds:
                    break
                for name in trainer.task.active_groups(trainer.step):
                    float(trainer.strategy.compute_gradient(trainer, trainer.param_groups[name], rows))
                loading.append(max(0.0, loaded - before))
                computing.append(max(0.0, read_clock() - loaded))
        measured = slice(1, None) if len(loading) > 1 else slice(None)
        count = max(1, len(loading[measured]))
        return sum(loading[measured]) / count, sum(computing[measured]) / count

    @cached_property
    def train_probabilities(self) -> tuple[Tensor, Tensor, Tensor] | None:
        """Class probabilities (B, C), labels (B) and row numbers (B) of the sample; None for other tasks."""
        return self._predict(self.sample)

    @cached_property
    def val_labels(self) -> tuple[Tensor, Tensor] | None:
        """Predicted and true classes (N) of the validation rows; None for other tasks than classification of rows."""
        parts = []
        with closing(self.loaders["val"].iter_epoch(0)) as batches:
            for batch in batches:
                found = self._predict(batch)
                if found is None:
                    return None
                parts.append((found[0].argmax(1), found[1]))
        return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])

    def _predict(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor] | None:
        task, target = self.trainer.task, batch.target
        has_classes = target is not None and target.ndim == 1 and target.dtype == torch.long
        if not task.predicts_classes or target is None or not has_classes:
            return None
        with rng.fork_rng(SAMPLE_SEED, batch.index.device), torch.no_grad():
            fields = cast(Predictor, task.eval()).predict(batch)
        probabilities = fields.get("probabilities")
        if probabilities is None or probabilities.ndim != 2 or len(probabilities) != len(target):
            return None
        is_labeled = target >= 0
        rows = batch.index if len(batch.index) == len(target) else torch.arange(len(target))
        return probabilities[is_labeled].cpu(), target[is_labeled].cpu(), rows[is_labeled.cpu()]


def _refuse_training(_: Config, path: Path) -> None:
    """Accept the feature network of sample metrics if it is trained; a diagnosis trains nothing.

    Args:
        path: Directory of its run.

    Raises:
        ConfigError: It is not trained.
    """
    if run_dir.read_results(path).get("status") != "finished":
        raise ConfigError(f"the feature network of its sample metrics is not trained: {path}; train evaluate trains it")


def load_live_run(config: Config) -> tuple[LiveRun | None, str]:
    """Load a run; if it cannot be loaded, return the reason.

    Args:
        config: Configuration of the run.
    """
    try:
        return LiveRun(config), ""
    except UserError as error:
        return None, str(error).splitlines()[0]
