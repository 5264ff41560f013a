"""Target kinds of built-in and plugin tasks, and user tables read accordingly."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.commands import train, write
from trainer.config import compatibility, plugins, registry

KINDS = {
    "classification": "class",
    "density": "class",
    "diffusion": "class",
    "flow_matching": "class",
    "gan": "class",
    "graph_generation": "class",
    "language": "class",
    "links": "class",
    "ranking": "class",
    "regression": "number",
    "segmentation": "class",
    "seq2seq": "class",
    "vae": "class",
    "vq_vae": "class",
}
PLUGIN = """
import torch
from torch import Tensor, nn

from trainer.core.batch import Batch, Score
from trainer.core.task import Task
from trainer.core.types import Fraction
from trainer.tasks.classification import Classification
from trainer.tasks.regression import Regression


class Quantile(Task):
    shapes = "(B, ...) -> (B, ...)"
    monitor = "loss"

    def __init__(self, model: nn.Module, level: Fraction):
        super().__init__(model)
        self.level = level

    def pinball(self, batch: Batch) -> Tensor:
        error = batch.target - self.forward_batch(batch)
        return torch.maximum(self.level * error, (self.level - 1) * error)

    def loss(self, batch: Batch, group: str) -> Tensor:
        return self.pinball(batch).mean()

    def score(self, batch: Batch) -> Score:
        each = self.pinball(batch)
        return {"sum": each.sum(), "count": torch.tensor(each.numel())}

    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        return {"loss": float(totals["sum"] / totals["count"])}


class Inherits(Classification):
    pass


class Codes(Quantile):
    target_kind = "class"


class Silent(Task):
    pass
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rows = [f"{i % 17},{i % 5},{3 * (i % 17) + (i % 5) / 3}" for i in range(120)]
    monkeypatch.chdir(tmp_path)
    return write(
        tmp_path,
        {
            "own_tasks.py": PLUGIN,
            "houses.csv": "\n".join(["size,rooms,price", *rows]) + "\n",
            "yaml/task/quantile.yaml": "_target_: own_tasks.Quantile\nlevel: 0.9 # share below\n",
            "yaml/task/silent.yaml": "_target_: own_tasks.Silent\n",
        },
    )


def test_each_built_in_task_declares_its_target_kind() -> None:
    kinds = {
        name: compatibility.infer_target_kind(str(option.class_path))
        for name, option in registry.list_options("task").items()
    }
    assert kinds == KINDS


@pytest.mark.parametrize(
    ("name", "kind"), [("Quantile", "number"), ("Inherits", "class"), ("Codes", "class"), ("Silent", None)]
)
@pytest.mark.usefixtures("folder")
def test_target_kind_of_a_plugin_task_is_inferred(name: str, kind: str | None) -> None:
    plugins.declare_plugins(["own_tasks"])
    assert compatibility.infer_target_kind(f"own_tasks.{name}") == kind
    plugins.declare_plugins([])


CSV = ("--config-dir", "yaml", "plugins=[own_tasks]", "model=mlp", "data=csv", "data.path=houses.csv")


@pytest.mark.slow
def test_plugin_task_trains_on_a_user_table(folder: Path) -> None:
    arguments = (*CSV, "data.target=price", "task=quantile", "monitor=loss", "epochs=2", "draw=false", "device=cpu")
    process = train(*arguments, "hydra.run.dir=outputs/one", cwd=folder)
    assert process.returncode == 0, process.stderr
    assert "price: target, number" in (folder / "outputs/one/train.log").read_text() + process.stdout
    resumed = train("resume", "outputs/one", "plugins=[own_tasks]", cwd=folder)
    assert resumed.returncode == 0, resumed.stderr
    assert "target_kind: null" in (folder / "outputs/one/config.yaml").read_text()


@pytest.mark.slow
def test_task_without_a_target_kind_is_reported_with_a_hint(folder: Path) -> None:
    process = train(*CSV, "data.target=price", "task=silent", "monitor=null", cwd=folder)
    assert process.returncode == 2
    message = "error: data.target_kind: the task accepts classes and numbers; set it to class or number"
    assert process.stderr.strip().splitlines()[-1] == message
