"""Operations of a forward pass are those that its layers are known to need."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from trainer.config import compose
from trainer.engine import factory, sanity_check
from trainer.engine.flop_count import FlopCounter, count_flops_per_row

pytestmark = pytest.mark.usefixtures("in_tmp")


def count(*overrides: str) -> tuple[float, factory.Task]:
    config = compose.compose([*overrides, "batch_size=4"])
    data = factory.make_dataset(config.tree)
    task = factory.make_task(config.tree, data, config.names)
    train = factory.make_loaders(config.tree, data, config.settings, torch.device("cpu"))["train"]
    return count_flops_per_row(task, sanity_check.make_small_batch(train)), task


def test_linear_layers_count_two_operations_a_weight() -> None:
    flops, _ = count("model=mlp", "model.hidden=[7,5]", "data=moons", "data.rows=50")
    assert flops == 2 * (2 * 7 + 7 * 5 + 5 * 1)


@pytest.mark.parametrize(("cell", "gates"), [("lstm", 4), ("gru", 3), ("rnn", 1)])
def test_recurrent_layers_are_counted(cell: str, gates: int) -> None:
    flops, _ = count(f"model={cell}", "model.hidden_size=6", "data=adding", "data.rows=50", "data.length=9")
    assert flops == 2 * (9 * gates * 6 * (2 + 6) + 6 * 1)


def test_convolutions_are_counted() -> None:
    flops, task = count("model=lenet", "data=gratings", "data.rows=50")
    layers = [layer for layer in task.modules() if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear)]
    outputs: list[int] = []
    for layer in layers:
        weight = layer.weight
        layer.register_forward_hook(
            lambda _, __, output, w=weight: outputs.append(2 * w[0].numel() * output[0].numel())
        )
    with torch.no_grad():
        task.model(torch.zeros(1, 1, 28, 28))
    assert flops == sum(outputs)


@pytest.mark.parametrize(
    "layer",
    [
        torch.nn.Conv1d(4, 6, 3, groups=2),
        torch.nn.MultiheadAttention(8, 2, batch_first=True),
        torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
        torch.nn.Linear(8, 3),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_a_pass_and_its_gradient_have_the_count_of_torch(layer: torch.nn.Module) -> None:
    x = torch.randn(2, 4, 8, requires_grad=True)
    inputs = {torch.nn.MultiheadAttention: [x, x, x]}.get(type(layer), [x])

    def compute() -> None:
        output = layer(*inputs)
        (output[0] if isinstance(output, tuple) else output).sum().backward()

    with FlopCounter() as counter:
        compute()
    with FlopCounterMode(display=False) as reference:
        compute()
    assert counter.flops == reference.get_total_flops() > 0


@pytest.mark.slow
def test_counting_does_not_import_the_compiler() -> None:
    """A plan would take its memory for that of the run."""
    program = """import sys, torch
from trainer.engine.flop_count import FlopCounter
with FlopCounter() as counter:
    torch.nn.Linear(3, 2)(torch.ones(4, 3)).sum().backward()
print(counter.flops, "torch._dynamo" in sys.modules)"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["96", "False"]


def test_the_task_stays_as_it_was() -> None:
    config = compose.compose(["model=resnet", "model.depth=[1]", "data=gratings", "data.rows=50", "batch_size=4"])
    data = factory.make_dataset(config.tree)
    task = factory.make_task(config.tree, data, config.names).eval()
    before = {name: value.clone() for name, value in task.state_dict().items()}
    state = torch.get_rng_state()
    train = factory.make_loaders(config.tree, data, config.settings, torch.device("cpu"))["train"]
    assert count_flops_per_row(task, sanity_check.make_small_batch(train)) > 0
    assert not task.training
    assert all(torch.equal(value, before[name]) for name, value in task.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
