"""Time and memory of each kind of attention as sequences grow, one thread.

    python -m tests.bench.attention [KIND ...]

A pass is forward and back through one attention of 4 heads with 16 components each, one row. Times are medians of
interleaved rounds. Memory is the most that was allocated at once by the operations of one pass, as torch counts it.
Writes a picture of the growth to outputs/bench/attention.png.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections import defaultdict
from itertools import accumulate
from math import log
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from trainer.models.layers.attention.attention import MultiHeadAttention
from trainer.models.layers.attention.transformer import ATTENTION_KERNELS, TransformerConfig

ROUNDS = 7
STEPS = (128, 256, 512, 1024, 2048, 4096)
WIDTH, HEADS, SIZE = 64, 4, 32
PICTURE = Path(__file__).parents[2] / "outputs" / "bench" / "attention.png"


def layer(kind: str) -> MultiHeadAttention:
    plan = TransformerConfig(
        width=WIDTH,
        heads=HEADS,
        hidden=WIDTH,
        activation="relu",
        norm="pre",
        dropout=0.0,
        positions="none",
        seq_len=STEPS[-1],
        attention=kind,  # type: ignore[arg-type]
        attention_size=SIZE,
        attention_rounds=1,
    )
    return plan.make_attention()


def step(attention: MultiHeadAttention, x: torch.Tensor) -> None:
    attention(*attention.project_qkv(x)).sum().backward()


def milliseconds(attention: MultiHeadAttention, x: torch.Tensor) -> float:
    started = time.process_time()
    step(attention, x)
    return 1e3 * (time.process_time() - started)


def mebibytes(layers: dict[str, MultiHeadAttention]) -> dict[str, list[float]]:
    """The highest sum of what was allocated and not yet freed in a pass, for each kind and number of steps."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        for kind, attention in layers.items():
            for steps in STEPS:
                x = torch.randn(1, steps, WIDTH)
                with record_function(f"{kind} {steps}"):
                    step(attention, x)
    events = found.profiler.kineto_results.events()  # type: ignore[union-attr]
    spans = {event.name(): event for event in events}
    changes = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")

    def most(name: str) -> float:
        start, end = spans[name].start_ns(), spans[name].end_ns()
        return max(accumulate(size for when, size in changes if start <= when <= end)) / 2**20

    return {kind: [most(f"{kind} {steps}") for steps in STEPS] for kind in layers}


def growth(values: list[float]) -> float:
    """The exponent of the growth over the last two doublings: 1 is linear, 2 quadratic."""
    return log(values[-1] / values[-3]) / log(STEPS[-1] / STEPS[-3])


def draw(rows: dict[str, tuple[list[float], list[float]]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for axis, place, label in zip(axes, (0, 1), ("milliseconds, forward and back", "MiB at most"), strict=True):
        for kind, values in rows.items():
            axis.loglog(STEPS, values[place], marker="o", label=kind)
        axis.set(xlabel="steps", ylabel=label)
        axis.set_xticks(STEPS, [str(steps) for steps in STEPS])
        axis.minorticks_off()
    axes[0].legend()
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE, dpi=120)


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    layers = {kind: layer(kind) for kind in sys.argv[1:] or ATTENTION_KERNELS}
    times: dict[tuple[str, int], list[float]] = defaultdict(list)
    for turn in range(ROUNDS + 1):
        for steps in STEPS:
            x = torch.randn(1, steps, WIDTH)
            for kind, attention in layers.items():
                taken = milliseconds(attention, x)
                if turn:
                    times[kind, steps].append(taken)
    print(f"forward and back, median of {ROUNDS} rounds; ms, then MiB; ~T^a from {STEPS[-3]} to {STEPS[-1]} steps")
    print(f"{'':10}" + "".join(f"{steps:>9}" for steps in STEPS))
    held = mebibytes(layers)
    rows = {kind: ([statistics.median(times[kind, steps]) for steps in STEPS], held[kind]) for kind in layers}
    for kind, both in rows.items():
        for name, values in zip((kind, ""), both, strict=True):
            print(f"{name:10}" + "".join(f"{value:9.2f}" for value in values) + f"   ~T^{growth(values):.2f}")
    draw(rows)
    print(f"picture: {PICTURE}")


if __name__ == "__main__":
    main()
