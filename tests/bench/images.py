"""Image augmentation of a batch of tensors against Pillow, memory formats, and reuse of freed memory.

    python -m tests.bench.images

The augmentations are flip, rotation, crop, jitter and erasing: on a batch of tensors, and with Pillow as in a data
set's ``__getitem__``. Memory formats: training steps with ``channels_last=true`` against contiguous images. Freed
memory: training steps with and without keeping it.
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
AUGMENT_OPTIONS = {
    **{"flip": "both", "rotate": 20.0, "crop": 0.3, "shift": 2, "window": None, "fill": "reflect"},
    **{"jitter": 0.2, "erase": 0.3, "mix": "none", "mix_alpha": 1.0, "seed": 0},
}


def make_batched_augment(images: Tensor) -> Callable[[], Tensor]:
    augment, index = ImageAugment(DatasetInfo(sizes={}), **AUGMENT_OPTIONS), torch.arange(len(images))  # type: ignore[arg-type]
    return lambda: augment(Batch({"x": images}, None, index), 0).inputs["x"]


def make_pillow_augment(images: Tensor) -> Callable[[], Tensor]:
    images = [Image.fromarray((255 * x.permute(1, 2, 0)).byte().numpy()) for x in images]
    return lambda: torch.stack([augment_with_pillow(image) for image in images])


def augment_with_pillow(image: Image.Image) -> Tensor:
    """Apply the same kinds of augmentation to one image with Pillow."""
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


def make_train_step(model: str, *extra_overrides: str) -> Callable[[], Tensor]:
    """Return a training step of a model on images of 64 x 64."""
    data = "digit_canvas" if model == "unet" else "gratings"
    overrides = (f"model={model}", f"data={data}", "data.size=64", "data.rows=200", "threads=1", "batch_size=32")
    composed = compose.compose([*overrides, *extra_overrides])
    dataset = factory.make_dataset(composed.tree)
    task = factory.make_task(composed.tree, dataset, composed.names).train()
    loaders = factory.make_loaders(composed.tree, dataset, composed.settings, torch.device("cpu"))
    param_groups = factory.make_param_groups(composed.tree, composed.settings, task, loaders["train"])
    trainer = Trainer(task, param_groups, loaders["train"], loaders["val"], composed.settings)
    batch = next(loaders["train"].iter_epoch(0))

    def step() -> Tensor:
        trainer.update_param_group(trainer.param_groups["model"], [batch])
        return batch.inputs["x"]

    return step


def with_freed_memory(step: Callable[[], Tensor], *, keep: bool) -> Callable[[], Tensor]:
    """Return a step that keeps freed memory, as runs do, or returns it, as by default."""

    def work() -> Tensor:
        keep_freed_memory(keep=keep)
        return step()

    return work


def compare(title: str, first_work: Callable[[], Tensor], second_work: Callable[[], Tensor]) -> None:
    """Print the median milliseconds of both, interleaved, and the median of their ratio."""
    times: list[tuple[float, float]] = []
    for _ in range(ROUNDS + 1):
        elapsed = []
        for work in (first_work, second_work):
            start = time.perf_counter()
            work()
            elapsed.append(time.perf_counter() - start)
        times.append((elapsed[0], elapsed[1]))
    first, second = (statistics.median(column) * 1e3 for column in zip(*times[1:], strict=True))
    ratio = statistics.median(a / b for a, b in times[1:])
    print(f"{title:52} {first:7.1f} ms against {second:7.1f} ms  ({ratio:.2f}x)")


def main() -> None:
    torch.set_num_threads(1)
    for model in ("cnn", "unet"):
        step = make_train_step(model)
        compare(
            f"a step of {model}, freed memory kept or not",
            with_freed_memory(step, keep=True),
            with_freed_memory(step, keep=False),
        )
    keep_freed_memory()
    for side in (32, 64, 224):
        images = torch.rand(ROWS, 3, side, side)
        compare(
            f"{ROWS} images of {side} x {side} augmented, batch or singly",
            make_batched_augment(images),
            make_pillow_augment(images),
        )
    for model in ("cnn", "resnet", "mobilenet"):
        compare(
            f"a step of {model}, channels last or not",
            make_train_step(model, "channels_last=true"),
            make_train_step(model),
        )


if __name__ == "__main__":
    main()
