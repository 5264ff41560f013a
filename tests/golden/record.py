"""Losses of fixed tiny runs, to the bit: ``python -m tests.golden.record`` records them again."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import torch

from tests.helpers.lab import lab
from tests.helpers.tiny import losses_of

FILE = Path(__file__).with_name("losses.json")
COMMON = (
    *("optimizer=adam", "optimizer.lr=1e-2", "scheduler=onecycle", "batch_size=16", "max_steps=5", "val_every=1"),
    *("seed=0", "data.seed=0", "data.rows=100"),
)
SEQUENCES = ("monitor=nll", "data=synthetic_seq", "data.length=4", "data.in_features=3", "data.scale=5.0")
POINTS = ("data=ring", "data.rows=75", "task.samples=6", "ema=0.9")
RUNS = {
    "mlp": ("model=mlp", "model.hidden=[8]", "model.activation=relu", "model.dropout=0.1", *SEQUENCES),
    "lstm": (
        *("model=lstm", "model.hidden_size=8", "model.num_layers=2", "model.dropout=0.1", "model.pool=last"),
        *SEQUENCES,
    ),
    "cgan": ("model=cgan", "model.generator_hidden=[8]", "model.critic_hidden=[8]", "task.critic_steps=2", *POINTS),
    "real_nvp": ("model=real_nvp", "model.blocks=2", "model.hidden=[8]", *POINTS),
    "diffusion": ("model=diffusion", "model.width=8", "model.blocks=1", "model.num_classes=8", *POINTS),
}


def machine() -> dict[str, str]:
    """Return the build of torch and the kernels of the processor, on which the bits depend."""
    capability = torch.backends.cpu.get_cpu_capability()
    return {"torch": str(torch.__version__), "processor": f"{platform.machine()} {capability}"}


def losses(name: str) -> list[float]:
    """Return the loss of each update of a run, then the monitored score of each validation."""
    torch.set_num_threads(1)
    trainer = lab(*COMMON, *RUNS[name]).trainer
    return losses_of(trainer) + [row[f"val_{trainer.monitor}"] for row in trainer.history]


if __name__ == "__main__":
    runs = {name: [value.hex() for value in losses(name)] for name in RUNS}
    FILE.write_text(json.dumps({"machine": machine(), "runs": runs}, indent=2) + "\n", encoding="utf-8")
