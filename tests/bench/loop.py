"""Time of a training step, by the trainer and by two hand-written loops, in one interleaved run.

    python -m tests.bench.loop [MLP] [LSTM] [CNN] [ResNet]

The trainer has clipping, OneCycle, scores, a progress bar, a log, metrics.csv and checkpoints on. The notebook loop
has a DataLoader and default Adam, nothing else. The hand-written loop has slices of one shuffled tensor and fused
Adam, nothing else. All train on 600 rows in batches of 32 and evaluate 200 validation rows after every epoch.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from trainer.config import compose
from trainer.core.dataset import Dataset
from trainer.core.dataset_info import DatasetInfo
from trainer.core.split import TensorSplit
from trainer.engine import factory
from trainer.engine.checkpoint import CheckpointManager
from trainer.engine.checkpoint_callback import CheckpointCallback
from trainer.engine.signal_callback import SignalCallback
from trainer.engine.trainer import Trainer
from trainer.runs import run_report
from trainer.runs.results import Result
from trainer.utils import signals
from trainer.viz.loggers.csv_logger import CSVLogger
from trainer.viz.loggers.logger import LoggedRun

ROUNDS, BATCH, ROWS = 7, 32, 600
MakeBatches = Callable[[], Iterable[tuple[Tensor, Tensor]]]


@dataclass(frozen=True)
class Case:
    """A model, the shape of its random inputs, and the number of epochs."""

    overrides: tuple[str, ...]
    shape: tuple[int, ...]
    classes: int
    epochs: int


CASES = {
    "MLP": Case(("model=mlp", "data=synthetic_tabular"), (20,), 2, 80),
    "LSTM": Case(("model=lstm", "data=synthetic_seq"), (10, 20), 2, 40),
    "CNN": Case(("model=cnn", "data=gratings"), (1, 28, 28), 10, 8),
    "ResNet": Case(("model=resnet", "data=gratings"), (1, 28, 28), 10, 2),
}


class Noise(Dataset):
    shapes = "x (B, ...) -> (B)"

    def __init__(self, case: Case):
        x, y = torch.randn(ROWS + 200, *case.shape), torch.randint(case.classes, (ROWS + 200,))
        self.train, self.val = TensorSplit({"x": x[:ROWS]}, y[:ROWS]), TensorSplit({"x": x[ROWS:]}, y[ROWS:])
        self.test = self.val
        self.info = DatasetInfo(sizes={})


def time_trainer(case: Case, data: Dataset) -> float:
    """Return microseconds per step of the trainer, with the callbacks of a run."""
    options = (f"epochs={case.epochs}", f"batch_size={BATCH}", "grad_clip=1", "scheduler=onecycle", "threads=1")
    composed = compose.compose([*case.overrides, *options])
    task = factory.make_task(composed.tree, factory.make_dataset(composed.tree), composed.names)
    loaders = factory.make_loaders(composed.tree, data, composed.settings, torch.device("cpu"))
    param_groups = factory.make_param_groups(composed.tree, composed.settings, task, loaders["train"])
    with tempfile.TemporaryDirectory() as directory, signals.capture_signals() as flag:
        result = Result(directory, "", "", {}, [], "ours", "noise", "", 0, monitor="accuracy")
        with run_report.RunReporter(flag, verbose=False) as reporter:
            csv_logger = CSVLogger()
            csv_logger.setup(
                LoggedRun(Path(directory), Path(directory, "metrics.csv"), {}), composed.settings.log_every
            )
            checkpoints = CheckpointCallback(CheckpointManager(Path(directory), {}), composed.settings.save_every)
            callbacks = [csv_logger, reporter, checkpoints, SignalCallback(flag)]
            trainer = Trainer(task, param_groups, loaders["train"], loaders["val"], composed.settings, callbacks)
            reporter.announce_start(trainer, result, {"train": (ROWS, "rows"), "test": (200, "rows")})
            start = time.perf_counter()
            trainer.fit()
            return (time.perf_counter() - start) / trainer.step * 1e6


def time_loop(case: Case, model: nn.Module, train: MakeBatches, val: MakeBatches, *, fused: bool | None) -> float:
    """Return microseconds per step of a hand-written loop."""
    optimizer = torch.optim.Adam(model.parameters(), fused=fused)
    steps = 0
    start = time.perf_counter()
    for _ in range(case.epochs):
        model.train()
        for x, y in train():
            optimizer.zero_grad()
            compute_loss(model(x), y).backward()
            optimizer.step()
            steps += 1
        model.eval()
        with torch.inference_mode():
            for x, y in val():
                compute_loss(model(x), y).item()
    return (time.perf_counter() - start) / steps * 1e6


def compute_loss(logits: Tensor, y: Tensor) -> Tensor:
    if logits.shape[1] == 1:
        return nn.functional.binary_cross_entropy_with_logits(logits[:, 0], y.float())
    return nn.functional.cross_entropy(logits, y)


def build_model(case: Case) -> nn.Module:
    composed = compose.compose(list(case.overrides))
    return factory.make_task(composed.tree, factory.make_dataset(composed.tree), composed.names).model


def time_notebook_loop(case: Case, data: Dataset) -> float:
    def make_batches(split: TensorSplit, *, shuffle: bool) -> MakeBatches:
        assert split.target is not None
        loader = DataLoader(TensorDataset(split.inputs["x"], split.target), BATCH, shuffle=shuffle)
        return lambda: loader

    assert isinstance(data.train, TensorSplit)
    assert isinstance(data.val, TensorSplit)
    train, val = make_batches(data.train, shuffle=True), make_batches(data.val, shuffle=False)
    return time_loop(case, build_model(case), train, val, fused=None)


def time_fused_loop(case: Case, data: Dataset) -> float:
    def make_batches(split: TensorSplit, *, shuffle: bool) -> Iterable[tuple[Tensor, Tensor]]:
        x, y = split.inputs["x"], split.target
        assert y is not None
        order = torch.randperm(len(x)) if shuffle else torch.arange(len(x))
        return zip(x[order].split(BATCH), y[order].split(BATCH), strict=True)

    assert isinstance(data.train, TensorSplit)
    assert isinstance(data.val, TensorSplit)
    train, val = partial(make_batches, data.train, shuffle=True), partial(make_batches, data.val, shuffle=False)
    return time_loop(case, build_model(case), train, val, fused=True)


CONTENDERS = {"trainer": time_trainer, "notebook": time_notebook_loop, "hand-written": time_fused_loop}


def main() -> None:
    torch.set_num_threads(1)
    run_report.console = Console(file=open(os.devnull, "w", encoding="utf-8"), force_terminal=True)  # noqa: SIM115
    print(f"us per step, median of {ROUNDS} interleaved rounds, one thread")
    for name in sys.argv[1:] or CASES:
        case = CASES[name]
        data = Noise(case)
        times: dict[str, list[float]] = {key: [] for key in CONTENDERS}
        for round_index in range(ROUNDS + 1):
            for key, time_contender in CONTENDERS.items():
                elapsed = time_contender(case, data)
                if round_index:
                    times[key].append(elapsed)
        cells = [f"{name:5} trainer {statistics.median(times['trainer']):6.0f}"]
        for key in ("notebook", "hand-written"):
            ratio = statistics.median(a / b for a, b in zip(times["trainer"], times[key], strict=True))
            cells.append(f"{key} {statistics.median(times[key]):6.0f} ({ratio:.2f}x)")
        print("   ".join(cells))


if __name__ == "__main__":
    main()
