"""The flat keys: what people change daily. Values and their meanings stand in ``conf/train.yaml``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from trainer.types import Fraction, NonNegativeFloat, NonNegativeInt, Pattern, PositiveFloat, PositiveInt, Probability

Device = Literal["auto", "cpu", "cuda", "mps"] | Annotated[str, Pattern(r"cuda:(0|[1-9][0-9]?)", "cuda:1")]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Types and ranges of the flat keys; every one is documented beside its value in ``conf/train.yaml``."""

    epochs: PositiveInt
    max_steps: PositiveInt | None
    batch_size: PositiveInt
    drop_last: bool
    bucket: PositiveInt
    seed: NonNegativeInt
    device: Device
    threads: PositiveInt | None
    precision: Literal[32, "bf16", "fp16"]
    compile: bool
    channels_last: bool
    init: Literal["default", "kaiming", "xavier", "orthogonal"]
    accumulate: PositiveInt
    grad_clip: PositiveFloat | None
    grad_clip_mode: Literal["norm", "value"]
    ema: Fraction | None
    teacher_forcing: Probability | Literal["linear", "exponential", "inverse_sigmoid"] | None
    monitor: str | None
    patience: PositiveInt | None
    val_every: PositiveInt
    num_workers: NonNegativeInt
    worker_timeout: PositiveFloat
    save_every: NonNegativeFloat
    draw: bool
    draw_seconds: NonNegativeFloat
    jobs: PositiveInt | None
    resume: str | None
    data_dir: str | None
    plugins: list[str]
    debug: bool
    verbose: bool
