"""Optimizers and schedulers of torch by class path, with keys known before torch is imported."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from trainer.config import compose, option_keys, plugins, torch_classes
from trainer.config.defaults_list import get_builtin_dir
from trainer.utils.errors import ConfigError

COSINE = "torch.optim.lr_scheduler.CosineAnnealingWarmRestarts"


def list_exported_classes(module: Any, base: type) -> set[str]:
    return {
        name
        for name in module.__all__
        if inspect.isclass(cls := getattr(module, name)) and issubclass(cls, base) and cls is not base
    }


def test_listed_classes_match_torch_exports() -> None:
    assert set(torch_classes.list_classes("optimizer")) == list_exported_classes(torch.optim, torch.optim.Optimizer)
    schedulers = torch.optim.lr_scheduler
    assert set(torch_classes.list_classes("scheduler")) == list_exported_classes(schedulers, schedulers.LRScheduler)


@pytest.mark.parametrize(
    ("group", "name"),
    [
        (g, n)
        for g in ("optimizer", "scheduler")
        for n in torch_classes.list_classes(g)
        if n not in torch_classes.UNSUPPORTED
    ],
)
def test_keys_match_the_class_parameters(group: str, name: str) -> None:
    module = torch.optim if group == "optimizer" else torch.optim.lr_scheduler
    cls = getattr(module, name)
    parameters = inspect.signature(cls).parameters
    path = f"{'torch.optim' if group == 'optimizer' else 'torch.optim.lr_scheduler'}.{name}"
    keys = option_keys.read_keys(group, path)
    assert keys
    hidden = option_keys.INJECTED_ARGS[group] | {"mode" if name == "ReduceLROnPlateau" else "scale_fn"}
    assert set(keys) - {"groups", "warmup"} == set(parameters) - hidden
    defaults = option_keys.read_defaults(group, path)
    for key, value in defaults.items():
        default = parameters[key].default if key in parameters else value
        if value == "???" or default is inspect.Parameter.empty:
            assert keys[key].default is None or value is None
        else:
            assert (tuple(value) if isinstance(value, list) and key in parameters else value) == default


def compose_tree(*words: str) -> Any:
    return compose.compose(["model=mlp", "data=moons", *words]).tree


def test_a_class_by_its_path_has_its_own_keys_and_defaults() -> None:
    node = compose_tree("optimizer._target_=torch.optim.NAdam", "optimizer.momentum_decay=0.1")["optimizer"]
    assert node == {  # data=moons sets the rate
        **{"_target_": "torch.optim.NAdam", "lr": 0.003, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0},
        **{"momentum_decay": 0.1, "decoupled_weight_decay": False, "groups": []},
    }
    node = compose_tree(f"scheduler._target_={COSINE}", "scheduler.T_0=7", "scheduler.warmup=2")["scheduler"]
    assert node == {"_target_": COSINE, "T_0": 7, "T_mult": 1, "eta_min": 0.0, "warmup": 2}


SCHEDULES = {path.stem: yaml.safe_load(path.read_text()) for path in get_builtin_dir().glob("scheduler/*.yaml")}
NUMBERS = [
    (name, key)
    for name, options in SCHEDULES.items()
    for key, value in options.items()
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool))
]


@pytest.mark.parametrize(("name", "key"), [*NUMBERS, ("cosine_restarts", "eta_min"), ("cyclic", "max_lr")])
def test_no_number_of_a_schedule_may_be_negative(name: str, key: str) -> None:
    required = [f"scheduler.{key}=[1]" for key, value in SCHEDULES[name].items() if value == "???"]
    with pytest.raises(ConfigError, match=rf"scheduler\.{key}: -1 given"):
        compose_tree(f"scheduler={name}", *required, f"scheduler.{key}=-1")


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("StepLR", "gamma"),
        ("ReduceLROnPlateau", "min_lr"),
        ("CosineAnnealingLR", "eta_min"),
        ("LinearLR", "end_factor"),
    ],
)
def test_rates_of_a_scheduler_by_its_path_may_not_be_negative(name: str, key: str) -> None:
    required = ["scheduler.step_size=2"] if name == "StepLR" else []
    words = (f"scheduler._target_=torch.optim.lr_scheduler.{name}", *required)
    assert compose_tree(*words, f"scheduler.{key}=0")["scheduler"][key] == 0
    with pytest.raises(ConfigError, match=rf"scheduler\.{key}: -0\.1 given"):
        compose_tree(*words, f"scheduler.{key}=-0.1")


def test_optimizer_values_of_a_model_apply_to_a_torch_class() -> None:
    node = compose.compose(["model=gpt", "data=tinyshakespeare", "optimizer._target_=torch.optim.RAdam"]).tree[
        "optimizer"
    ]
    default = compose.compose(["model=gpt", "data=tinyshakespeare"]).tree["optimizer"]
    assert node["lr"] == default["lr"]
    assert set(node) == {*("_target_", "lr", "betas", "eps", "weight_decay", "decoupled_weight_decay", "groups")}


REFUSALS = {
    "optimizer._target_=torch.optim.Nadam": "torch.optim has no optimizer Nadam; did you mean NAdam?",
    "optimizer._target_=torch.optim.LBFGS": "torch.optim.LBFGS cannot be used: it evaluates the loss several times",
    "optimizer._target_=torch.optim.SparseAdam": "sparse gradients",
    "optimizer._target_=torch.optim.Optimizer": "torch.optim has no optimizer Optimizer",
    "optimizer._target_=torch.optim.swa_utils.AveragedModel": "not on the allow-list",
    "optimizer._target_=torch.load": "not on the allow-list",
    f"optimizer._target_={COSINE}": "not on the allow-list",
    "scheduler._target_=torch.optim.NAdam": "not on the allow-list",
    "model._target_=torch.optim.NAdam": "not on the allow-list",
    "scheduler._target_=torch.optim.lr_scheduler.LambdaLR": "it takes a Python function; write a class",
    "scheduler._target_=torch.optim.lr_scheduler.StepL": "did you mean StepLR?",
    f"scheduler._target_={COSINE}": "scheduler.T_0: needs a value",
}
WITH_NADAM = {
    "optimizer.beta=[0.9,0.99]": "optimizer.beta: unknown key; did you mean optimizer.betas?",
    "optimizer.betas=[0.9]": "optimizer.betas: .* a list",
    "optimizer.lr=-1": "optimizer.lr: -1 given; it must be a number > 0",
    "optimizer.lr=fast": "optimizer.lr: 'fast' given",
    "optimizer.foreach=true": "optimizer.foreach: unknown key",
    "optimizer.decay_norm_and_bias=true": "optimizer.decay_norm_and_bias: unknown key",
    "optimizer.groups=3": r"optimizer.groups: it must be a list, as in \[\{match:",
    "optimizer.groups=[trunk]": r"optimizer.groups\[0\]: 'trunk' given; it must be a mapping",
    "optimizer.groups=[{lr_scale:0.1}]": r"optimizer.groups\[0\].match: it must select the parameters",
    "optimizer.groups=[{match:a}]": r"optimizer.groups\[0\]: it changes nothing",
    "optimizer.groups=[{match:a,lr_scal:1}]": r"optimizer.groups\[0\].lr_scal: unknown key; did you mean lr_scale\?",
    "optimizer.groups=[{match:a,lr_scale:0}]": r"lr_scale: 0 given; it must be a number > 0",
    "optimizer.groups=[{match:1,lr_scale:2}]": r"match: 1 given; it must be text or a list",
    "freeze=trunk": "freeze: 'trunk' given; it must be a list",
}


@pytest.mark.parametrize("word", REFUSALS)
def test_unusable_classes_are_refused(word: str) -> None:
    with pytest.raises(ConfigError) as excinfo:
        compose_tree(word)
    assert REFUSALS[word] in str(excinfo.value)


@pytest.mark.parametrize("word", WITH_NADAM)
def test_invalid_keys_and_values_are_refused(word: str) -> None:
    with pytest.raises(ConfigError, match=WITH_NADAM[word]):
        compose_tree("optimizer._target_=torch.optim.NAdam", word)


def test_weight_decay_of_an_optimizer_without_it_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"optimizer.groups\[0\].weight_decay: optimizer rprop has no weight_decay"):
        compose_tree("optimizer=rprop", "optimizer.groups=[{match:'*',weight_decay:0}]")


@pytest.mark.slow
def test_composing_torch_classes_does_not_import_torch() -> None:
    words = ["model=mlp", "data=moons", "optimizer._target_=torch.optim.NAdam", f"scheduler._target_={COSINE}"]
    code = (
        "import sys\nfrom trainer.config import compose\n"
        f"compose.compose({[*words, 'scheduler.T_0=3']!r})\nassert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


PLUGIN = '''
import torch
from torch.optim.lr_scheduler import LRScheduler

class SignSGD(torch.optim.Optimizer):
    """Steps by the sign."""

    def __init__(self, params, lr: float = 1e-3, weight_decay: float = 0.0):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(p.grad.sign(), alpha=group["lr"])

class MyAdam(torch.optim.Adam):
    """As torch's."""

