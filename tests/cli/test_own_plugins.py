"""Model and data set of a plugin in commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.commands import find_runs, train, write

PLUGIN_FILES = {
    "mine.py": '''
        """A user's own model and data set."""
        from __future__ import annotations
        import torch
        from torch import Tensor, nn
        from trainer.core.dataset import Dataset
        from trainer.core.split import TensorSplit
        from trainer.core.dataset_info import DatasetInfo
        from trainer.core.types import PositiveInt

        class Linear(nn.Module):
            """One weight a feature."""

            shapes = "x (B, F) -> (B, K)"
            def __init__(self, in_features: int, out_features: int, width: PositiveInt):
                super().__init__()
                self.net = nn.Sequential(nn.Linear(in_features, width), nn.Linear(width, out_features))

            def forward(self, x: Tensor) -> Tensor:
                return self.net(x)

        class Sums(Dataset):
            """The sum of the numbers."""

            shapes = "x (B, F) -> (B, K)"
            def __init__(self, rows: PositiveInt, seed: int):
                x = torch.randn(rows, 3, generator=torch.Generator().manual_seed(seed))
                part = rows // 3
                parts = [x[:part], x[part:2 * part], x[2 * part:]]
                self.train, self.val, self.test = (TensorSplit({"x": p}, p.sum(1, keepdim=True)) for p in parts)
                sizes = {"in_features": 3, "out_features": 1, "flat_features": 3}
                self.info = DatasetInfo(sizes=sizes, baseline={"mse": 3.0})
    '''.replace("\n        ", "\n"),
    "conf/model/mine.yaml": "# A line of my own.\n_target_: mine.Linear\nin_features: ??? # from the data\n"
    "out_features: ??? # from the data\nwidth: 4 # of the middle\n",
    "conf/data/sums.yaml": "# @package _global_\n# Sums of three numbers.\ndefaults:\n"
    "  - override /task@_global_.task: regression\n\nepochs: 2\ndata:\n  _target_: mine.Sums\n"
    "  rows: 90 # in all\n  seed: 0 # of the data\n",
}


@pytest.mark.slow
def test_plugin_model_and_data_set_train(tmp_path: Path) -> None:
    write(tmp_path, PLUGIN_FILES)
    arguments = ("--config-dir", "conf", "plugins=[mine]", "model=mine", "data=sums")
    process = train(*arguments, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert "mine on sums: " in process.stdout
    assert len(find_runs(tmp_path)) == 1
    typo = train(*arguments, "model.widht=3", cwd=tmp_path)
    assert (typo.returncode, "did you mean model.width?" in typo.stderr) == (2, True)
    undeclared = train("--config-dir", "conf", "model=mine", "data=sums", cwd=tmp_path)
    assert undeclared.returncode == 2
    assert "target 'mine.Linear' is not on the allow-list; if the module is yours, plugins=[mine]" in undeclared.stderr
    mixed = train(*arguments[:3], "data=sums", "model=mlp", "model.hidden=[]", cwd=tmp_path)
    assert mixed.returncode == 0, mixed.stderr
    misfit = train(*arguments[:3], "model=mine", "data=synthetic_seq", cwd=tmp_path)
    assert misfit.returncode == 2
    assert "sums" in misfit.stderr.split("works with: ")[1]


@pytest.mark.slow
def test_evaluate_requires_the_plugin_of_the_run(tmp_path: Path) -> None:
    write(tmp_path, PLUGIN_FILES)
    assert train("--config-dir", "conf", "plugins=[mine]", "model=mine", "data=sums", cwd=tmp_path).returncode == 0
    refused = train("evaluate", str(find_runs(tmp_path)[0]), cwd=tmp_path)
    assert (refused.returncode, "plugins=[mine]" in refused.stderr) == (2, True), refused.stderr
    process = train("evaluate", str(find_runs(tmp_path)[0]), "plugins=[mine]", cwd=tmp_path)
    assert process.returncode == 0, process.stderr


@pytest.mark.slow
def test_plugin_with_syntax_error_is_reported(tmp_path: Path) -> None:
    write(tmp_path, PLUGIN_FILES | {"mine.py": "class Linear(:\n"})
    process = train("--config-dir", "conf", "plugins=[mine]", "model=mine", "data=sums", cwd=tmp_path)
    assert (process.returncode, "mine.py, line 1" in process.stderr) == (2, True), process.stderr
    assert "Traceback" not in process.stderr
