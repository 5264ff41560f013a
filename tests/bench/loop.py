"""Time of a training step, ours against two hand-written loops, in one interleaved run.

Ours has clipping, OneCycle, scores, a log, metrics.csv and checkpoints on. (a) is the loop of a notebook: DataLoader,
default Adam, nothing else. (b) is the best usual loop: batches cut from one shuffled tensor, fused Adam, nothing else.
All three train on 600 rows in batches of 32 and look at 200 validation rows after every epoch.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from trainer import builder, config, report, runner, signals
from trainer.checkpoint import RunKeeper
from trainer.data.base import Data, Facts, TensorSplit
from trainer.loader import Loader
from trainer.trainer import Trainer

ROUNDS, EPOCHS, BATCH, ROWS = 7, 15, 32, 600
CASES = {
    "MLP 20-64-32-1": ("model=mlp", "data=synthetic_tabular", (20,), 2),
    "LSTM 20-64": ("model=lstm", "data=synthetic_seq", (10, 20), 2),
    "CNN 28x28": ("model=cnn", "data=gratings", (1, 28, 28), 10),
}


class Noise(Data):
    """x (B, ...) -> (B)"""

    def __init__(self, shape: tuple[int, ...], classes: int):
        x, y = torch.randn(ROWS + 200, *shape), torch.randint(classes, (ROWS + 200,))
        self.train, self.val = TensorSplit({"x": x[:ROWS]}, y[:ROWS]), TensorSplit({"x": x[ROWS:]}, y[ROWS:])
        self.test = self.val
        self.facts = Facts(sizes={})


def seconds(work: Callable[[], int]) -> float:
    """Microseconds of a step."""
    started = time.perf_counter()
    steps = work()
    return (time.perf_counter() - started) / steps * 1e6


def ours(data: Data, words: tuple[str, str], folder: Path) -> Callable[[], int]:
    composed = config.compose(
        [*words, f"epochs={EPOCHS}", f"batch_size={BATCH}", "grad_clip=1", "scheduler=onecycle", "threads=1"]
    )
    settings = composed.settings
    real = builder.data(composed.tree)
    device = torch.device("cpu")

    def work() -> int:
        task = builder.task(composed.tree, real, composed.names)
        loaders = {
            name: Loader(getattr(data, name), name, batch_size=BATCH, device=device, seed=0, train=name == "train")
            for name in ("train", "val")
        }
        players = builder.players(composed.tree, settings, task, loaders["train"])
        result = runner.Result(str(folder), "", "", {}, [], "", "", "", 0, monitor="accuracy")
        with signals.caught() as flag, report.Report(flag, verbose=False) as screen:
            trainer = Trainer(task, players, loaders["train"], loaders["val"], settings, RunKeeper(folder, {}), screen)
            screen.start(trainer, result, {})
            started = time.perf_counter()
            trainer.fit()
            work.inside = time.perf_counter() - started  # type: ignore[attr-defined]
        return trainer.step

    return work


def fresh_model(words: tuple[str, str]) -> nn.Module:
    composed = config.compose(list(words))
    return builder.task(composed.tree, builder.data(composed.tree), composed.names).model


def loss_of(logits: Tensor, y: Tensor) -> Tensor:
    if logits.shape[1] == 1:
        return nn.functional.binary_cross_entropy_with_logits(logits[:, 0], y.float())
    return nn.functional.cross_entropy(logits, y)


def notebook(data: Data, words: tuple[str, str]) -> Callable[[], int]:
    assert isinstance(data.train, TensorSplit)
    assert isinstance(data.val, TensorSplit)
    pairs = [(split.inputs["x"], split.target) for split in (data.train, data.val)]
    train, val = (DataLoader(TensorDataset(*pair), BATCH, shuffle=not i) for i, pair in enumerate(pairs))

    def work() -> int:
        model = fresh_model(words)
        optimizer = torch.optim.Adam(model.parameters())
        started = time.perf_counter()
        for _ in range(EPOCHS):
            model.train()
            for x, y in train:
                optimizer.zero_grad()
                loss = loss_of(model(x), y)
                loss.backward()
                optimizer.step()
            model.eval()
            with torch.inference_mode():
                sum(loss_of(model(x), y).item() for x, y in val)
        work.inside = time.perf_counter() - started  # type: ignore[attr-defined]
        return EPOCHS * len(train)

    return work


def handwritten(data: Data, words: tuple[str, str]) -> Callable[[], int]:
    assert isinstance(data.train, TensorSplit)
    assert isinstance(data.val, TensorSplit)
    x_all, y_all = data.train.inputs["x"], data.train.target
    x_val, y_val = data.val.inputs["x"], data.val.target
    assert y_all is not None
    assert y_val is not None

    def work() -> int:
        model = fresh_model(words)
        optimizer = torch.optim.Adam(model.parameters(), fused=True)
        steps = 0
        started = time.perf_counter()
        for _ in range(EPOCHS):
            model.train()
            order = torch.randperm(ROWS)
            for x, y in zip(x_all[order].split(BATCH), y_all[order].split(BATCH), strict=True):
                optimizer.zero_grad()
                loss_of(model(x), y).backward()
                optimizer.step()
                steps += 1
            model.eval()
            with torch.inference_mode():
                sum(loss_of(model(x), y).item() for x, y in zip(x_val.split(BATCH), y_val.split(BATCH), strict=True))
        work.inside = time.perf_counter() - started  # type: ignore[attr-defined]
        return steps

    return work


def main() -> None:
    torch.set_num_threads(1)
    print(f"us per step, median of {ROUNDS} interleaved rounds of {EPOCHS} epochs, one thread")
    for name, (model, data_name, shape, classes) in CASES.items():
        if len(sys.argv) > 1 and not any(word in name for word in sys.argv[1:]):
            continue
        words = (model, data_name)
        data = Noise(shape, classes)
        with tempfile.TemporaryDirectory() as folder:
            works = {
                "ours": ours(data, words, Path(folder)),
                "notebook": notebook(data, words),
                "hand-written": handwritten(data, words),
            }
            times: dict[str, list[float]] = {key: [] for key in works}
            for turn in range(ROUNDS + 1):
                for key, work in works.items():
                    steps = work()
                    if turn:
                        times[key].append(work.inside / steps * 1e6)  # type: ignore[attr-defined]
        median = {key: statistics.median(values) for key, values in times.items()}
        ratios = {
            key: statistics.median(a / b for a, b in zip(times["ours"], times[key], strict=True))
            for key in ("notebook", "hand-written")
        }
        print(
            f"{name:16} ours {median['ours']:7.0f}   notebook {median['notebook']:7.0f} ({ratios['notebook']:.2f}x)"
            f"   hand-written {median['hand-written']:7.0f} ({ratios['hand-written']:.2f}x)"
        )


if __name__ == "__main__":
    main()