class Halving(LRScheduler):
    def __init__(self, optimizer, every: int, last_epoch: int = -1):
        self.every = every
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        return [base * 0.5 ** (self.last_epoch // self.every) for base in self.base_lrs]

class Fixed(LRScheduler):
    def get_lr(self):
        return self.base_lrs
'''


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "own_optim.py").write_text(PLUGIN)
    monkeypatch.chdir(tmp_path)
    yield "plugins=[own_optim]"
    plugins.declare_plugins([])
    sys.modules.pop("own_optim", None)


def test_classes_of_a_plugin_have_their_own_keys(plugin: str) -> None:
    node = compose_tree(plugin, "optimizer._target_=own_optim.SignSGD", "optimizer.weight_decay=0.1")["optimizer"]
    assert node == {"_target_": "own_optim.SignSGD", "lr": 0.003, "weight_decay": 0.1, "groups": []}
    assert compose_tree(plugin, "optimizer._target_=own_optim.MyAdam")["optimizer"]["betas"] == [0.9, 0.999]
    node = compose_tree(plugin, "scheduler._target_=own_optim.Halving", "scheduler.every=3")["scheduler"]
    assert node == {"_target_": "own_optim.Halving", "every": 3, "warmup": 0}
    with pytest.raises(ConfigError, match=r"scheduler.every: needs a value"):
        compose_tree(plugin, "scheduler._target_=own_optim.Halving")
    with pytest.raises(ConfigError, match=r"plugins=\[own_optim\]"):
        compose_tree("optimizer._target_=own_optim.SignSGD")


def test_a_class_without_keys_replaces_the_keys_of_the_option(plugin: str) -> None:
    """Its ``__init__`` is inherited from torch and takes nothing that a configuration could set."""
    node = compose_tree(plugin, "scheduler=onecycle", "scheduler._target_=own_optim.Fixed")["scheduler"]
    assert node["_target_"] == "own_optim.Fixed"
    assert "pct_start" not in node


@pytest.mark.slow
def test_classes_of_a_plugin_train(plugin: str) -> None:
    from trainer.runs import train

    words = [plugin, "optimizer._target_=own_optim.SignSGD", "scheduler._target_=own_optim.Halving"]
    small = ["model=mlp", "data=moons", "max_steps=6", "draw=false", "scheduler.every=3", "freeze=[head.bias]"]
    assert train.run(compose.compose([*small, *words])).status == "finished"
