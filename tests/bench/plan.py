"""Accuracy of ``train plan`` over runs of different families: predicted by real time and memory.

    python -m tests.bench.plan [FAMILY ...]

Each run is planned by a trial, then executed by the command, one thread. Both are measured in time of the processors,
because other programs prolong that of the clock, and in the largest resident set. A program on another thread of the
same core prolongs that time, too, by up to a half: so both take place ``REPEATS`` times in turn, and the least of each
is compared. Prints one ratio of each a line.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

from trainer.analysis.trial import run_trial

FAMILIES = {
    "mlp": ("model=mlp", "data=synthetic_tabular", "epochs=20"),
    "lstm": ("model=lstm", "data=synthetic_seq", "epochs=8"),
    "transformer": ("model=transformer", "data=synthetic_seq", "epochs=2"),
    "cnn": ("model=cnn", "data=digits", "epochs=10"),
    "unet": ("model=unet", "data=digit_canvas", "data.rows=300", "epochs=2"),
    "gcn": ("model=gcn", "data=sbm", "epochs=1000"),
    "vae": ("model=vae", "data=digits", "epochs=20", "task.classifier=null"),
    "gan": ("model=wgan_gp", "data=ring", "epochs=20"),
    "diffusion": ("model=diffusion", "data=ring", "max_steps=1500"),
    "forecaster": ("model=gru_forecaster", "data=sine_trend", "epochs=4"),
    "seq2seq": ("model=seq2seq", "data=reverse", "data.rows=2000", "epochs=3"),
    "multimodal": ("model=multimodal", "data=mod3", "epochs=3"),
}
"""Overrides of one run of each family."""
COMMON = ("threads=1", "device=cpu")
REPEATS = 3
TIME_TOLERANCE, MEMORY_TOLERANCE = 0.15, 0.20
MEASURE = """import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(usage.ru_utime + usage.ru_stime, usage.ru_maxrss)"""
"""Program that runs a command and prints the time of its processors and its largest resident set in KiB."""


def measure_run(overrides: tuple[str, ...], folder: str) -> tuple[float, float]:
    """Return seconds and bytes of a run."""
    command = [sys.executable, "-m", "trainer", *overrides, f"hydra.run.dir={folder}/run"]
    output = subprocess.run([sys.executable, "-c", MEASURE, *command], check=True, capture_output=True, text=True)
    seconds, kibibytes = output.stdout.split()
    return float(seconds), float(kibibytes) * 1024


def compare(overrides: tuple[str, ...]) -> tuple[float, float]:
    """Return predicted by real seconds, and bytes, of a run."""
    plans: list[tuple[float, float]] = []
    runs: list[tuple[float, float]] = []
    for _ in range(REPEATS):
        trial = run_trial(overrides, [], cpu_time=True)
        plans.append((trial.estimate_seconds(int(trial.report["total_steps"])), trial.report["memory_bytes"]))
        with tempfile.TemporaryDirectory() as folder:
            runs.append(measure_run(overrides, folder))
    seconds, memory = zip(*plans, strict=True)
    real_seconds, real_memory = zip(*runs, strict=True)
    return min(seconds) / min(real_seconds), min(memory) / min(real_memory)


def main() -> None:
    """Print the ratios, and end with an error if one is out of tolerance."""
    os.environ["OMP_NUM_THREADS"] = "1"
    failures = []
    for name in sys.argv[1:] or FAMILIES:
        time_ratio, memory_ratio = compare((*FAMILIES[name], *COMMON))
        is_within = abs(time_ratio - 1) <= TIME_TOLERANCE and abs(memory_ratio - 1) <= MEMORY_TOLERANCE
        failures += [] if is_within else [name]
        print(f"{name:<12} time {time_ratio:.2f}  memory {memory_ratio:.2f}{'' if is_within else '  OUT'}", flush=True)
    print(f"{len(failures)} of {len(sys.argv[1:] or FAMILIES)} out of tolerance{': ' * bool(failures)}{failures or ''}")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
