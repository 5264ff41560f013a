"""Pictures: changing a whole batch on the device against one picture at a time, and two ways to lay them out.

    python -m tests.bench.images

The changes are flip, turn, crop, jitter and erasing: ours in tensors of a batch, the usual way with Pillow in a data
set's ``__getitem__``. Layouts: training steps of ``channels_last=true`` against those of contiguous pictures.
And what a step gains by keeping the memory of tensors that were freed.
"""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image, ImageEnhance
from torch import Tensor

from trainer.config import compose
from trainer.core.batch import Batch
from trainer.core.dataset_info import DatasetInfo
from trainer.data.augment.image_augment import ImageAugment
from trainer.engine import factory
from trainer.engine.device import keep_freed_memory
from trainer.engine.trainer import Trainer

ROUNDS, ROWS = 9, 128
ALL = {
    **{"flip": "both", "rotate": 20.0, "crop": 0.3, "shift": 2, "window": None, "fill": "reflect"},
    **{"jitter": 0.2, "erase": 0.3, "mix": "none", "mix_alpha": 1.0, "seed": 0},
}


def ours(pictures: Tensor) -> Callable[[], Tensor]:
    augment, index = ImageAugment(DatasetInfo(sizes={}), **ALL), torch.arange(len(pictures))  # type: ignore[arg-type]
    return lambda: augment(Batch({"x": pictures}, None, index), 0).inputs["x"]


def one_by_one(pictures: Tensor) -> Callable[[], Tensor]:
    images = [Image.fromarray((255 * x.permute(1, 2, 0)).byte().numpy()) for x in pictures]
    return lambda: torch.stack([changed(image) for image in images])


def changed(image: Image.Image) -> Tensor:
    """The same kinds of change, by the usual library, on one picture."""
    if random.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if random.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    image = image.rotate(random.uniform(-20, 20), Image.Resampling.BILINEAR)
    side = round(image.width * math.sqrt(1 - 0.3 * random.random()))
    left, top = (random.randint(0, image.width - side) for _ in range(2))
    image = image.crop((left, top, left + side, top + side)).resize(image.size, Image.Resampling.BILINEAR)
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhance(image).enhance(random.uniform(0.8, 1.2))
    x = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
    if random.random() < 0.3:
        side = round(image.width * math.sqrt(random.uniform(0.02, 0.33)))
        left, top = (random.randint(0, image.width - side) for _ in range(2))
        x[:, top : top + side, left : left + side] = x.mean()
    return x


def stepper(model: str, *more: str) -> Callable[[], Tensor]:
    """One training step of a model on pictures of 64 x 64."""
    data = "digit_canvas" if model == "unet" else "gratings"
    words = (f"model={model}", f"data={data}", "data.size=64", "data.rows=200", "threads=1", "batch_size=32")
    composed = compose.compose([*words, *more])
    made = factory.make_dataset(composed.tree)
    task = factory.make_task(composed.tree, made, composed.names).train()
    loaders = factory.make_loaders(composed.tree, made, composed.settings, torch.device("cpu"))
    param_groups = factory.make_param_groups(composed.tree, composed.settings, task, loaders["train"])
    trainer = Trainer(task, param_groups, loaders["train"], loaders["val"], composed.settings)
    batch = next(loaders["train"].iter_epoch(0))

    def step() -> Tensor:
        trainer.update_param_group(trainer.param_groups["model"], [batch])
        return batch.inputs["x"]

    return step


def kept(step: Callable[[], Tensor], *, keep: bool) -> Callable[[], Tensor]:
    """A step with freed memory kept, as runs have it, or given back, as Python begins."""

    def work() -> Tensor:
        keep_freed_memory(keep=keep)
        return step()

    return work


def compare(title: str, one: Callable[[], Tensor], other: Callable[[], Tensor]) -> None:
    """Prints the median seconds of both and of their ratio, taken in turn."""
    times: list[tuple[float, float]] = []
    for _ in range(ROUNDS + 1):
        taken = []
        for work in (one, other):
            started = time.perf_counter()
            work()
            taken.append(time.perf_counter() - started)
        times.append((taken[0], taken[1]))
    first, second = (statistics.median(column) * 1e3 for column in zip(*times[1:], strict=True))
    ratio = statistics.median(a / b for a, b in times[1:])
    print(f"{title:52} {first:7.1f} ms against {second:7.1f} ms  ({ratio:.2f}x)")


def main() -> None:
    torch.set_num_threads(1)
    for model in ("cnn", "unet"):
        step = stepper(model)
        compare(f"a step of {model}, freed memory kept or not", kept(step, keep=True), kept(step, keep=False))
    keep_freed_memory()
    for side in (32, 64, 224):
        pictures = torch.rand(ROWS, 3, side, side)
        compare(f"{ROWS} pictures of {side} x {side} changed, batch or singly", ours(pictures), one_by_one(pictures))
    for model in ("cnn", "resnet", "mobilenet"):
        compare(f"a step of {model}, channels last or not", stepper(model, "channels_last=true"), stepper(model))


if __name__ == "__main__":
    main()
