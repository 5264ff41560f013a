"""Growth of time and memory of a training step with graph size: 3 thousand to a million nodes of average degree 10.

Run as ``python -m tests.bench.graph_growth``. Every size runs in a separate process, on one thread, to measure its
peak memory. The exponent is the slope of a line through the logarithms: 1 is linear. Draws
``outputs/graph_growth.png``.
"""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[2]
SIZES = (3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
DEGREE, FEATURES, CLASSES = 10, 64, 7
STEPS = 5
MODELS = {
    "gcn": {"conv": "gcn", "hidden": [16], "dropout": 0.5},
    "gat": {"hidden": [8], "heads": 8, "out_heads": 1, "dropout": 0.6, "attention_dropout": 0.6},
}


def measure(model: str, nodes: int) -> dict[str, float]:
    """Return CPU seconds of a step with cached graph, of the first step, and peak memory in GiB."""
    sys.path.insert(0, str(ROOT))
    import torch
    import torch.nn.functional as F

    from trainer.models.graph.gnn import GAT, GNN

    torch.set_num_threads(1)
    torch.manual_seed(0)
    x, label = torch.randn(nodes, FEATURES), torch.randint(CLASSES, (nodes,))
    edges = torch.randint(nodes, (2, nodes * DEGREE // 2))
    edge_index = torch.cat((edges, edges.flip(0)), 1)
    options = {"negative_slope": 0.2, "version": "v1"} if model == "gat" else {}
    net = {"gcn": GNN, "gat": GAT}[model](FEATURES, CLASSES, **MODELS[model], **options)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    start_memory, seconds = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, []
    for _ in range(1 + STEPS):
        start = time.process_time()
        optimizer.zero_grad()
        F.cross_entropy(net(x, edge_index), label).backward()
        optimizer.step()
        seconds.append(time.process_time() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start_memory
    return {"step": median(seconds[1:]), "first": seconds[0], "gib": peak / 2**20}


def fit_exponent(values: list[float]) -> float:
    """Return the slope of the least-squares line of log value over log size."""
    xs, ys = [math.log(n) for n in SIZES], [math.log(v) for v in values]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / sum((x - mean_x) ** 2 for x in xs)


def plot(results: dict[str, list[dict[str, float]]]) -> Path:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    for axes, key, label in zip(figure.subplots(1, 2), ("step", "gib"), ("seconds a step", "peak GiB"), strict=True):
        for model, rows in results.items():
            values = [row[key] for row in rows]
            axes.loglog(SIZES, values, "o-", label=f"{model}, exponent {fit_exponent(values):.2f}")
        axes.loglog(SIZES, [values[-1] * n / SIZES[-1] for n in SIZES], "k:", label="linear")
        axes.set(xlabel="nodes", ylabel=label)
        axes.legend()
    path = ROOT / "outputs" / "graph_growth.png"
    figure.savefig(path)
    return path


def main() -> None:
    results: dict[str, list[dict[str, float]]] = {model: [] for model in MODELS}
    for model, rows in results.items():
        for nodes in SIZES:
            process = subprocess.run(
                [sys.executable, __file__, model, str(nodes)], check=True, capture_output=True, text=True
            )
            rows.append(json.loads(process.stdout))
            print(f"{model} {nodes:9,d} nodes", *(f"{key} {value:8.3f}" for key, value in rows[-1].items()), flush=True)
        print(
            f"{model} exponents:", *(f"{key} {fit_exponent([row[key] for row in rows]):.2f}" for key in ("step", "gib"))
        )
    print(plot(results))


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
    else:
        main()
