"""No configuration, wherever it comes from, runs code that the user did not name."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.helpers.commands import SMALL, find_runs, train, write
from trainer.cli import main
from trainer.config import compose, plugins, registry, torch_classes, validation
from trainer.runs import run_overrides, saved_run
from trainer.runs import train as runner
from trainer.utils.errors import ConfigError

MARKER = "touched"
HOSTILE_MODULE = f"""
from pathlib import Path
Path(__file__).with_name("{MARKER}").touch()
class Foo:
    def __init__(self, **anything):
        Path(__file__).with_name("{MARKER}").touch()
"""
TARGETS = [
    *("os.system", "posix.system", "subprocess.Popen", "subprocess.run", "subprocess.call", "builtins.open"),
    *("builtins.eval", "builtins.exec", "runpy.run_path", "importlib.import_module", "os.remove", "os.makedirs"),
    *("logging.os.system", "pathlib.Path.touch", "pathlib.Path", "torch.load", "torch.hub.load", "joblib.load"),
    *("numpy.load", "torch.utils.collect_env.run", "hydra.utils.get_method", "hydra.utils.instantiate", "evil.Foo"),
    *(
        "evil",
        "",
        "trainer",
        "trainer.models",
        "trainer.models.",
        "trainer.models.tabular.mlp",
        "trainer.models..mlp.MLP",
    ),
    *(
        "trainer.models.tabular.mlp.torch.load",
        "trainer.models.tabular.mlp.nn.Linear",
        "trainer.models.tabular.mlp.Nope",
    ),
    *(
        "trainer.models/../../evil.Foo",
        "trainer.models.../evil.Foo",
        "trainer.modelsevil.Foo",
        "trainer.cli.main.os.system",
    ),
    *(
        "trainer.engine.checkpoint.torch.load",
        "trainer.runs.train.subprocess.run",
        "trainer.models.tabular.mlp.MLP.__init__",
    ),
]
"""Values of ``_target_`` that are refused."""


@pytest.fixture
def cwd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Change to a folder with a hostile module, and check that it never ran."""
    write(tmp_path, {"evil.py": HOSTILE_MODULE})
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not (tmp_path / MARKER).exists()
    assert "evil" not in sys.modules
    plugins.declare_plugins([])


def compose_refused(*overrides: str, folders: tuple[Path, ...] = ()) -> str:
    """Return the error of a configuration that is refused before anything it names is imported."""
    before = set(sys.modules)
    with pytest.raises(ConfigError) as excinfo:
        compose.compose(overrides, folders)
    unexpected = {"evil", "joblib", "runpy", "torch.utils.collect_env", "torch.hub"} - before
    assert not unexpected & set(sys.modules)
    return str(excinfo.value)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.usefixtures("cwd")
@pytest.mark.slow
def test_target_override_is_refused(target: str) -> None:
    for group in registry.OBJECT_GROUPS:
        message = compose_refused(*SMALL, f"{group}._target_='{target}'")
        assert f"{group}._target_" in message
        if not target.startswith("trainer."):
            assert f"target {target!r} is not on the allow-list" in message


@pytest.mark.parametrize(
    "override",
    [
        f"model.hidden=[{{_target_: os.system, command: 'touch {MARKER}'}}]",
        f"model.hidden={{_target_: os.system, command: 'touch {MARKER}'}}",
        f"optimizer.betas=[0.9,{{a: [{{_target_: os.system, command: 'touch {MARKER}'}}]}}]",
        "model={_target_: os.system}",
        "+model._partial_=true",
        "++model._partial_=true",
        "+model._args_=[touch]",
        "+model._recursive_=true",
        "+model.x={_target_: os.system}",
        "epochs={_target_: os.system}",
        "plugins=[{_target_: os.system}]",
        "plugins=[os]",
        "plugins=[subprocess]",
        "plugins=[builtins]",
        "plugins=[trainer]",
        "plugins=[evil.Foo]",
        "plugins=[../evil]",
        "plugins=[./evil]",
        "plugins=['']",
        "plugins=[evil,nope_at_all]",
        "hydra.callbacks.x._target_=os.system",
        "+hydra.callbacks.x={_target_: os.system}",
        "hydra.job_logging.x=1",
        "hydra/job_logging=none",
        "hydra.launcher._target_=evil.Foo",
        "hydra.sweeper._target_=evil.Foo",
        "+hydra.launcher.x={_target_: evil.Foo}",
        "hydra.job.env_set.PATH=x",
    ],
)
@pytest.mark.usefixtures("cwd")
def test_override_that_would_run_code_is_refused(override: str) -> None:
    assert compose_refused(*SMALL, override)


