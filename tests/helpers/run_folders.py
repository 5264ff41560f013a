"""Run directories with corrupted or wrong files, and commands that read them."""

from __future__ import annotations

import contextlib
import io
import json
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml

from tests.helpers import mutations
from tests.helpers.bases import get_overrides
from trainer.cli import main
from trainer.utils.errors import UserError

VALUES: list[Callable[[], Any]] = [
    *(lambda: None, lambda: 0, lambda: -1, lambda: 2**70, lambda: 1e9, lambda: float("nan"), lambda: True),
    *(lambda: "x", lambda: "1", lambda: [], lambda: [[]], lambda: ["x", 1], lambda: {}, lambda: {"x": {"y": None}}),
]
TENSORS: list[Callable[[], Any]] = [
    lambda: torch.zeros(0),
    lambda: torch.full((3,), float("nan")),
    lambda: torch.ones(2, 2, dtype=torch.int64),
]
FILES = ["best.pt", "last.pt", "results.json", "config.yaml"]
REPLACEABLE = [*FILES, "previous.pt", "metrics.csv", "curves.png", "train.log", ".lock"]
RUNS: dict[tuple[str, ...], Path] = {}


def train_base(base: str, *overrides: str) -> Path:
    """Return the directory of a run of a base, trained once."""
    key = (base, *overrides)
    if key not in RUNS:
        folder = Path(tempfile.mkdtemp())
        with contextlib.redirect_stdout(io.StringIO()):
            try:
                main.run_command([*get_overrides(base), *overrides, f"hydra.run.dir={folder}/run"])
            except UserError as error:
                # Cases may be refused, but a refused base would hide all of its cases.
                raise AssertionError(f"the run of {base} is refused: {error}") from error
        RUNS[key] = folder / "run"
    return RUNS[key]


def runs(rng: random.Random) -> list[str]:
    """Corrupt bytes or lines of files of a run; return a command."""
    base = rng.choice(["mlp", "text", "csv"])
    shutil.copytree(train_base(base), "run")
    found = [path for path in sorted(Path("run").iterdir()) if path.suffix in (".yaml", ".json", ".pt", ".csv")]
    for path in rng.sample(found, rng.randrange(1, 3)):
        mutations.mutate_file(rng, path)
    return choose_command(rng, base)


def states(rng: random.Random) -> list[str]:
    """Change values in files of a run, which stay readable; return a command."""
    base = rng.choice(["mlp", "text", "csv", "averaged", "vae", "gan"])
    shutil.copytree(train_base(base), "run")
    for _ in range(rng.randrange(1, 3)):
        if rng.random() < 0.15:
            replace_by_folder(rng, Path("run", rng.choice(REPLACEABLE)))
        else:
            edit_values(rng, Path("run", rng.choice(FILES[:2] * 2 + FILES[2:])))
    return choose_command(rng, base)


def foreign(rng: random.Random) -> list[str]:
    """Copy a file of another run, or put a tensor into a checkpoint; return a command that must be refused."""
    base = rng.choice(["mlp", "text", "csv", "averaged", "vae", "gan"])
    shutil.copytree(train_base(base), "run")
    name = rng.choice(FILES)
    path = Path("run", name)
    if path.suffix == ".pt" and rng.random() < 0.6:
        state = torch.load(path, weights_only=True)
        change_value(rng, state, TENSORS[:1], removal_rate=0)
        torch.save(state, path)
    else:
        runs_of_others = [train_base(base, "seed=1"), train_base("mlp" if base == "csv" else "csv")]
        shutil.copy(rng.choice(runs_of_others) / name, path)
    if name == "last.pt" or rng.random() < 0.2:
        mark_interrupted()
        return ["resume", "run"]
    return ["evaluate", "run"] if rng.random() < 0.5 else ["show", "run"]


def hub_folders(rng: random.Random) -> list[str]:
    """Corrupt bytes of files of a hub folder, or change values that stay readable; return a command."""
    base = rng.choice(["mlp", "text", "csv", "vae"])
    shutil.copytree(export_base(base), "run")
    if rng.random() < 0.4:
        mutations.mutate_file(rng, Path("run", rng.choice(["config.json", "model.safetensors"])))
    for _ in range(rng.randrange(1, 3)):
        with contextlib.suppress(ValueError):  # no JSON anymore
            edit_values(rng, Path("run", "config.json"))
    return choose_command(rng, base)


def export_base(base: str) -> Path:
    """Return the hub folder of a run of a base, exported once."""
    key = ("hub", base)
    if key not in RUNS:
        folder = Path(tempfile.mkdtemp())
        with contextlib.redirect_stdout(io.StringIO()):
            main.run_command(["export", str(train_base(base)), "format=hub", f"output={folder}/export"])
        RUNS[key] = folder / "export" / "hub"
    return RUNS[key]


def choose_command(rng: random.Random, base: str) -> list[str]:
    """Return a command that reads the directory ``run`` of a base."""
    verb = rng.choice(
        ["evaluate", "show", "features", "resume", "resume=run", "resume=auto", "sample", "score", "report"]
    )
    if verb.startswith("resume") and rng.random() < 0.8:
        mark_interrupted()
    if "=" in verb:
        return [*get_overrides(base), verb, "hydra.run.dir=run"]
    if verb == "features":
        return ["show", "run", f"features={rng.choice(['model', 'model.0', 'model.layers.0', 'nope'])}", "row=0"]
    arguments = {"sample": ["prompt=the"] if base == "text" else [], "score": rng.choice([[], ["input=table.csv"]])}
    return [verb, "run", *arguments.get(verb, [])]


def mark_interrupted() -> None:
    """Mark the run as interrupted."""
    file = Path("run/results.json")
    if file.is_file():
        text = file.read_text(encoding="utf-8", errors="surrogateescape")
        file.write_text(text.replace('"finished"', '"interrupted"'), encoding="utf-8", errors="surrogateescape")


def replace_by_folder(rng: random.Random, path: Path) -> None:
    if path.is_dir():
        return
    path.unlink(missing_ok=True)
    path.mkdir()
    if rng.random() < 0.5:
        (path / "x").touch()


def edit_values(rng: random.Random, path: Path) -> None:
    """Change values in a file of a run, in its own format."""
    if not path.is_file():
        return
    if path.suffix == ".pt":
        state = torch.load(path, weights_only=True)
        change_value(rng, state, VALUES + TENSORS)
        torch.save(state, path)
    elif path.suffix == ".json":
        content = json.loads(path.read_text())
        change_value(rng, content, VALUES)
        path.write_text(json.dumps(content))
    else:
        content = yaml.safe_load(path.read_text())
        change_value(rng, content, VALUES)
        path.write_text(yaml.safe_dump(content))


def change_value(rng: random.Random, whole: Any, values: list[Callable[[], Any]], removal_rate: float = 0.2) -> None:
    """Replace or remove a random value in nested mappings and lists."""
    node = whole
    while True:
        key = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
        if not isinstance(node[key], dict | list) or not node[key] or rng.random() < 0.2:
            break
        node = node[key]
    if rng.random() < removal_rate:
        del node[key]
    else:
        node[key] = rng.choice(values)()
