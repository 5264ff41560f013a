"""Every model of ``conf/model`` and every pair with ``conf/data``."""

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

ALL_MODELS = [pytest.param(model, marks=[pytest.mark.slow] * (model in OWN_MODELS)) for model in MODELS]
SAMPLED_MODELS = [
    pytest.param(model, marks=[pytest.mark.slow] * (place % 4 > 0 or model in OWN_MODELS))
    for place, model in enumerate(MODELS)
]
"""Every model; every fourth is in the quick tests."""
CRITIC_BIAS = {"model.critic.head.bias": "a constant cancels between real and generated points"}
UNTRAINED_PARAMETERS: dict[str, dict[str, str]] = {
    "wgan_gp": CRITIC_BIAS,
    "cgan": CRITIC_BIAS,
    "pretrained": dict.fromkeys(
        ("model.body.pooler.dense.weight", "model.body.pooler.dense.bias"),
        "part of the saved model; the new head replaces it",
    ),
}
"""Parameters that one round of updates may leave as they are, by model, with the reason."""


def compute_scores(task: Task, batch: object) -> dict[str, float]:
    task.eval()
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        totals = ScoreAccumulator()
        totals.update(task.score(batch))  # type: ignore[arg-type]
        return task.metrics(totals.compute_totals())


def train_steps(pair: Pair, steps: int) -> Trainer:
    """Train the active groups for ``steps`` steps."""
    settings = pair.config.settings
    param_groups = factory.make_param_groups(pair.config.tree, settings, pair.task, pair.loaders["train"])
    trainer = Trainer(pair.task, param_groups, pair.loaders["train"], pair.loaders["val"], settings)
    pair.task.train()
    batches = [batch for _ in range(steps) for batch in [sanity_check.make_small_batch(pair.loaders["train"])]]
    for number, batch in enumerate(batches):
        for name in pair.task.active_groups(number):
            trainer.update_param_group(trainer.param_groups[name], [batch])
    return trainer


def copy_state(task: Task) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in task.state_dict().items()}


@pytest.mark.parametrize("model", SAMPLED_MODELS)
def test_declared_shapes_match_output(model: str) -> None:
    pair = make_pair(model, first_dataset(model))
    target = MODELS[model].class_path
    assert target
    signature = introspection.read_signature(target)
    assert signature
    batch = sanity_check.make_small_batch(pair.loaders["train"])
    alternatives = shapes.parse_alternatives(signature.shapes)
    assert alternatives, f"{target}: the class declares no shapes"
    declared = alternatives[0]  # of the inputs of its first data set
    assert declared.output is not None
    for name, dims in declared.inputs.items():
        if name in batch.inputs and "..." not in dims:
            assert batch.inputs[name].dim() == len(dims), name
    pair.task.eval()
    with torch.no_grad():
        output = pair.task.model(**pair.task.select_model_inputs(batch))
    first = output[0] if isinstance(output, tuple) else output
    if "..." not in declared.output:
        assert first.dim() == len(declared.output)
    size_of: dict[str, int] = {}
    for name, dims in declared.inputs.items():
        if name in batch.inputs and "..." not in dims:
            size_of |= dict(zip(dims, batch.inputs[name].shape, strict=True))
    for letter, size in zip(declared.output, first.shape, strict=False):
        if (
            letter in ("B", "N", "H", "W", "T")
            and letter in size_of
            and signature.required_model_methods == ("forward",)
        ):
            # T of a decoder's output is its own horizon; other sequence models keep the number of steps.
            if letter == "T" and "S" in size_of:
                continue
            assert size == size_of[letter], letter


