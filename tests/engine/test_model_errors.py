"""What a model refuses, as a user is told it: with the key, by exit code 2, without a traceback."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.helpers.in_process import run_main
from trainer.config import plugins
from trainer.engine.model_errors import explain_model_errors, name_model_key
from trainer.models.layers.sequence.sequence_pool import SequencePool
from trainer.utils.errors import ConfigError

MODELS = Path(__file__).parents[2] / "trainer/models"
FUSSY = """
import torch
from torch import nn


class Fussy(nn.Module):
    shapes = "x (B, F) -> (B, C)"

    def __init__(self, in_features: int, out_features: int, heads: int, most: int):
        super().__init__()
        if heads > 2:
            raise ValueError(f"heads: {heads} given; at most 2")
        if in_features % heads:
            raise ValueError("the columns cannot be shared")
        self.most = most
        self.calls = 0
        self.linear = nn.Linear(in_features, out_features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += self.training
        if self.calls > self.most:
            raise ValueError(f"most: no more than {self.most} batches")
        if self.most == 0:
            raise ValueError("zero is too few")
        return self.linear(x)
"""


def test_models_do_not_raise_config_errors() -> None:
    nodes = [
        (f"{path}:{getattr(node, 'lineno', 0)}", node)
        for path in MODELS.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
    ]
    assert not [at for at, node in nodes if isinstance(node, ast.Name) and node.id == "ConfigError"]
    texts = [(at, node.value) for at, node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    assert not [at for at, text in texts if re.search(r"\bmodel\.[a-z]", text)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with a plugin that was not imported before."""
    (tmp_path / "fussy.py").write_text(FUSSY)
    (tmp_path / "yaml/model").mkdir(parents=True)
    keys = "_target_: fussy.Fussy\nin_features: ???\nout_features: ???\nheads: 1 # sharers\nmost: 1000000 # batches\n"
    (tmp_path / "yaml/model/fussy.yaml").write_text(keys)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    plugins.declare_plugins([])
    sys.modules.pop("fussy", None)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("model.heads=3", "error: model.heads: 3 given; at most 2"),
        ("model.heads=2", "error: model: the columns cannot be shared"),
        ("model.most=0", "error: model: forward(x) cannot take this data (x (16, 13)): zero is too few"),
        ("model.most=3", "error: model.most: no more than 3 batches"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_an_error_of_a_plugin_model_is_reported_with_its_key(
    override: str, told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = ("--config-dir", "yaml", "plugins=[fussy]", "model=fussy", "data=wine", "batch_size=16", override)
    code, err = run_main(capsys, monkeypatch, *chosen, "epochs=1", "draw=false", "threads=1")
    assert code == 2
    assert err.strip().splitlines()[-1] == told
    assert "Traceback" not in err


def test_only_errors_raised_by_the_model_are_user_errors() -> None:
    pool = SequencePool("flatten", 3, 4)
    with pytest.raises(ConfigError, match=r"^model\.pool: flatten was built for 4 steps and got 5;") as caught:  # noqa: SIM117
        with explain_model_errors({"pool": "flatten"}):
            pool(torch.randn(2, 5, 3), torch.randn(2, 3), None)
    assert isinstance(caught.value.__cause__, ValueError)
    with pytest.raises(ValueError, match="Expected more than 1 value") as other:  # noqa: SIM117
        with explain_model_errors({"pool": "flatten"}):
            torch.nn.BatchNorm1d(3)(torch.randn(1, 3))
    assert not isinstance(other.value, ConfigError)


def test_an_error_that_names_no_key_is_attributed_to_the_model() -> None:
    assert name_model_key(ValueError("pools: 3 given"), {"pool": 1}) == "model: pools: 3 given"
    assert name_model_key(ValueError("pool: 3 given"), {"pool": 1}) == "model.pool: 3 given"
