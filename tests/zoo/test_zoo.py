"""Every model in ``conf/model`` and every pair with ``conf/data``, found by themselves."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.own_files import OWN_FILES, OWN_MODELS
from tests.helpers.pairs import (
    DATA,
    FITTING,
    LARGE,
    MODELS,
    PAIRS,
    SMALL_MODELS,
    Pair,
    build_dataset,
    explain,
    first_dataset,
    lacks_classes,
    make_pair,
    missing_reason,
    read_node,
    task_of,
)
from tests.helpers.pairs import TASKS as TASK_OPTIONS
from trainer.config import compose, introspection
from trainer.core import rng, shapes
from trainer.core.batch import ScoreAccumulator
from trainer.core.task import Task
from trainer.engine import factory, sanity_check
from trainer.engine.trainer import Trainer
from trainer.utils.errors import ConfigError

EVERY = [pytest.param(model, marks=[pytest.mark.slow] * (model in OWN_MODELS)) for model in MODELS]
FEW = [
    pytest.param(model, marks=[pytest.mark.slow] * (place % 4 > 0 or model in OWN_MODELS))
    for place, model in enumerate(MODELS)
]
"""Every model, every fourth of them in the quick tests."""
CANCELS = {"model.critic.head.bias": "the same constant on real and on generated points cancels"}
UNTOUCHED: dict[str, dict[str, str]] = {
    "wgan_gp": CANCELS,
    "cgan": CANCELS,
    "pretrained": dict.fromkeys(
        ("model.body.pooler.dense.weight", "model.body.pooler.dense.bias"), "saved with it; the new head stands instead"
    ),
}
"""Parameters that one round of updates may leave as they are, by model, with the reason."""


def scores(task: Task, batch: object) -> dict[str, float]:
    task.eval()
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        totals = ScoreAccumulator()
        totals.update(task.score(batch))  # type: ignore[arg-type]
        return task.metrics(totals.compute_totals())


def step(made: Pair, steps: int) -> Trainer:
    """That many steps of everybody whose turn it is."""
    settings = made.config.settings
    param_groups = factory.make_param_groups(made.config.tree, settings, made.task, made.loaders["train"])
    trainer = Trainer(made.task, param_groups, made.loaders["train"], made.loaders["val"], settings)
    made.task.train()
    batches = [batch for _ in range(steps) for batch in [sanity_check.make_small_batch(made.loaders["train"])]]
    for number, batch in enumerate(batches):
        for name in made.task.active_groups(number):
            trainer.update_param_group(trainer.param_groups[name], [batch])
    return trainer


def state(task: Task) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in task.state_dict().items()}


@pytest.mark.parametrize("model", FEW)
def test_the_declared_shapes_match_the_output(model: str) -> None:
    made = make_pair(model, first_dataset(model))
    target = MODELS[model].class_path
    assert target
    found = introspection.read_signature(target)
    assert found
    said = shapes.parse_shapes(found.shapes)
    assert said, f"{target}: the first line of the docstring is no contract"
    assert said.output is not None
    batch = sanity_check.make_small_batch(made.loaders["train"])
    for name, dims in said.inputs.items():
        if name in batch.inputs and "..." not in dims:
            assert batch.inputs[name].dim() == len(dims), name
    made.task.eval()
    with torch.no_grad():
        output = made.task.model(**made.task.select_model_inputs(batch))
    first = output[0] if isinstance(output, tuple) else output
    if "..." not in said.output:
        assert first.dim() == len(said.output)
    named: dict[str, int] = {}
    for name, dims in said.inputs.items():
        if name in batch.inputs and "..." not in dims:
            named |= dict(zip(dims, batch.inputs[name].shape, strict=True))
    for letter, size in zip(said.output, first.shape, strict=False):
        if letter in ("B", "N", "H", "W", "T") and letter in named and found.required_model_methods == ("forward",):
            # T of a decoder's output is its own horizon; a sequence model that keeps its steps keeps their number.
            if letter == "T" and "S" in named:
                continue
            assert size == named[letter], letter


@pytest.mark.parametrize("model", EVERY)
@pytest.mark.slow
def test_training_changes_every_parameter(model: str) -> None:
    made = make_pair(model, first_dataset(model), "optimizer.lr=1e-2")
    before = {name: value.detach().clone() for name, value in made.task.named_parameters()}
    rounds = 1 + int(made.config.tree["task"].get("critic_steps", 0))
    step(made, rounds + 1)
    still = {n for n, value in made.task.named_parameters() if value.requires_grad and torch.equal(value, before[n])}
    assert still == set(UNTOUCHED.get(model, {}))
    assert all(value.isfinite().all() for value in made.task.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("model", EVERY)
def test_a_state_goes_into_another_of_its_kind(model: str) -> None:
    made, other = make_pair(model, first_dataset(model)), make_pair(model, first_dataset(model), seed=1)
    step(made, 1)
    batch = sanity_check.make_small_batch(made.loaders["train"])
    assert any(not torch.equal(value, other.task.state_dict()[name]) for name, value in made.task.state_dict().items())
    other.task.load_state_dict(made.task.state_dict())
    assert scores(other.task, batch) == scores(made.task, batch)


@pytest.mark.slow
@pytest.mark.parametrize("model", EVERY)
def test_the_same_seed_is_bit_exact(model: str) -> None:
    states = []
    for seed in (0, 0, 1):
        made = make_pair(model, first_dataset(model), seed=seed)
        step(made, 2)
        states.append(state(made.task))
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert any(not torch.equal(value, states[2][name]) for name, value in states[0].items())


# Every model with every data set.


SLOW_PAIRS = {*LARGE, "image_folder", "gratings", "idx", "digit_canvas"}
"""Data sets that take a second to read, or that many image models fit."""


@pytest.mark.parametrize("data", [pytest.param(d, marks=[pytest.mark.slow] * (d in SLOW_PAIRS)) for d in DATA])
def test_pairs_that_fit_build_and_score(data: str) -> None:
    if reason := missing_reason(data):
        pytest.skip(reason)
    # A model of the user's own files makes its data cut tokens its way: a pair of that kind is built below by name.
    models = [
        model
        for model, other in FITTING
        if other == data and model not in OWN_MODELS and not lacks_classes(model, data)
    ]
    assert models, f"no model fits {data}"
    for model in models:
        made = build_dataset(data)
        rng.seed_everything(0)
        net = factory.instantiate_node(
            factory.fill_missing_sizes("model", read_node(MODELS[model]) | SMALL_MODELS.get(model, {}), made, data),
            nn.Module,
        )
        option = TASK_OPTIONS[task_of(model, data)]
        keys = read_node(option)
        task = factory.instantiate_node(factory.fill_missing_sizes("task", keys, made, data), Task, model=net)  # type: ignore[type-abstract]
        task.setup(made)
        for split in ("train", "val", "test"):
            task.validate_targets(getattr(made, split).get_targets(), split)
        batch = made.train.to_model_inputs(made.train.batch(torch.arange(min(4, len(made.train))), 0))
        found = scores(task, batch)
        assert task.monitor in found, (model, data)
        group = next(iter(task.param_groups()))
        assert task.train().loss(batch, group).isfinite(), (model, data)


def test_incompatible_pairs_are_explained() -> None:
    misfits = [chosen for chosen in PAIRS if explain(*chosen)]
    assert len(misfits) > len(FITTING)
    for model, data in misfits:
        reason = explain(model, data, {"model": f"<{model}>", "data": f"<{data}>", "task": "<task>"})
        assert reason is not None
        assert f"<{model}>" in reason, reason
        assert f"<{data}>" in reason or "<task>" in reason, reason
        assert len(reason) < 250


@pytest.mark.parametrize("chosen", [chosen for chosen in PAIRS if explain(*chosen)][::200], ids="-".join)
@pytest.mark.slow
def test_an_incompatibility_names_both_and_what_is_compatible(chosen: tuple[str, str]) -> None:
    model, data = chosen
    more = [f"data.{key}=x" for key in OWN_FILES.get(data, {})] + [
        f"model.{key}=x" for key in OWN_MODELS.get(model, {})
    ]
    with pytest.raises(ConfigError) as caught:
        compose.compose([f"model={model}", f"data={data}", *more])
    said = str(caught.value)
    assert model in said
    assert data in said
    assert f"{model} works with: " in said
    fitting = {other for fit, other in FITTING if fit == model}
    assert set(said.split("works with: ")[1].split("\n")[0].split(", ")) == fitting
