"""Run directories that an editor, a script or a wrong copy has changed, and commands on them."""

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
from tests.helpers.bases import words_of
from trainer.cli import main
from trainer.utils.errors import UserError

OTHERS: list[Callable[[], Any]] = [
    *(lambda: None, lambda: 0, lambda: -1, lambda: 2**70, lambda: 1e9, lambda: float("nan"), lambda: True),
    *(lambda: "x", lambda: "1", lambda: [], lambda: [[]], lambda: ["x", 1], lambda: {}, lambda: {"x": {"y": None}}),
]
TENSORS: list[Callable[[], Any]] = [
    lambda: torch.zeros(0),
    lambda: torch.full((3,), float("nan")),
    lambda: torch.ones(2, 2, dtype=torch.int64),
]
FILES = ["best.pt", "last.pt", "results.json", "config.yaml"]
AS_FOLDERS = [*FILES, "previous.pt", "metrics.csv", "curves.png", "train.log", ".lock"]
RUNS: dict[tuple[str, ...], Path] = {}


def trained(base: str, *words: str) -> Path:
    """Return the directory of a run of a base, trained once."""
    key = (base, *words)
    if key not in RUNS:
        kept = Path(tempfile.mkdtemp())
        with contextlib.redirect_stdout(io.StringIO()):
            try:
                main.run_command([*words_of(base), *words, f"hydra.run.dir={kept}/run"])
            except UserError as error:
                # A refusal of a case would be right; of what cases are made of, it hides them all.
                raise AssertionError(f"the run of {base} is refused: {error}") from error
        RUNS[key] = kept / "run"
    return RUNS[key]


def runs(rng: random.Random) -> list[str]:
    """Files whose bytes or lines were lost or changed."""
    base = rng.choice(["mlp", "text", "csv"])
    shutil.copytree(trained(base), "run")
    found = [path for path in sorted(Path("run").iterdir()) if path.suffix in (".yaml", ".json", ".pt", ".csv")]
    for path in rng.sample(found, rng.randrange(1, 3)):
        mutations.spoil_file(rng, path)
    return use(rng, base)


def states(rng: random.Random) -> list[str]:
    """Files that can be read, with something else in them."""
    base = rng.choice(["mlp", "text", "csv", "averaged", "vae", "gan"])
    shutil.copytree(trained(base), "run")
    for _ in range(rng.randrange(1, 3)):
        if rng.random() < 0.15:
            replace_by_folder(rng, Path("run", rng.choice(AS_FOLDERS)))
        else:
            edit(rng, Path("run", rng.choice(FILES[:2] * 2 + FILES[2:])))
    return use(rng, base)


def foreign(rng: random.Random) -> list[str]:
    """A file of another run, or a checkpoint with a tensor where none is: each to be refused by what reads it."""
    base = rng.choice(["mlp", "text", "csv", "averaged", "vae", "gan"])
    shutil.copytree(trained(base), "run")
    name = rng.choice(FILES)
    path = Path("run", name)
    if path.suffix == ".pt" and rng.random() < 0.6:
        state = torch.load(path, weights_only=True)
        change(rng, state, TENSORS[:1], loss=0)
        torch.save(state, path)
    else:
        others = [trained(base, "seed=1"), trained("mlp" if base == "csv" else "csv")]
        shutil.copy(rng.choice(others) / name, path)
    if name == "last.pt" or rng.random() < 0.2:
        interrupt()
        return ["resume", "run"]
    return ["evaluate", "run"] if rng.random() < 0.5 else ["show", "run"]


def use(rng: random.Random, base: str) -> list[str]:
    """A command that reads the folder ``run``, which is of a base."""
    verb = rng.choice(
        ["evaluate", "show", "features", "resume", "resume=run", "resume=auto", "sample", "score", "report"]
    )
    if verb.startswith("resume") and rng.random() < 0.8:
        interrupt()
    if "=" in verb:
        return [*words_of(base), verb, "hydra.run.dir=run"]
    if verb == "features":
        return ["show", "run", f"features={rng.choice(['model', 'model.0', 'model.layers.0', 'nope'])}", "row=0"]
    more = {"sample": ["prompt=the"] if base == "text" else [], "score": rng.choice([[], ["input=table.csv"]])}
    return [verb, "run", *more.get(verb, [])]


def interrupt() -> None:
    """Makes the results say that the run was stopped."""
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


def edit(rng: random.Random, path: Path) -> None:
    """Changes values in a file of a run, in its own format."""
    if not path.is_file():
        return
    if path.suffix == ".pt":
        state = torch.load(path, weights_only=True)
        change(rng, state, OTHERS + TENSORS)
        torch.save(state, path)
    elif path.suffix == ".json":
        found = json.loads(path.read_text())
        change(rng, found, OTHERS)
        path.write_text(json.dumps(found))
    else:
        found = yaml.safe_load(path.read_text())
        change(rng, found, OTHERS)
        path.write_text(yaml.safe_dump(found))


def change(rng: random.Random, whole: Any, others: list[Callable[[], Any]], loss: float = 0.2) -> None:
    """Puts another value anywhere into nested mappings and lists, or takes one out."""
    node = whole
    while True:
        key = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
        if not isinstance(node[key], dict | list) or not node[key] or rng.random() < 0.2:
            break
        node = node[key]
    if rng.random() < loss:
        del node[key]
    else:
        node[key] = rng.choice(others)()