def test_plugin_named_like_a_standard_module_is_refused(cwd: Path) -> None:
    for module, target in (("os", "os.system"), ("subprocess", "subprocess.Popen"), ("pathlib", "pathlib.Path")):
        # A file of that name in the working folder does not make the module a plugin.
        write(cwd, {f"{module}.py": "class system: ...\n"})
        assert "rename the plugin" in compose_refused(*SMALL, f"plugins=[{module}]", f"model._target_={target}")


@pytest.mark.usefixtures("cwd")
@pytest.mark.slow
def test_functions_of_an_installed_plugin_are_refused() -> None:
    message = compose_refused(*SMALL, "plugins=[torch]", "model._target_=torch.load")
    assert "there is no class torch.load" in message
    assert "there is no class" in compose_refused(
        *SMALL, "plugins=[torch]", "model._target_=torch.utils.collect_env.run"
    )


@pytest.mark.parametrize(
    "text",
    [
        "_target_: evil.Foo\n",
        "_target_: os.system\ncommand: touch touched\n",
        "_target_: trainer.models.tabular.mlp.MLP\nflat_features: ???\nout_features: ???\nactivation: relu\n"
        "dropout: 0.0\n"
        "hidden: [{_target_: evil.Foo}]\n",
        "_target_: trainer.models.tabular.mlp.MLP\n_partial_: true\nflat_features: ???\nout_features: ???\nhidden: []\n"
        "activation: relu\ndropout: 0.0\n",
        "_target_: ${oc.env:HOME}.Foo\n",
    ],
)
@pytest.mark.slow
def test_untrusted_option_file_is_refused(text: str, cwd: Path) -> None:
    write(cwd, {"conf/model/bad.yaml": "# bad\n" + text})
    message = compose_refused("data=moons", "model=bad", folders=(cwd / "conf",))
    assert "allow-list" in message or "train does not read this key" in message


@pytest.mark.parametrize(
    "text",
    [
        "model:\n  _target_: evil.Foo\n",
        "optimizer:\n  betas: [{_target_: evil.Foo}]\n",
        "hydra:\n  callbacks:\n    x:\n      _target_: evil.Foo\n",
        "hydra:\n  job_logging:\n    handlers:\n      x:\n        (): evil.Foo\n",
        "hydra:\n  launcher:\n    _target_: evil.Foo\n",
        "hydra:\n  sweeper:\n    _target_: evil.Foo\n",
        "hydra:\n  job:\n    env_set:\n      PYTHONPATH: .\n",
        "evil:\n  _target_: evil.Foo\n",
    ],
)
@pytest.mark.slow
def test_untrusted_experiment_is_refused(text: str, cwd: Path) -> None:
    folder = write(cwd, {"conf/experiment/e.yaml": "# @package _global_\n# e\n" + text}) / "conf"
    assert compose_refused(*SMALL, "experiment=e", folders=(folder,))
    for flags in (["--cfg", "job"], ["-m", "hydra/sweeper=basic"], ["--info"]):
        if "hydra:" in text or "-m" not in flags:
            with pytest.raises(ConfigError):
                main.run_command([*flags, *SMALL, "experiment=e", "--config-dir", str(folder)])


