"""Time and sample quality of diffusion and flow matching samplers by number of steps, one thread.

    python -m tests.bench.sampling [STEPS]

Trains both on eight Gaussians around a circle, for STEPS (3000, the default of the command). CPU time of drawing 2000
points is a median of interleaved rounds; the energy distance is between all drawn points and as many fresh points of
the data: 0 on average for another draw of the data.
"""

from __future__ import annotations

import statistics
import sys
import time

import torch
from torch import Tensor

from trainer.config import compose
from trainer.core import rng
from trainer.data.datasets.generative.ring import Ring
from trainer.engine import factory
from trainer.engine.trainer import Trainer
from trainer.metrics.distances import energy_distance, mode_coverage
from trainer.tasks.base.denoising import Denoising

ROUNDS, ROWS = 3, 2000
SAMPLERS = {
    "diffusion": (("ddpm", 1000), ("ddim", 50), ("ddim", 20), ("ddim", 10)),
    "flow_matching": (("heun", 20), ("euler", 50), ("euler", 20), ("euler", 10)),
}
"""Samplers and steps by task; the first is the reference."""


def train_task(name: str, steps: int) -> Denoising:
    overrides = (
        "model=diffusion",
        f"task={name}",
        "data=ring",
        f"max_steps={steps}",
        "val_every=1000",
        "task.steps=10",
    )
    composed = compose.compose(overrides)
    data = factory.make_dataset(composed.tree)
    rng.seed_everything(0)
    task = factory.make_task(composed.tree, data, composed.names)
    assert isinstance(task, Denoising)
    loaders = factory.make_loaders(composed.tree, data, composed.settings, torch.device("cpu"))
    param_groups = factory.make_param_groups(composed.tree, composed.settings, task, loaders["train"])
    trainer = Trainer(task, param_groups, loaders["train"], loaders["val"], composed.settings)
    trainer.fit()
    trainer.load_best_weights()
    return task.eval()


def compare(name: str, steps: int) -> None:
    task = train_task(name, steps)
    dataset = Ring(rows=ROUNDS * ROWS, modes=8, radius=2.0, sigma=0.1, seed=1)
    real = torch.cat([split.inputs["x"] for split in (dataset.train, dataset.val, dataset.test)])
    times: dict[tuple[str, int], list[float]] = {config: [] for config in SAMPLERS[name]}
    samples: dict[tuple[str, int], list[Tensor]] = {config: [] for config in SAMPLERS[name]}
    for _ in range(ROUNDS):
        for config in SAMPLERS[name]:
            task.sampler, task.steps = config
            start = time.process_time()
            samples[config].append(task.generate(ROWS, None))
            times[config].append(1e3 * (time.process_time() - start))
    reference = SAMPLERS[name][0]
    assert task.info.density.modes is not None
    for config, elapsed in times.items():
        ratio = statistics.median(slow / quick for slow, quick in zip(times[reference], elapsed, strict=True))
        points = torch.cat(samples[config])
        distance = energy_distance(points, real)
        within = mode_coverage(points, task.info.density.modes, task.info.density.mode_sigma)["within"]
        print(
            f"{name}, {config[0]} in {config[1]} steps: {statistics.median(elapsed):.0f} ms, {ratio:.1f} times as fast"
            f" as {reference[0]}; energy distance {distance:.4f}, within {within:.3f}"
        )


def main() -> None:
    torch.set_num_threads(1)
    for name in SAMPLERS:
        compare(name, int((sys.argv[1:] or ["3000"])[0]))


if __name__ == "__main__":
    main()
