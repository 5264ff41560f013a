"""Recurrent networks against their equations in numpy, and detection of common mistakes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.helpers.lab import configure, lab
from tests.helpers.recurrences import expected
from trainer.engine import factory
from trainer.models.sequence.rnn import RNN

CELLS = ["rnn", "lstm", "gru"]
POOLS = ["last", "mean", "max", "attention", "flatten"]
OPTIONS: dict[str, Any] = {
    "in_features": 3,
    "out_features": 2,
    "hidden_size": 4,
    "num_layers": 1,
    "bidirectional": False,
    "dropout": 0.0,
    "pool": "last",
    "recurrent_init": "default",
}


def make(cell: str = "gru", **options: Any) -> RNN:
    torch.manual_seed(0)
    return RNN(cell=cell, **OPTIONS | options).eval()  # type: ignore[arg-type]


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("pool", POOLS)
def test_networks_match_their_equations_for_any_padding(cell: str, bidirectional: bool, pool: str) -> None:
    model = make(cell, bidirectional=bidirectional, pool=pool, num_layers=2, seq_len=6)
    x, lengths = torch.randn(5, 6, 3), [2, 6, 1, 4, 6]
    full_output = expected(model, cell, pool, x, [6] * 5)
    np.testing.assert_allclose(model(x).detach().numpy(), full_output, atol=1e-5)
    right = expected(model, cell, pool, x, lengths)
    padding = torch.arange(6)[:, None] >= torch.tensor(lengths)[:, None, None]
    for garbage in (0.0, 1e6, torch.nan):
        output = model(x.masked_fill(padding, garbage), torch.tensor(lengths))
        np.testing.assert_allclose(output.detach().numpy(), right, atol=1e-5)


# Common mistakes, each of which must fail.


class LastOutputs(nn.Module):
    """Return the outputs at the last step, where the backward direction has read one step only."""

    def forward(self, steps: Tensor, ends: Tensor, lengths: Tensor | None) -> Tensor:
        return steps[:, -1]


def backward_direction_gradients(model: RNN) -> Tensor:
    """Return the gradient magnitude per step of x through the backward direction: (T,)."""
    half = model.head.in_features // 2
    model.head.weight.data[:, :half] = 0
    x = torch.randn(2, 9, 3, requires_grad=True)
    model(x).sum().backward()
    assert x.grad is not None
    return x.grad.abs().sum((0, 2))


@pytest.mark.parametrize("cell", CELLS)
def test_backward_direction_reads_every_step(cell: str) -> None:
    right, wrong = make(cell, bidirectional=True), make(cell, bidirectional=True)
    wrong.pool = LastOutputs()
    assert (backward_direction_gradients(right) > 0).all()
    assert (backward_direction_gradients(wrong)[:-1] == 0).all()


class SortsWithoutRestoring(nn.Module):
    """Sort rows by decreasing length without restoring their order."""

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        order = lengths.argsort(descending=True)
        return self.inner(x[order], lengths[order])


class IgnoresLengths(nn.Module):
    """Treat padding as valid steps."""

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, *args: Tensor | None) -> Any:
        return self.inner(*args[:-1], None)


@pytest.mark.parametrize(
    ("part", "broken", "pool"),
    [
        ("rnn", SortsWithoutRestoring, "last"),
        ("rnn", IgnoresLengths, "last"),
        *(("pool", IgnoresLengths, pool) for pool in ("mean", "max", "attention")),
    ],
)
def test_unrestored_order_and_read_padding_are_detected(part: str, broken: Any, pool: str) -> None:
    model, x, lengths = make(pool=pool), torch.randn(4, 6, 3), [2, 6, 1, 4]
    right = expected(model, "gru", pool, x, lengths)

    def error() -> float:
        return float(np.abs(model(x, torch.tensor(lengths)).detach().numpy() - right).max())

    assert error() < 1e-5
    setattr(model, part, broken(getattr(model, part)))
    assert error() > 0.01


def test_initial_weights_do_not_saturate() -> None:
    model = make("rnn", hidden_size=64)
    x = torch.randn(8, 20, 3)

    def saturated_share() -> float:
        return float((model.rnn(x, None)[0].abs() > 0.99).float().mean())

    assert saturated_share() < 0.01
    for parameter in model.rnn.parameters():
        nn.init.normal_(parameter)
    assert saturated_share() > 0.6


@pytest.mark.parametrize("cell", CELLS)
def test_large_inputs_give_finite_outputs(cell: str) -> None:
    assert make(cell)(torch.full((2, 4, 3), -1e6)).isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_initial_state_is_on_input_device(cell: str) -> None:
    # The "meta" device refuses tensors of any other device.
    output = make(cell, bidirectional=True, num_layers=2, pool="attention").to("meta")(torch.zeros(2, 5, 3).to("meta"))
    assert output.device.type == "meta"


@pytest.mark.parametrize(("cell", "gates"), [("rnn", 1), ("lstm", 4), ("gru", 3)])
def test_orthogonal_init_is_orthogonal_per_gate(cell: str, gates: int) -> None:
    model = make(cell, recurrent_init="orthogonal", bidirectional=True, num_layers=2).rnn
    blocks = [block for name, p in model.named_parameters() if "weight_hh" in name for block in p.split(4)]
    assert len(blocks) == gates * 4
    for block in blocks:
        torch.testing.assert_close(block @ block.T, torch.eye(4))


@pytest.mark.parametrize("pool", POOLS)
def test_full_lengths_equal_missing_lengths(pool: str) -> None:
    model = make("gru", pool=pool, bidirectional=True, seq_len=6)
    x = torch.randn(3, 6, 3)
    torch.testing.assert_close(model(x), model(x, torch.full((3,), 6)))


def test_flatten_pool_needs_matching_seq_len() -> None:
    model = RNN(20, 5, "lstm", 50, 2, False, 0.0, "flatten", "default", seq_len=10)
    assert model(torch.randn(32, 10, 20)).shape == (32, 5)
    with pytest.raises(ValueError, match=r"built for 10 steps and got 12"):
        model(torch.randn(32, 12, 20))
    with pytest.raises(ValueError, match=r"flatten needs seq_len"):
        make(pool="flatten")


@pytest.mark.parametrize("cell", ["rnn", "gru"])
def test_forget_bias_without_forget_gate_raises(cell: str) -> None:
    with pytest.raises(ValueError, match=rf"forget_bias: cell {cell} has no forget gate"):
        make(cell, forget_bias=3.0)


def test_forget_bias_changes_only_forget_gate() -> None:
    default, with_forget_bias = make("lstm", num_layers=2), make("lstm", num_layers=2, forget_bias=3.0)
    for layer in (0, 1):
        biases = [getattr(with_forget_bias.rnn.cells, f"bias_{kind}_l{layer}") for kind in ("ih", "hh")]
        default_biases = [getattr(default.rnn.cells, f"bias_{kind}_l{layer}") for kind in ("ih", "hh")]
        assert torch.equal(sum(biases)[4:8], torch.full((4,), 3.0))
        for bias, default_bias in zip(biases, default_biases, strict=True):
            assert torch.equal(bias[:4], default_bias[:4])
            assert torch.equal(bias[8:], default_bias[8:])


# Sizes.


def build_option(name: str, **changes: Any) -> nn.Module:
    """Build the model of ``conf/model`` with changes."""
    return factory.instantiate_node(configure(f"model={name}")["model"] | changes, nn.Module)


SEQUENCE = {"in_features": 20, "out_features": 1}
SIZES: dict[str, tuple[str, dict[str, Any], tuple[str, ...], int]] = {
    "LSTM_FC": (
        *("lstm", {"in_features": 20, "out_features": 5, "hidden_size": 50, "num_layers": 2, "pool": "flatten"}),
        *(("rnn", "pool", "head"), 37305),
    ),
    "two-layer LSTM": (
        "lstm",
        {"in_features": 10, "out_features": 1, "hidden_size": 20, "num_layers": 2},
        ("rnn",),
        5920,
    ),
    "SimpleRNN": ("rnn", SEQUENCE | {"out_features": 10}, ("rnn", "pool", "head"), 6154),
    "BiLSTM": ("bilstm_tagger", {"vocab_size": 50, "num_classes": 50}, ("embedding", "rnn", "head"), 16850),
    # The reference ends with the context vector: 264 of the GRU and 9 of the scores; the head here follows it.
    "AttnRNN": ("attention_rnn", {"in_features": 1, "out_features": 1, "hidden_size": 8}, ("rnn", "pool"), 273),
    "FFNN": ("mlp", {"flat_features": 20, "out_features": 1, "hidden": [64, 32]}, ("layers", "head"), 3457),
    "RNN": ("rnn", SEQUENCE, ("rnn", "pool", "head"), 5569),
    "LSTM": ("lstm", SEQUENCE, ("rnn", "pool", "head"), 22081),
    "GRU": ("gru", SEQUENCE, ("rnn", "pool", "head"), 16577),
    "BiRNN": ("birnn", SEQUENCE, ("rnn", "pool", "head"), 11137),
    "nested": ("nested_rnn", SEQUENCE, ("rnn", "pool", "head"), 22209),
}
"""Reference networks: model option, sizes, submodules that the reference has too, and their parameter count."""


@pytest.mark.parametrize("name", SIZES)
def test_parameter_counts_match_reference_networks(name: str) -> None:
    model_name, changes, parts, parameters = SIZES[name]
    model = build_option(model_name, **changes | ({"seq_len": 10} if changes.get("pool") == "flatten" else {}))
    assert sum(count(model.get_submodule(part)) for part in parts) == parameters


# Learning.


SLOW_MODELS = ("gru", "birnn", "bilstm", "bigru", "nested_rnn", "attention_rnn")


@pytest.mark.parametrize("model", ["rnn", *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW_MODELS)])
@pytest.mark.slow
def test_models_learn_synthetic_sequences(model: str) -> None:
    assert lab(f"model={model}", "data.rows=2000", "epochs=5", "optimizer.lr=3e-3").test()["accuracy"] > 0.8


def test_reading_only_last_step_learns_little() -> None:
    run = lab("model=gru", "data.rows=2000", "epochs=5", "optimizer.lr=3e-3")
    original_forward = run.task.model.forward
    run.task.model.forward = lambda x: original_forward(x[:, -1:])
    assert run.test()["accuracy"] < 0.7


SHORT = ("data=first_plus_last", "data.rows=1500", "data.length=30", "epochs=10", "batch_size=32")
FIRST = ("data=first_token", "data.rows=1500", "data.length=50", "data.tokens=8", "epochs=4", "batch_size=32")


@pytest.mark.slow
def test_bidirectional_model_uses_both_ends() -> None:
    assert lab("model=birnn", *SHORT).test()["mse"] < 0.01
    assert lab("model=birnn", *FIRST).test()["accuracy"] > 0.99


@pytest.mark.slow
def test_last_output_pool_uses_one_end() -> None:
    both, first = lab("model=birnn", *SHORT), lab("model=birnn", *FIRST)
    both.task.model.pool = first.task.model.pool = LastOutputs()
    assert both.test()["mse"] > 0.06
    assert first.test()["accuracy"] < 0.6


@pytest.mark.slow
def test_forget_bias_enables_long_memory() -> None:
    short = ("model=lstm", "data=first_token", "data.rows=2000", "data.length=15", "data.tokens=4", "epochs=8")
    assert lab(*short, "model.forget_bias=3").test()["accuracy"] > 0.95
    assert lab(*short).test()["accuracy"] < 0.6