@pytest.mark.slow
def test_untrusted_experiment_is_refused_by_hydra_commands(tmp_path: Path) -> None:
    text = "# @package _global_\n# e\nhydra:\n  callbacks:\n    x:\n      _target_: pathlib.Path.touch\n"
    text += f"      self: {MARKER}\n"
    write(tmp_path, {"evil.py": HOSTILE_MODULE, "conf/experiment/e.yaml": text})
    flags = ("--config-dir", "conf", "experiment=e")
    for arguments in ((*flags, "--cfg", "job"), ("-m", *flags, "seed=0,1", "hydra/sweeper=basic")):
        process = train(*SMALL, *arguments, cwd=tmp_path)
        assert (process.returncode, "hydra.callbacks" in process.stderr) == (2, True), process.stderr
    assert train(*SMALL, "model._target_=evil.Foo", cwd=tmp_path).returncode == 2
    assert not (tmp_path / MARKER).exists()
    assert not find_runs(tmp_path)


@pytest.mark.usefixtures("cwd")
@pytest.mark.slow
def test_tampered_run_directory_is_refused() -> None:
    result = runner.run(compose.compose(SMALL))
    path = Path(result.run_dir)
    valid = yaml.safe_load((path / "config.yaml").read_text())
    # An unfinished run, so that resuming reads its configuration.
    results = json.loads((path / "results.json").read_text()) | {"status": "interrupted"}
    write(path, {"results.json": json.dumps(results)})
    for change in (
        {"model": {"_target_": "os.system", "command": f"touch {MARKER}"}},
        {"model": {**valid["model"], "_target_": "evil.Foo"}},
        {"model": {**valid["model"], "hidden": [{"_target_": "evil.Foo"}]}},
        {"optimizer": {**valid["optimizer"], "_partial_": True}},
        {"plugins": ["os"], "model": {"_target_": "os.system"}},
        {"data": {**valid["data"], "rows": -1}},
        {"task": 5},
        {"hydra": {"callbacks": {"x": {"_target_": "evil.Foo"}}}},
    ):
        write(path, {"config.yaml": yaml.safe_dump({**valid, **change})})
        with pytest.raises(ConfigError):
            saved_run.load(path)
    for text in ("[unclosed", "- a\n- b\n", "", "seed: ${oc.env:NOT_SET_ANYWHERE}\n"):
        write(path, {"config.yaml": text})
        with pytest.raises(ConfigError):
            saved_run.load(path)
    write(path, {"config.yaml": yaml.safe_dump(valid)})
    for results_change in ({"options": {}}, {"options": {**results["options"], "model": 5}}, {"overrides": None}):
        write(path, {"results.json": json.dumps({**results, **results_change})})
        with pytest.raises(ConfigError, match="not a results file of a run"):
            saved_run.load(path)


@pytest.mark.slow
def test_the_working_folder_is_not_searched_for_modules(tmp_path: Path) -> None:
    """A file named like a module that the program imports is not executed."""
    shadow = "from pathlib import Path\nPath(__file__).with_name('touched').touch()\n"
    write(tmp_path, {f"{name}.py": shadow for name in ("hydra", "torch", "numpy", "yaml", "trainer", "sitecustomize")})
    assert train("model=lstmm", cwd=tmp_path).returncode == 2
    assert train(*SMALL, cwd=tmp_path).returncode == 0
    assert not (tmp_path / MARKER).exists()


def test_built_in_options_name_only_built_in_classes() -> None:
    for group, prefix in validation.TARGET_PREFIXES.items():
        for option in registry.list_options(group).values():
            if group in registry.LIST_GROUPS and option.name == "none":
                continue
            assert option.class_path
            allowed = option.class_path.startswith(prefix) or torch_classes.find_source_file(option.class_path)
            assert allowed, option.class_path
    assert os.environ.get("HYDRA_INSTANTIATE_ALLOWLIST_OVERRIDE") is None


def test_evaluate_refuses_a_plugin_that_the_run_lacks(cwd: Path) -> None:
    path = runner.run(compose.compose(["model=mlp", "data=moons", "max_steps=1", "draw=false"])).run_dir
    with pytest.raises(ConfigError, match="trained without the module evil"):
        run_overrides.load_from_args("evaluate", [path, "plugins=[evil]"])
    assert not (cwd / MARKER).exists()
