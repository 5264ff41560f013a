from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from conftest import lab
from torch import Tensor

from trainer.errors import ConfigError
from trainer.models.rnn import RNN

OPTIONS: dict[str, Any] = {
    "in_features": 3,
    "out_features": 2,
    "hidden_size": 4,
    "num_layers": 1,
    "bidirectional": False,
    "dropout": 0.0,
    "pool": "last",
}


def make(cell: str = "gru", **options: Any) -> RNN:
    torch.manual_seed(0)
    return RNN(cell, **OPTIONS | options).eval()  # type: ignore[arg-type]


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def reference(cell: str, x: np.ndarray, w: np.ndarray, u: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """The last state of one layer over x (T, F), from the textbook's equations and torch's order of gates."""
    h = memory = np.zeros(u.shape[1])
    for step in x:
        read, kept = w @ step + b, u @ h + c
        if cell == "rnn":
            h = np.tanh(read + kept)
        elif cell == "lstm":
            i, f, g, o = np.split(read + kept, 4)
            memory = _sigmoid(f) * memory + _sigmoid(i) * np.tanh(g)
            h = _sigmoid(o) * np.tanh(memory)
        else:
            (read_r, read_z, read_n), (kept_r, kept_z, kept_n) = np.split(read, 3), np.split(kept, 3)
            z = _sigmoid(read_z + kept_z)
            h = (1 - z) * np.tanh(read_n + _sigmoid(read_r + kept_r) * kept_n) + z * h
    return h


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_cells_are_their_equations(cell: str, bidirectional: bool) -> None:
    model = make(cell, bidirectional=bidirectional)
    x = torch.randn(5, 7, 3)
    weights = {name: value.double().numpy() for name, value in model.state_dict().items()}

    def end(row: np.ndarray, suffix: str) -> np.ndarray:
        names = (f"rnn.{kind}_l0{suffix}" for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        return reference(cell, row, *(weights[name] for name in names))

    for row, output in zip(x.double().numpy(), model(x), strict=True):
        ends = [end(row, "")] + ([end(row[::-1], "_reverse")] if bidirectional else [])
        expected = weights["head.weight"] @ np.concatenate(ends) + weights["head.bias"]
        np.testing.assert_allclose(output.detach().numpy(), expected, atol=1e-5)


class LastOutputs(RNN):
    """The usual mistake: the outputs at the last step, where the backward half has read one step only."""

    def __init__(self, **options: Any):
        super().__init__(**options)

    def _summary(self, steps: Tensor, state: Any, lengths: Tensor | None) -> Tensor:
        return steps[:, -1]


def backward_half_gradients(model: RNN) -> Tensor:
    """How much each step of x moves the output through the weights of the backward half: (T,)."""
    half = model.head.in_features // 2
    model.head.weight.data[:, :half] = 0
    x = torch.randn(2, 9, 3, requires_grad=True)
    model(x).sum().backward()
    assert x.grad is not None
    return x.grad.abs().sum((0, 2))


def test_the_backward_half_has_read_every_step() -> None:
    right, wrong = make("rnn", bidirectional=True), LastOutputs(cell="rnn", **OPTIONS | {"bidirectional": True})
    assert (backward_half_gradients(right) > 0).all()
    assert (backward_half_gradients(wrong)[:-1] == 0).all()


@pytest.mark.parametrize("pool", ["last", "mean", "max", "attention", "flatten"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_padding_is_not_read_and_rows_stay_in_order(pool: str, bidirectional: bool) -> None:
    model = make("lstm", pool=pool, bidirectional=bidirectional, num_layers=2, seq_len=6)
    x, lengths = torch.randn(4, 6, 3), torch.tensor([2, 6, 1, 4])
    output = model(x, lengths)
    garbage = torch.where(torch.arange(6)[:, None] < lengths[:, None, None], x, torch.nan)
    torch.testing.assert_close(model(garbage, lengths), output)
    if pool != "flatten":
        alone = [model(row[None, :length]) for row, length in zip(x, lengths, strict=True)]
        torch.testing.assert_close(output, torch.cat(alone))


@pytest.mark.parametrize("pool", ["last", "mean", "max", "attention", "flatten"])
def test_full_lengths_change_nothing(pool: str) -> None:
    model = make("gru", pool=pool, bidirectional=True, seq_len=6)
    x = torch.randn(3, 6, 3)
    torch.testing.assert_close(model(x), model(x, torch.full((3,), 6)))


def test_poolings_are_what_they_say() -> None:
    x, lengths = torch.randn(1, 6, 3), torch.tensor([4])
    for pool, summary in (("mean", lambda h: h.mean(0)), ("max", lambda h: h.amax(0))):
        model = make("gru", pool=pool)
        steps = model.rnn(x[:, :4])[0][0]
        torch.testing.assert_close(model(x, lengths)[0], model.head(summary(steps)))
    model = make("gru", pool="attention")
    steps = model.rnn(x[:, :4])[0][0]
    weights = torch.nn.functional.linear(steps, model.score.weight, model.score.bias).softmax(0)
    torch.testing.assert_close(model(x, lengths)[0], model.head((weights * steps).sum(0)))


def test_flatten_keeps_every_step_apart_and_wants_its_number() -> None:
    model = RNN("lstm", 20, 5, 50, 2, False, 0.0, "flatten", seq_len=10)
    assert sum(parameter.numel() for parameter in model.parameters()) == 37305
    assert model(torch.randn(32, 10, 20)).shape == (32, 5)
    with pytest.raises(ConfigError, match=r"built for 10 steps and got 12"):
        model(torch.randn(32, 12, 20))
    with pytest.raises(ConfigError, match=r"flatten needs model\.seq_len"):
        make(pool="flatten")


@pytest.mark.parametrize("cell", ["rnn", "gru"])
def test_only_the_lstm_has_a_forget_gate(cell: str) -> None:
    with pytest.raises(ConfigError, match=rf"model\.forget_bias: cell {cell} has no forget gate"):
        make(cell, forget_bias=3.0)


def test_forget_bias_opens_the_forget_gate_alone() -> None:
    plain, opened = make("lstm", num_layers=2), make("lstm", num_layers=2, forget_bias=3.0)
    for layer in (0, 1):
        biases = [getattr(opened.rnn, f"bias_{kind}_l{layer}") for kind in ("ih", "hh")]
        before = [getattr(plain.rnn, f"bias_{kind}_l{layer}") for kind in ("ih", "hh")]
        assert torch.equal(sum(biases)[4:8], torch.full((4,), 3.0))
        for bias, was in zip(biases, before, strict=True):
            assert torch.equal(bias[:4], was[:4])
            assert torch.equal(bias[8:], was[8:])


@pytest.mark.parametrize(
    ("model", "count"),
    [("rnn", 5569), ("lstm", 22081), ("gru", 16577), ("birnn", 11137), ("nested_rnn", 22209)],
)
def test_sizes_are_those_of_the_named_networks(model: str, count: int) -> None:
    built = lab(f"model={model}", "data=synthetic_seq", "data.rows=100").task.model
    assert sum(parameter.numel() for parameter in built.parameters()) == count


@pytest.mark.parametrize("model", ["rnn", "gru", "birnn", "bilstm", "bigru", "nested_rnn"])
def test_every_member_learns_what_each_step_says(model: str) -> None:
    assert lab(f"model={model}", "data.rows=2000", "epochs=5", "optimizer.lr=3e-3").test()["accuracy"] > 0.8


SHORT = ("data=first_plus_last", "data.rows=1500", "data.length=30", "epochs=10", "batch_size=32")


@pytest.mark.slow
def test_both_ends_are_heard() -> None:
    assert lab("model=birnn", *SHORT).test()["mse"] < 0.01


@pytest.mark.slow
def test_the_last_output_of_both_directions_hears_one_end() -> None:
    run = lab("model=birnn", *SHORT)
    run.task.model._summary = lambda steps, *_: steps[:, -1]
    assert run.test()["mse"] > 0.06


@pytest.mark.slow
def test_an_open_forget_gate_remembers_what_a_default_one_forgets() -> None:
    short = ("model=lstm", "data=first_token", "data.rows=2000", "data.length=15", "data.tokens=4", "epochs=8")
    assert lab(*short, "model.forget_bias=3").test()["accuracy"] > 0.95
    assert lab(*short).test()["accuracy"] < 0.6
