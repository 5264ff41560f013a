"""Errors of models and data sets are reported with their keys, exit code 2 and no traceback."""

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
from trainer.data.augment.image_ops import GeometricTransform
from trainer.data.readers import text_file
from trainer.engine.config_errors import add_keys, explain_errors
from trainer.models.layers.sequence.sequence_pool import SequencePool
from trainer.utils.errors import ConfigError, DataError, SystemFault

TRAINER = Path(__file__).parents[2] / "trainer"
MODELS = TRAINER / "models"
UNCONVERTED = ("tasks/",)
"""Packages that still raise ConfigError."""
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


@pytest.mark.slow
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
def plugin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Change to a folder with a plugin that has not been imported."""
    (tmp_path / "fussy.py").write_text(FUSSY)
    (tmp_path / "yaml/model").mkdir(parents=True)
    keys = "_target_: fussy.Fussy\nin_features: ???\nout_features: ???\nheads: 1 # sharers\nmost: 1000000 # batches\n"
    (tmp_path / "yaml/model/fussy.yaml").write_text(keys)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    plugins.declare_plugins([])
    sys.modules.pop("fussy", None)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.heads=3", "error: model.heads: 3 given; at most 2"),
        ("model.heads=2", "error: model: the columns cannot be shared"),
        ("model.most=0", "error: model: forward(x) cannot take this data (x (16, 13)): zero is too few"),
        ("model.most=3", "error: model.most: no more than 3 batches"),
    ],
)
@pytest.mark.usefixtures("plugin_folder")
def test_plugin_model_error_is_reported_with_its_key(
    override: str, message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--config-dir", "yaml", "plugins=[fussy]", "model=fussy", "data=wine", "batch_size=16", override)
    code, err = run_main(capsys, monkeypatch, *options, "epochs=1", "draw=false", "threads=1")
    assert code == 2
    assert err.strip().splitlines()[-1] == message
    assert "Traceback" not in err


def test_only_errors_raised_by_the_model_are_user_errors() -> None:
    pool = SequencePool("flatten", 3, 4)
    with pytest.raises(ConfigError, match=r"^model\.pool: flatten was built for 4 steps and got 5;") as caught:  # noqa: SIM117
        with explain_errors({"model": {"pool": "flatten"}}, "model"):
            pool(torch.randn(2, 5, 3), torch.randn(2, 3), None)
    assert isinstance(caught.value.__cause__, ValueError)
    with pytest.raises(ValueError, match="Expected more than 1 value") as other:  # noqa: SIM117
        with explain_errors({"model": {"pool": "flatten"}}, "model"):
            torch.nn.BatchNorm1d(3)(torch.randn(1, 3))
    assert not isinstance(other.value, ConfigError)


def test_error_without_a_key_is_attributed_to_the_model() -> None:
    assert add_keys(ValueError("pools: 3 given"), "model", {"pool": 1}) == ["model: pools: 3 given"]
    assert add_keys(ValueError("pool: 3 given"), "model", {"pool": 1}) == ["model.pool: 3 given"]


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        ("path: no such file", "data.path: no such file"),
        ("path and columns: given twice", "data.path and data.columns: given twice"),
        ("path, columns and val: given twice", "data.path, data.columns and data.val: given twice"),
        ("val and columns select rows", "data.val and data.columns select rows"),
        ("path and test: given twice", "path and test: given twice"),  # not all are keys
        ("val rows: 3", "val rows: 3"),
        ("rows.csv: row 3: no number", "rows.csv: row 3: no number"),
        ("input: no such file", "input: no such file"),
        ("data_dir: no such directory", "data_dir: no such directory"),  # a global key
        ("data.path: no such file", "data.path: no such file"),
        ("3 rows are too few", "data: 3 rows are too few"),
    ],
)
def test_arguments_of_a_data_set_are_named_by_their_keys(problem: str, expected: str) -> None:
    node = {"_target_": "a.B", "path": "x", "columns": None, "val": 0.1, "data_dir": None}
    assert add_keys(DataError(problem), "data", node) == [expected]
    hints = add_keys(DataError(problem, "remove it", "val: 0.2 is possible"), "data", node)
    assert hints == [expected, "remove it", "data.val: 0.2 is possible"]


def test_reader_errors_get_their_key_in_any_group(tmp_path: Path) -> None:
    config = {"model": {"path": 1}, "data": {"path": 1}}
    for group in ("model", "data"):
        with pytest.raises(ConfigError, match=r"^data\.path: .*/none does not exist"), explain_errors(config, group):
            text_file.read(tmp_path / "none", "path")
        with pytest.raises(SystemFault, match=r"^data\.path: cannot read"), explain_errors(config, group):
            text_file.read(tmp_path / ("a" * 1000), "path")
    transform, augment = GeometricTransform((False, False), 0.0, 0.0, 0, 6), {"augment": {"window": 6}}
    with pytest.raises(ConfigError, match=r"^augment\.window: 6 pixels"), explain_errors(config | augment, "model"):
        transform.sampling_grid({}, 7, 5)
    with pytest.raises(ConfigError, match=r"^model\.path: a$"), explain_errors(config, "model"):
        raise ConfigError("model.path: a")


PLAIN_ROWS = """
import torch

from trainer import Dataset, DatasetInfo, split_by_order


class Rows(Dataset):
    shapes = "x (B, F) -> (B, K)"

    def __init__(self, path: str, rows: int):
        if path == "none":
            raise ValueError("path: no such file")
        if rows < 3:
            raise ValueError("too few rows")
        x = torch.rand(rows, 1)
        self.train, self.val, self.test = split_by_order({"x": x}, x)
        self.info = DatasetInfo(sizes={"in_features": 1, "flat_features": 1, "out_features": 1}, baseline={})
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("data.path=none", "error: data.path: no such file"),
        ("data.rows=2", "error: data: too few rows"),
    ],
)
def test_plugin_dataset_error_is_reported_with_its_key(
    tmp_path: Path,
    override: str,
    expected: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "rows.py").write_text(PLAIN_ROWS)
    (tmp_path / "yaml/data").mkdir(parents=True)
    (tmp_path / "yaml/data/rows.yaml").write_text(
        "# @package _global_\n# Rows.\ndefaults:\n  - override /task@_global_.task: regression\n"
        "data:\n  _target_: rows.Rows\n  path: file\n  rows: 30 # rows\n"
    )
    options = ("--config-dir", "yaml", "plugins=[rows]", "model=mlp", "data=rows", "epochs=1", "draw=false")
    monkeypatch.chdir(tmp_path)
    code, err = run_main(capsys, monkeypatch, *options, override, "threads=1")
    plugins.declare_plugins([])
    sys.modules.pop("rows", None)
    assert code == 2, err
    assert err.strip().splitlines()[-1] == expected
    assert "Traceback" not in err


@pytest.mark.slow
def test_data_sets_models_and_tasks_do_not_import_config_error() -> None:
    files = (path for package in ("data", "models", "tasks") for path in (TRAINER / package).rglob("*.py"))
    found = {
        str(path.relative_to(TRAINER))
        for path in files
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and "ConfigError" in {name.name for name in node.names}
    }
    assert not {path for path in found if not path.startswith(UNCONVERTED)}
    assert all(any(path.startswith(prefix) for path in found) for prefix in UNCONVERTED), (
        "a converted package is still listed"
    )
