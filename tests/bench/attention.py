"""Time and memory of each attention kernel by sequence length, one thread.

    python -m tests.bench.attention [KIND ...]

A pass is forward and backward through one attention layer of 4 heads with 16 components each, one row. Times are
medians of interleaved rounds. Memory is the peak allocation of one pass, as counted by torch. Writes a figure to
outputs/bench/attention.png.
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
FIGURE_PATH = Path(__file__).parents[2] / "outputs" / "bench" / "attention.png"


def make_layer(kind: str) -> MultiHeadAttention:
    config = TransformerConfig(
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
    return config.make_attention()


def forward_backward(attention: MultiHeadAttention, x: torch.Tensor) -> None:
    attention(*attention.project_qkv(x)).sum().backward()


def measure_milliseconds(attention: MultiHeadAttention, x: torch.Tensor) -> float:
    start = time.process_time()
    forward_backward(attention, x)
    return 1e3 * (time.process_time() - start)


def measure_peak_mib(layers: dict[str, MultiHeadAttention]) -> dict[str, list[float]]:
    """Return the peak allocation of a pass in MiB, for each kind and number of steps."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        for kind, attention in layers.items():
            for steps in STEPS:
                x = torch.randn(1, steps, WIDTH)
                with record_function(f"{kind} {steps}"):
                    forward_backward(attention, x)
    events = profiled.profiler.kineto_results.events()  # type: ignore[union-attr]
    spans = {event.name(): event for event in events}
    changes = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")

    def peak(name: str) -> float:
        start, end = spans[name].start_ns(), spans[name].end_ns()
        return max(accumulate(size for time_ns, size in changes if start <= time_ns <= end)) / 2**20

    return {kind: [peak(f"{kind} {steps}") for steps in STEPS] for kind in layers}


def growth_exponent(values: list[float]) -> float:
    """Return the exponent of growth over the last two doublings: 1 is linear, 2 quadratic."""
    return log(values[-1] / values[-3]) / log(STEPS[-1] / STEPS[-3])


def plot(rows: dict[str, tuple[list[float], list[float]]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for axis, index, label in zip(axes, (0, 1), ("milliseconds, forward and backward", "peak MiB"), strict=True):
        for kind, values in rows.items():
            axis.loglog(STEPS, values[index], marker="o", label=kind)
        axis.set(xlabel="steps", ylabel=label)
        axis.set_xticks(STEPS, [str(steps) for steps in STEPS])
        axis.minorticks_off()
    axes[0].legend()
    FIGURE_PATH.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(FIGURE_PATH, dpi=120)


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    layers = {kind: make_layer(kind) for kind in sys.argv[1:] or ATTENTION_KERNELS}
    times: dict[tuple[str, int], list[float]] = defaultdict(list)
    for round_index in range(ROUNDS + 1):
        for steps in STEPS:
            x = torch.randn(1, steps, WIDTH)
            for kind, attention in layers.items():
                elapsed = measure_milliseconds(attention, x)
                if round_index:
                    times[kind, steps].append(elapsed)
    print(f"forward and backward, median of {ROUNDS} rounds; ms, then MiB; ~T^a from {STEPS[-3]} to {STEPS[-1]} steps")
    print(f"{'':10}" + "".join(f"{steps:>9}" for steps in STEPS))
    peaks = measure_peak_mib(layers)
    rows = {kind: ([statistics.median(times[kind, steps]) for steps in STEPS], peaks[kind]) for kind in layers}
    for kind, series in rows.items():
        for name, values in zip((kind, ""), series, strict=True):
            print(f"{name:10}" + "".join(f"{value:9.2f}" for value in values) + f"   ~T^{growth_exponent(values):.2f}")
    plot(rows)
    print(f"figure: {FIGURE_PATH}")


if __name__ == "__main__":
    main()
