"""What ``import trainer`` offers: three functions called from a larger program, and the names that plugins import."""

from __future__ import annotations

import ast
import random
import subprocess
import sys
import threading
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import trainer
from tests.helpers.commands import SMALL
from trainer.utils.errors import ConfigError

pytestmark = pytest.mark.usefixtures("in_tmp")


def drawn() -> list[float]:
    return [float(torch.rand(())), random.random(), float(np.random.uniform())]


@pytest.mark.parametrize("call", [trainer.run, trainer.build])
def test_a_program_that_draws_its_own_numbers_goes_on_drawing_them(call: Any) -> None:
    """A search that draws each setting between runs would else draw the same one every time."""
    found = []
    for calls in (False, True):
        torch.manual_seed(3)
        random.seed(3)
        np.random.seed(3)
        for _ in range(3):
            found.append(drawn())
            if calls:
                call(trainer.compose([*SMALL, "model.dropout=0.1"]))
    assert found[:3] == found[3:]
    assert found[0] != found[1]


@pytest.mark.parametrize("call", [trainer.run, trainer.build])
def test_a_run_beside_another_in_a_thread_is_refused_and_leaves_it_alone(call: Any) -> None:
    config = trainer.compose([*SMALL, "model.dropout=0.3", "epochs=40"])
    alone = trainer.run(config)
    refused: list[str] = []
    other = trainer.compose([*SMALL, "seed=1"])

    def run_beside() -> None:
        while len([*Path("outputs").glob("2*/*/train.log")]) < 2:  # until the first has made its folder
            time.sleep(0.001)
        try:
            call(other)
        except ConfigError as error:
            refused.append(str(error))

    second = threading.Thread(target=run_beside)
    second.start()
    result = trainer.run(config)
    second.join()
    assert len(refused) == 1
    assert "another thread of this process is training" in refused[0]
    assert result.test == alone.test
    assert len([*Path("outputs").glob("2*/*")]) == 2, "the refused one touched nothing"
    log = (Path(result.folder) / "train.log").read_text(encoding="utf-8")
    assert log.count("epoch") == (Path(alone.folder) / "train.log").read_text(encoding="utf-8").count("epoch")


def test_importing_the_package_imports_neither_torch_nor_hydra() -> None:
    heavy = "{'torch', 'hydra', 'omegaconf', 'numpy', 'importlib.metadata', 'trainer.core'} & sys.modules.keys()"
    code = f"import sys, trainer; dir(trainer); sys.exit(str(found) if (found := {heavy}) else 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_each_public_name_is_there_and_known_to_type_checkers() -> None:
    assert all(getattr(trainer, name) is not None for name in trainer.__all__)
    assert set(trainer.__all__) <= set(dir(trainer))
    tree = ast.parse(Path(str(trainer.__file__)).read_text(encoding="utf-8"))
    (typed,) = (node for node in tree.body if isinstance(node, ast.If))
    imported = {
        f"{node.module}.{n.name}" for node in typed.body if isinstance(node, ast.ImportFrom) for n in node.names
    }
    assert imported == {f"{module}.{name}" for module, names in trainer._MODULES.items() for name in names}
    assert {name.rpartition(".")[2] for name in imported} | {"__version__", "build", "compose", "run"} == {
        *trainer.__all__
    }
    with pytest.raises(AttributeError, match="has no attribute 'Tasks'"):
        _ = trainer.Tasks


def test_the_version_is_that_of_the_installed_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def find_none(_: str) -> str:
        raise metadata.PackageNotFoundError

    assert trainer.__version__ == metadata.version("train-zoo")
    monkeypatch.setattr(metadata, "version", find_none)
    assert trainer._read_version() == "0+unknown"
