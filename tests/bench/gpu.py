"""Training on a GPU against a hand-written loop of torch, and against torch.compile; launch overhead; memory.

    python -m tests.bench.gpu [--output FILE.json] [names of cases]

Rows per second are medians of interleaved rounds, and ratios are medians of the ratios of a round. All contenders train
the same model on the same rows in memory of the device with fused Adam and clipping. ``launch`` is the share of a step
in which the device waits for the host: one minus the time of the kernels alone, replayed as a CUDA graph, over that of
a step. Without a GPU nothing is measured, unless ``ACCELERATOR=cpu`` tries the script itself with a tiny workload.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.helpers.gpu_contenders import CASES, CONTENDERS, IS_TRIAL, Case, Step, build_trainer, compute_loss

ROUNDS, SECONDS = (2, 0.05) if IS_TRIAL else (7, 0.4)
"""Rounds, and seconds that a contender is timed for in each."""
WARMUP_STEPS = 3 if IS_TRIAL else 12
MIB = 1 << 20


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def time_steps(step: Step, steps: int, device: torch.device) -> float:
    """Return the seconds of a step."""
    wait_for(device)
    start = time.perf_counter()
    for _ in range(steps):
        step()
    wait_for(device)
    return (time.perf_counter() - start) / steps


def measure_graph(case: Case, device: torch.device) -> float | None:
    """Return the seconds of the kernels of a step of the loop, replayed as one CUDA graph; None if none is captured."""
    if device.type != "cuda":
        return None
    trainer = build_trainer(case, device)
    model, settings = trainer.task.model.train(), trainer.settings
    batch = next(trainer.train_loader.iter_epoch(0))
    x, y = batch.inputs["x"].clone(), batch.require_target().clone()
    optimizer = torch.optim.Adam(model.parameters(), fused=True, capturable=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=False)
        with torch.autocast("cuda", torch.bfloat16, enabled=settings.precision == "bf16", cache_enabled=False):
            loss = compute_loss(model(x), y)
        loss.backward()
        optimizer.step()

    try:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARMUP_STEPS):
                step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        time_steps(graph.replay, WARMUP_STEPS, device)
        return statistics.median(time_steps(graph.replay, 50, device) for _ in range(ROUNDS))
    except RuntimeError as error:
        print(f"  no CUDA graph: {str(error).splitlines()[0]}")
        return None


def measure_peak(make_step: Callable[[Case, torch.device], Step], case: Case, device: torch.device) -> float | None:
    """Return the peak memory of a contender, in MiB."""
    if device.type != "cuda":
        return None
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated(device)
    step = make_step(case, device)
    step()
    gc.collect()  # what only the construction needed
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    for _ in range(3):
        step()
    wait_for(device)
    return (torch.cuda.max_memory_allocated(device) - before) / MIB


def measure_case(case: Case, device: torch.device) -> dict[str, Any]:
    """Return rows per second, ratios to the hand-written loop, launch overhead and memory of a case."""
    peaks = {name: measure_peak(CONTENDERS[name], case, device) for name in ("trainer", "loop")}
    steps: dict[str, Step] = {}
    failures: dict[str, str] = {}
    for name, make_step in CONTENDERS.items():
        try:
            step = make_step(case, device)
            for _ in range(WARMUP_STEPS):
                step()
            steps[name] = step
        except Exception as error:  # a contender that cannot run, such as a compiler without a C compiler, is reported
            failures[name] = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
    counts = {name: max(2, round(SECONDS / time_steps(step, 3, device))) for name, step in steps.items()}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(ROUNDS):
        for name, step in steps.items():
            times[name].append(time_steps(step, counts[name], device))
    graph = measure_graph(case, device)
    medians = {name: statistics.median(values) for name, values in times.items()}
    ratios = {
        name: statistics.median(a / b for a, b in zip(times["loop"], values, strict=True))
        for name, values in times.items()
    }
    return {
        "batch_size": case.batch_size,
        "rows_per_second": {name: case.batch_size / seconds for name, seconds in medians.items()},
        "speed_relative_to_loop": ratios,
        "microseconds_per_step": {name: seconds * 1e6 for name, seconds in medians.items()},
        "kernel_microseconds": None if graph is None else graph * 1e6,
        "launch_share": None if graph is None else {name: max(0.0, 1 - graph / t) for name, t in medians.items()},
        "peak_mib": peaks,
        "failures": failures,
    }


def print_case(name: str, result: dict[str, Any]) -> None:
    """Print the rows of a case."""
    for contender, rows in result["rows_per_second"].items():
        share = "" if result["launch_share"] is None else f"{100 * result['launch_share'][contender]:5.0f} %"
        peak = result["peak_mib"].get(contender)
        memory = "" if peak is None else f"{peak:8.0f} MiB"
        ratio, step = result["speed_relative_to_loop"][contender], result["microseconds_per_step"][contender]
        print(f"{name:17} {contender:16} {rows:12,.0f} rows/s {ratio:6.2f}x {step:9.0f} us {share:>8} {memory:>12}")
    for contender, reason in result["failures"].items():
        print(f"{name:17} {contender:16} failed: {reason}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed and memory of training on a GPU.")
    parser.add_argument("--output", type=Path, help="JSON file of the results")
    parser.add_argument("cases", nargs="*", help=f"of {', '.join(CASES)}; all by default")
    arguments = parser.parse_args()
    if unknown := set(arguments.cases) - CASES.keys():
        sys.exit(f"unknown cases: {', '.join(sorted(unknown))}; known: {', '.join(CASES)}")
    if not torch.cuda.is_available() and not IS_TRIAL:
        print("no CUDA device: nothing is measured")
        return
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    device = torch.device("cpu" if IS_TRIAL else "cuda:0")
    name = platform.machine() if IS_TRIAL else torch.cuda.get_device_name(device)
    print(f"{name}, torch {torch.__version__}, medians of {ROUNDS} interleaved rounds")
    print(f"{'case':17} {'contender':16} {'':19} {'loop':>7} {'step':>12} {'launch':>8} {'memory':>12}")
    results = {}
    for case_name in arguments.cases or (["MLP"] if IS_TRIAL else CASES):
        results[case_name] = measure_case(CASES[case_name], device)
        print_case(case_name, results[case_name])
        torch._dynamo.reset()
        if arguments.output is not None:  # after every case, so that a stopped measurement leaves what it has
            arguments.output.parent.mkdir(parents=True, exist_ok=True)
            content = {"device": name, "torch": torch.__version__, "rounds": ROUNDS, "cases": results}
            arguments.output.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
