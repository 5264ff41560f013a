"""Runs that are broken on purpose, by the rule of ``train why`` that has to notice, and healthy ones."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path

from trainer.analysis.diagnosis import diagnose, finding, live_run
from trainer.analysis.run_record import find_siblings, read_record
from trainer.config import compose
from trainer.runs import saved_run, train
from trainer.utils.errors import NonFiniteError

PLUGIN = '''
import time
import torch
from torch import Tensor, nn
from trainer import Dataset, DatasetInfo
from trainer.core.split import TensorSplit

class Root(nn.Module):
    """A layer that has no value for a few rows."""

    shapes = "x (B, F) -> (B, C)"

    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.root = Sqrt()
        self.head = nn.Linear(in_features, out_features)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.root(x))

class Sqrt(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sqrt(x + 1.15)

class Dead(nn.Module):
    """A layer whose units are all 0."""

    shapes = "x (B, F) -> (B, C)"

    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.first = nn.Linear(in_features, 16)
        self.head = nn.Linear(16, out_features)
        nn.init.constant_(self.first.bias, -50.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.first(x)))

class Saturated(nn.Module):
    """An LSTM whose gates are all open or closed."""

    shapes = "x (B, T, F) -> (B, C)"

    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.cells = nn.LSTM(in_features, 16, batch_first=True)
        self.head = nn.Linear(16, out_features)
        for parameter in self.cells.parameters():
            parameter.data.mul_(200.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cells(x)[0][:, -1])

class SlowSplit(TensorSplit):
    def batch(self, index, epoch):
        time.sleep(0.01)
        return super().batch(index, epoch)

    def count_bytes(self):
        return None  # so that rows are read batch by batch

class Slow(Dataset):
    """Rows that take long to read."""

    shapes = "x (B, F) -> (B)"

    def __init__(self, rows: int):
        x = torch.randn(rows, 3, generator=torch.Generator().manual_seed(0))
        part = rows // 3
        parts = [x[:part], x[part : 2 * part], x[2 * part :]]
        self.train, self.val, self.test = (SlowSplit({"x": p}, (p.sum(1) > 0).long()) for p in parts)
        sizes = {"in_features": 3, "out_features": 1, "flat_features": 3, "num_classes": 2}
        self.info = DatasetInfo(sizes=sizes, baseline={"accuracy": 0.5, "nll": 0.693})
'''
MODEL = "# A model.\n_target_: own_broken.{}\nin_features: ??? # from the data\nout_features: ??? # from the data\n"
FILES = {
    "own_broken.py": PLUGIN,
    **{f"conf/model/{name.lower()}.yaml": MODEL.format(name) for name in ("Root", "Dead", "Saturated")},
    "conf/data/slow.yaml": "# @package _global_\n# Slow rows.\ndefaults:\n"
    "  - override /task@_global_.task: classification\n\ndata:\n  _target_: own_broken.Slow\n  rows: 120 # in all\n",
}
MLP, DIGITS = ("model=mlp", "model.hidden=[32]"), ("data=digits", "data.size=8", "augment=none", "batch_size=128")
SEQUENCES = ("data=synthetic_seq", "data.rows=300")
TRANSFORMER = ("model=transformer", "model.width=16", "model.heads=2", "model.hidden=32", "model.layers=1")


def write_files() -> None:
    """Write the plugin and the tables that broken runs use into the working folder."""
    for name, text in FILES.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)
    Path("clean.csv").write_text(make_table(300))
    Path("chance.csv").write_text(make_table(300, flipped=0.5))
    Path("noisy.csv").write_text(make_table(600, flipped=0.12))
    Path("twice.csv").write_text(make_table(200, copies=2))
    Path("rare.csv").write_text(make_table(600, rare=0.04, overlap=0.8))


def make_table(rows: int, *, flipped: float = 0.0, copies: int = 1, rare: float = 0.5, overlap: float = 0.3) -> str:
    """Return a table of two classes.

    Args:
        rows: Number of distinct rows.
        flipped: Share of the rows with the other class.
        copies: How often each row occurs.
        rare: Share of the second class.
        overlap: Standard deviation of each class, whose centers have a distance of 2 * sqrt(2).
    """
    rng = random.Random(0)
    lines = []
    for _ in range(rows):
        label = rng.random() < rare
        center = 1 if label else -1
        x, y = (rng.gauss(center * (1.0 if rare == 0.5 else 0.5), overlap) for _ in range(2))
        lines.append(f"{x:.6f},{y:.6f},{'ab'[label ^ (rng.random() < flipped)]}")
    order = [line for line in lines for _ in range(copies)]
    rng.shuffle(order)
    return "x,y,target\n" + "\n".join(order) + "\n"


def train_run(name: str, *overrides: str) -> Path:
    """Train a run into a folder of the working folder; one that fails is a run, too."""
    folders = [Path("conf")] if Path("conf").is_dir() else []
    common = ("draw=false", "threads=1", f"hydra.run.dir=runs/{name}")
    with contextlib.suppress(NonFiniteError):
        train.run(compose.compose([*overrides, *common], folders))
    return Path("runs", name)


def find_rules(path: Path) -> dict[str, finding.Finding]:
    """Return the findings of a run by rule."""
    text = (path / "config.yaml").read_text()
    modules = [name for name in ("own_broken", "family_models") if name in text]
    live, problem = live_run.load_live_run(saved_run.load(path, modules))
    assert not problem, problem
    record = read_record(path)
    found = diagnose.diagnose(finding.Evidence(record, live, problem, find_siblings(record)))
    return {each.rule: each for each in found}


def table(name: str, *overrides: str) -> tuple[str, ...]:
    return (*MLP, "data=csv", f"data.path={name}.csv", "data.target=target", "batch_size=32", *overrides)


def make_impossible() -> Path:
    """Return a run that is better than the best possible one, as if its inputs contained the target."""
    path = train_run("impossible", *table("clean", "epochs=30"))
    values = json.loads((path / "results.json").read_text())
    values["best_possible"] = {"nll": 0.5}
    (path / "results.json").write_text(json.dumps(values))
    return path


def make_noisy_seeds() -> Path:
    """Return a run of the better one of two settings whose difference is chance."""
    scores = {}
    for width in (8, 9):
        words = ("model=mlp", f"model.hidden=[{width}]", "data=moons", "data.rows=300", "epochs=10", "monitor=nll")
        paths = [train_run(f"seeds/{width}-{seed}", *words, f"seed={seed + width}") for seed in (0, 10)]
        results = [json.loads((path / "results.json").read_text()) for path in paths]
        scores[sum(each["test"]["nll"] for each in results)] = paths[0]
    return scores[min(scores)]


PLUGINS = ("plugins=[own_broken]",)
BROKEN: Mapping[str, tuple[str, Callable[[], Path]]] = {
    "no target in the inputs": ("not learning", lambda: train_run("chance", *table("chance", "epochs=3"))),
    "tiny rate": ("learning rate", lambda: train_run("tiny", *MLP, *DIGITS, "epochs=3", "optimizer.lr=1e-9")),
    "huge rate": ("learning rate", lambda: train_run("huge", *MLP, *DIGITS, "epochs=6", "optimizer.lr=30")),
    # The score of initial weights is a little better than the baseline.
    "tiny rate, lucky weights": (
        "learning rate",
        lambda: train_run("lucky", "model=gcn", "data=sbm", "epochs=40", "optimizer.lr=1e-8"),
    ),
    # The loss falls, but from a value far above that of the initial weights.
    "huge rate, falling loss": (
        "not learning",
        lambda: train_run("falling", *TRANSFORMER, *SEQUENCES, "epochs=8", "optimizer.lr=10"),
    ),
    "dead units": ("dead units", lambda: train_run("dead", *PLUGINS, "model=dead", "data=moons", "epochs=2")),
    "saturated gates": (
        "saturated gates",
        lambda: train_run("saturated", *PLUGINS, "model=saturated", *SEQUENCES, "epochs=2"),
    ),
    "explodes": (
        "exploding",
        lambda: train_run("explodes", *MLP, "data=diabetes", "optimizer=sgd", "optimizer.lr=1e3"),
    ),
    "a row": ("NaN", lambda: train_run("root", *PLUGINS, "model=root", "data=moons", "data.rows=600")),
    "a skipped row": (
        "NaN",
        lambda: train_run(
            "skipped", *PLUGINS, "model=root", "data=moons", "data.rows=600", "on_nonfinite=skip", "epochs=2"
        ),
    ),
    "over-fitting": (
        "over-fitting",
        lambda: train_run("overfit", "model=mlp", "model.hidden=[256]", *SEQUENCES, "epochs=40", "optimizer.lr=1e-2"),
    ),
    "under-trained": (
        "under-trained",
        lambda: train_run("short", *MLP, *DIGITS, "epochs=8", "optimizer.lr=3e-3", "scheduler=constant"),
    ),
    "slow rows": ("data starved", lambda: train_run("slow", *PLUGINS, *MLP, "data=slow", "epochs=2")),
    "rare class": ("imbalance", lambda: train_run("rare", *table("rare", "epochs=5"))),
    "copied rows": ("leakage", lambda: train_run("twice", *table("twice", "epochs=20"))),
    "impossible score": ("leakage", make_impossible),
    "wrong labels": ("label noise", lambda: train_run("noisy", *table("noisy", "epochs=30"))),
    "seeds": ("seed noise", make_noisy_seeds),
}
SAMPLES = ("task.samples=50", "task.classifier=null")
HEALTHY: Mapping[str, tuple[str, ...]] = {
    "mlp": ("model=mlp", "data=moons", "data.rows=600", "epochs=30"),
    "regression": ("model=mlp", "data=diabetes"),
    "gcn": ("model=gcn", "data=sbm"),
    "forecaster": ("model=dlinear", "data=sine_trend", "epochs=10"),
    "seq2seq": (
        *("model=seq2seq", "data=reverse", "data.rows=300", "data.length=4", "model.hidden_size=32", "epochs=15"),
    ),
    "transformer": (*(*TRANSFORMER, "data=synthetic_seq", "data.rows=600", "epochs=8"),),
    "vae": ("model=vae", "data=linear_gaussian", "data.rows=300", "epochs=60"),
    "vq_vae": ("model=vq_vae", "data=clusters16", "data.rows=500", "val_every=1", "task.samples=50"),
    "wgan_gp": ("model=wgan_gp", "data=ring", "data.rows=500", "max_steps=400", "val_every=2", *SAMPLES),
    "diffusion": (
        *("model=diffusion", "data=ring", "data.rows=300", "max_steps=300", "val_every=5", "task.steps=2"),
        "task.samples=20",
    ),
    "graph_vae": ("model=graph_vae", "data=sbm_pairs", "data.nodes=200", "data.p_within=0.1"),
    "bipartite_gnn": ("model=bipartite_gnn", "data=clicks", "data.users=60", "data.items=40"),
}
"""Runs of different families that are trained to the end, and of which nothing is unusual."""
