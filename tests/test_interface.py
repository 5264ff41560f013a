"""Public interface of the package: ``run``, ``build``, ``compose`` and the names that plugins import."""

from __future__ import annotations

import ast
import random
import signal
import subprocess
import sys
import textwrap
import threading
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

import trainer
from tests.helpers.commands import SMALL
from tests.helpers.marks import mark_slow_after
from trainer.engine.trainer import Trainer
from trainer.runs.run_report import RunReporter
from trainer.utils.errors import ConfigError

pytestmark = pytest.mark.usefixtures("in_tmp")


def draw_random_numbers() -> list[float]:
    return [float(torch.rand(())), random.random(), float(np.random.uniform())]


@pytest.mark.parametrize("call", [trainer.run, trainer.build])
def test_run_and_build_preserve_the_global_random_state(call: Any) -> None:
    """Otherwise a random search would draw the same setting before every run."""
    draws = []
    for is_called in (False, True):
        torch.manual_seed(3)
        random.seed(3)
        np.random.seed(3)
        for _ in range(3):
            draws.append(draw_random_numbers())
            if is_called:
                call(trainer.compose([*SMALL, "model.dropout=0.1"]))
    assert draws[:3] == draws[3:]
    assert draws[0] != draws[1]


@pytest.mark.parametrize("call", mark_slow_after(1, [trainer.run, trainer.build]))
def test_concurrent_run_in_another_thread_raises(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = trainer.compose([*SMALL, "model.dropout=0.3"])
    reference = trainer.run(config)
    errors: list[str] = []
    second_config = trainer.compose([*SMALL, "seed=1"])

    def run_second() -> None:
        try:
            call(second_config)
        except ConfigError as error:
            errors.append(str(error))

    def run_second_in_thread(_: object, trainer: Trainer, __: object) -> None:
        if trainer.step == 2:
            thread = threading.Thread(target=run_second)
            thread.start()
            thread.join()

    monkeypatch.setattr(RunReporter, "on_step_end", run_second_in_thread)
    result = trainer.run(config)
    assert len(errors) == 1
    assert "another thread of this process is training" in errors[0]
    assert result.test == reference.test
    assert len([*Path("outputs").glob("2*/*")]) == 2, "the refused run wrote nothing"
    log = (Path(result.run_dir) / "train.log").read_text(encoding="utf-8")
    assert log.count("epoch") == (Path(reference.run_dir) / "train.log").read_text(encoding="utf-8").count("epoch")


@pytest.mark.slow
def test_a_run_restores_the_global_state_of_the_process(capfd: pytest.CaptureFixture[str]) -> None:
    """Threads, signal handlers and Hydra's singletons are those of the caller; quiet prints nothing."""
    torch.set_num_threads(2)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    with initialize_config_dir(str(Path.cwd()), version_base="1.3", job_name="mine"):
        instances = GlobalHydra.instance(), HydraConfig.instance()
        hydra, hydra_config = instances[0].hydra, instances[1].cfg
        trainer.run(trainer.compose([*SMALL, "threads=1"]), quiet=True)
        assert GlobalHydra.instance() is instances[0]
        assert HydraConfig.instance() is instances[1]
        assert instances[0].hydra is hydra
        assert instances[1].cfg is hydra_config
    assert torch.get_num_threads() == 2
    assert handlers == {number: signal.getsignal(number) for number in handlers}
    assert capfd.readouterr() == ("", "")
    trainer.run(trainer.compose(SMALL))
    assert "saved in" in capfd.readouterr().out


def test_arguments_of_wrong_type_raise_type_error() -> None:
    with pytest.raises(TypeError, match=r"overrides must be a list of strings, such as \['model=lstm'\], not a string"):
        trainer.compose("model=lstm")
    for call in (trainer.run, trainer.build):
        with pytest.raises(TypeError, match=r"config must be the result of trainer\.compose, not a list"):
            call(["model=lstm"])  # type: ignore[arg-type]


@pytest.mark.slow
def test_run_in_a_thread_gives_the_same_scores() -> None:
    scores = []
    for in_thread in (False, True):
        config = trainer.compose([*SMALL, "epochs=2"])
        thread = threading.Thread(target=lambda config=config: scores.append(trainer.run(config).val))
        thread.start() if in_thread else thread.run()
        if in_thread:
            thread.join()
    assert scores[0] == scores[1]


@pytest.mark.slow
def test_edited_plugin_is_reloaded_by_the_next_call() -> None:
    text = """
        from torch import nn

        class Net(nn.Module):
            shapes = "x (B, F) -> (B, C)"

            def __init__(self, flat_features: int, out_features: int{more}):
                super().__init__()
                self.head = nn.Linear(flat_features, out_features)

            def forward(self, x):
                return self.head(x) * {factor}
    """
    file, yaml = Path("edited_net.py"), Path("conf/model/edited.yaml")
    yaml.parent.mkdir(parents=True)
    outputs = []
    for more, key, factor in (("", "", 0), (", width: int", "width: 5\n", 1)):
        file.write_text(textwrap.dedent(text.format(more=more, factor=factor)))
        yaml.write_text(f"_target_: edited_net.Net\nflat_features: ???\nout_features: ???\n{key}")
        words = ["model=edited", "data=moons", "plugins=[edited_net]"]
        _, task = trainer.build(trainer.compose(words, "conf"))
        outputs.append(float(task.model(torch.ones(1, 2)).detach().abs()))
    assert outputs[0] == 0 < outputs[1]


def test_importing_the_package_imports_neither_torch_nor_hydra() -> None:
    heavy = "{'torch', 'hydra', 'omegaconf', 'numpy', 'importlib.metadata', 'trainer.core'} & sys.modules.keys()"
    code = f"import sys, trainer; dir(trainer); sys.exit(str(found) if (found := {heavy}) else 0)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr


def test_public_names_exist_and_are_visible_to_type_checkers() -> None:
    assert all(getattr(trainer, name) is not None for name in trainer.__all__)
    assert set(trainer.__all__) <= set(dir(trainer))
    tree = ast.parse(Path(str(trainer.__file__)).read_text(encoding="utf-8"))
    (type_checking_block,) = (node for node in tree.body if isinstance(node, ast.If))
    imported = {
        f"{node.module}.{n.name}"
        for node in type_checking_block.body
        if isinstance(node, ast.ImportFrom)
        for n in node.names
    }
    assert imported == {f"{module}.{name}" for module, names in trainer._MODULES.items() for name in names}
    assert {name.rpartition(".")[2] for name in imported} | {"__version__", "build", "compose", "load", "run"} == {
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


PLUGIN = """
from torch import Tensor, nn


class Net(nn.Module):
    shapes = "x (B, F) -> (B, C)"

    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)
"""


@pytest.mark.slow
def test_a_configuration_keeps_its_plugins_when_another_is_composed(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("kept_plugin.py").write_text(PLUGIN)
    Path("yaml/model").mkdir(parents=True)
    Path("yaml/model/net.yaml").write_text("_target_: kept_plugin.Net\nin_features: ???\nout_features: ???\n")
    words = [word for word in SMALL if not word.startswith("model")]
    config = trainer.compose([*words, "model=net", "plugins=[kept_plugin]"], "yaml")
    trainer.compose(SMALL)
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert type(trainer.build(config)[1].model).__name__ == "Net"
    trainer.compose(SMALL)
    assert trainer.run(config, quiet=True).status == "finished"
    del sys.modules["kept_plugin"]
