"""Activation checkpointing: time of a training step and saved activations, relative to none.

python -m tests.bench.activation_checkpointing
"""

from __future__ import annotations

import statistics
import time

from tests.helpers.lab import lab
from tests.helpers.own_files import texts
from tests.helpers.saved_tensors import record_saved_bytes
from trainer.engine.activation_checkpointing import checkpoint_activations
from trainer.engine.trainer import Trainer

ROUNDS = 9
RUNS = {
    "gpt": ("model=gpt", "data=text_file", f"data.path={texts() / 'story.txt'}", "batch_size=8"),
    "vit_tiny": ("model=vit_tiny", "data=gratings", "data.rows=60", "batch_size=16"),
    "resnet": ("model=resnet", "data=gratings", "data.rows=60", "batch_size=16"),
    "unet": ("model=unet", "data=digit_canvas", "data.rows=60", "batch_size=8"),
}


def make_trainer(words: tuple[str, ...], is_checkpointed: bool) -> Trainer:
    trainer = lab(*words).trainer
    if is_checkpointed:
        checkpoint_activations(trainer.task.model)
    return trainer


def measure_step(trainer: Trainer) -> tuple[float, int]:
    """Return the seconds of a step and the bytes that it saves for the backward pass."""
    (group,), batch = trainer.param_groups.values(), next(trainer.train_loader.iter_epoch(0))
    trainer.task.train()
    with record_saved_bytes(trainer.task) as saved:
        start = time.perf_counter()
        trainer.update_param_group(group, [batch])
        return time.perf_counter() - start, sum(saved.values())


def main() -> None:
    print(f"{'model':<10} {'time':>6} {'saved':>6}   relative to a step without")
    for name, words in RUNS.items():
        trainers = [make_trainer(words, is_checkpointed) for is_checkpointed in (False, True)]
        steps = [[measure_step(trainer) for trainer in trainers] for _ in range(ROUNDS)][1:]
        seconds = [statistics.median(step[index][0] for step in steps) for index in range(2)]
        print(f"{name:<10} {seconds[1] / seconds[0]:>6.2f} {steps[0][1][1] / steps[0][0][1]:>6.2f}")


if __name__ == "__main__":
    main()