@pytest.mark.parametrize("model", ALL_MODELS)
@pytest.mark.slow
def test_training_changes_every_parameter(model: str) -> None:
    pair = make_pair(model, first_dataset(model), "optimizer.lr=1e-2")
    before = {name: value.detach().clone() for name, value in pair.task.named_parameters()}
    rounds = 1 + int(pair.config.tree["task"].get("critic_steps", 0))
    train_steps(pair, rounds + 1)
    unchanged = {
        n for n, value in pair.task.named_parameters() if value.requires_grad and torch.equal(value, before[n])
    }
    assert unchanged == set(UNTRAINED_PARAMETERS.get(model, {}))
    assert all(value.isfinite().all() for value in pair.task.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("model", ALL_MODELS)
def test_state_dict_loads_into_fresh_model(model: str) -> None:
    pair, other = make_pair(model, first_dataset(model)), make_pair(model, first_dataset(model), seed=1)
    train_steps(pair, 1)
    batch = sanity_check.make_small_batch(pair.loaders["train"])
    assert any(not torch.equal(value, other.task.state_dict()[name]) for name, value in pair.task.state_dict().items())
    other.task.load_state_dict(pair.task.state_dict())
    assert compute_scores(other.task, batch) == compute_scores(pair.task, batch)


@pytest.mark.slow
@pytest.mark.parametrize("model", ALL_MODELS)
def test_the_same_seed_is_bit_exact(model: str) -> None:
    states = []
    for seed in (0, 0, 1):
        pair = make_pair(model, first_dataset(model), seed=seed)
        train_steps(pair, 2)
        states.append(copy_state(pair.task))
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert any(not torch.equal(value, states[2][name]) for name, value in states[0].items())


# Every model with every data set.


SLOW_PAIRS = {*LARGE, "image_folder", "gratings", "idx", "digit_canvas"}
"""Data sets that take a second to read, or that many image models fit."""


@pytest.mark.parametrize("data", [pytest.param(d, marks=[pytest.mark.slow] * (d in SLOW_PAIRS)) for d in DATA])
def test_compatible_pairs_build_and_score(data: str) -> None:
    if reason := missing_reason(data):
        pytest.skip(reason)
    # Models with user files need data with their tokenizer; such pairs are checked by name below.
    models = [
        model
        for model, other in FITTING
        if other == data and model not in OWN_MODELS and not lacks_classes(model, data)
    ]
    assert models, f"no model fits {data}"
    for model in models:
        dataset = build_dataset(data)
        rng.seed_everything(0)
        net = factory.instantiate_node(
            factory.fill_missing_sizes("model", read_node(MODELS[model]) | SMALL_MODELS.get(model, {}), dataset, data),
            nn.Module,
        )
        option = TASK_OPTIONS[task_of(model, data)]
        keys = read_node(option)
        task = factory.instantiate_node(factory.fill_missing_sizes("task", keys, dataset, data), Task, model=net)  # type: ignore[type-abstract]
        task.setup(dataset)
        for split in ("train", "val", "test"):
            task.validate_targets(getattr(dataset, split).get_targets(), split)
        batch = dataset.train.to_model_inputs(dataset.train.batch(torch.arange(min(4, len(dataset.train))), 0))
        metrics = compute_scores(task, batch)
        assert task.monitor in metrics, (model, data)
        group = next(iter(task.param_groups()))
        assert task.train().loss(batch, group).isfinite(), (model, data)


def test_incompatible_pairs_are_explained() -> None:
    incompatible = [names for names in PAIRS if explain(*names)]
    assert len(incompatible) > len(FITTING)
    for model, data in incompatible:
        reason = explain(model, data, {"model": f"<{model}>", "data": f"<{data}>", "task": "<task>"})
        assert reason is not None
        assert f"<{model}>" in reason, reason
        assert f"<{data}>" in reason or "<task>" in reason, reason
        assert len(reason) < 250


@pytest.mark.parametrize("names", [names for names in PAIRS if explain(*names)][::200], ids="-".join)
@pytest.mark.slow
def test_incompatibility_error_lists_compatible_data(names: tuple[str, str]) -> None:
    model, data = names
    required_overrides = [f"data.{key}=x" for key in OWN_FILES.get(data, {})] + [
        f"model.{key}=x" for key in OWN_MODELS.get(model, {})
    ]
    with pytest.raises(ConfigError) as caught:
        compose.compose([f"model={model}", f"data={data}", *required_overrides])
    message = str(caught.value)
    assert model in message
    assert data in message
    assert f"{model} works with: " in message
    fitting = {other for fit, other in FITTING if fit == model}
    assert set(message.split("works with: ")[1].split("\n")[0].split(", ")) == fitting
