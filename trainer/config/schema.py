"""Schema of the global keys; their defaults and descriptions are in ``conf/train.yaml``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from trainer.core.types import (
    DataPath,
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    Pattern,
    PositiveFloat,
    PositiveInt,
    Range,
)

Device = Literal["auto", "cpu", "cuda", "mps"] | Annotated[str, Pattern(r"cuda:(0|[1-9][0-9]?)", "cuda:1")]

ProcessCount = Annotated[int, Range(ge=1, le=1024)]
"""Number of threads or processes; more than any machine has is a typo that would bring the machine down."""
Count = Annotated[int, Range(ge=1, le=1_000_000_000)]
"""Number of rows, batches or epochs; bounded because it is multiplied by others."""
MemberCount = Annotated[int, Range(ge=2, le=1024)]
"""Number of runs that are trained as one model."""
Port = Annotated[int, Range(ge=0, le=65_535)]
Seconds = Annotated[float, Range(gt=0, le=100_000)]
Duration = Annotated[str, Pattern(r"(?=.*[1-9])([0-9]{1,6}(\.[0-9]{1,6})?[dhms])+", "10m, 90s or 1h30m")]
Budget = Duration | Annotated[float, Range(gt=0, le=100_000_000)]
"""Time with its unit, or seconds."""
EnsembleSize = Annotated[int, Range(ge=1, le=1000)]
ModelSize = (
    PositiveFloat | Annotated[str, Pattern(r"(?=[0-9.]*[1-9])[0-9]+(\.[0-9]+)?([kMG]|us|ms|s)", "50k, 0.5M or 2ms")]
)
"""Number of parameters or operations, or time of a step, above 0."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Types and ranges of the global keys, which are described in ``conf/train.yaml``."""

    epochs: NonNegativeInt
    max_steps: PositiveInt | None
    budget: Budget | None
    batch_size: Count
    drop_last: bool
    bucket: Count
    seed: NonNegativeInt
    ensemble: EnsembleSize | None
    device: Device
    devices: ProcessCount | Literal["auto"] | None
    shards: ProcessCount | None
    exact: bool
    shard_optimizer: bool
    strategy: Literal["data_parallel", "fsdp"]
    process_timeout: Seconds
    threads: ProcessCount | None
    precision: Literal[32, "bf16", "fp16"]
    deterministic: bool
    compile: bool
    checkpoint_activations: bool
    channels_last: bool
    init: Literal["default", "kaiming", "xavier", "orthogonal"]
    init_from: DataPath | None
    init_skip: list[str]
    init_preprocessing: Literal["auto", "fit"]
    freeze: list[str]
    match: Literal["params", "flops", "seconds"] | None
    target: ModelSize | None
    match_keys: list[str]
    accumulate: Count
    grad_clip: PositiveFloat | None
    on_nonfinite: Literal["stop", "skip"]
    grad_clip_mode: Literal["norm", "value"]
    ema: Fraction | None
    monitor: str | None
    patience: PositiveInt | None
    val_every: Count
    num_workers: Annotated[int, Range(ge=0, le=1024)]
    worker_timeout: Seconds
    save_every: NonNegativeFloat | None
    save_every_steps: Count | None
    keep_last: Count
    keep_every: Count | None
    keep_best: Count
    log_every: Count
    draw: bool
    draw_seconds: NonNegativeFloat
    jobs: ProcessCount | None
    jobs_per_device: ProcessCount
    members: Literal["auto"] | MemberCount | None
    resume: str | None
    resume_allow: list[str]
    data_dir: DataPath | None
    fingerprint: Literal["sampled", "exact"]
    allow_changed_data: bool
    plugins: list[str]
    debug: bool | Literal["fast", "overfit"]
    verbose: bool
