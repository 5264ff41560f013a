"""Parameters as views of one flat vector."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from trainer.optim.flat_params import FlatParameters


def find_parameter_entries(flat: FlatParameters) -> torch.Tensor:
    """Return a mask of the entries that belong to a parameter."""
    mask = torch.zeros_like(flat.data, dtype=torch.bool)
    for p in flat.parameters:
        mask.as_strided(p.shape, p.stride(), p.storage_offset()).fill_(True)
    return mask


def test_parameters_and_gradients_are_views_of_the_vector() -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    x = torch.randn(4, 3)
    before = model(x)
    flat = FlatParameters(model.parameters())
    assert torch.equal(model(x), before)
    with torch.no_grad():
        flat.data.mul_(2)
    torch.testing.assert_close(model(x), 2 * before)
    model(x).sum().backward()
    assert model.weight.grad is not None
    assert model.weight.grad.data_ptr() == flat.grad.data_ptr()
    torch.testing.assert_close(flat.grad[:6].view(2, 3), x.sum(0).expand(2, 3))
    flat.zero_grad()
    assert not model.weight.grad.any()


def test_padding_stays_zero_and_parameters_do_not_overlap() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5), nn.Linear(5, 2))
    flat = FlatParameters(model.parameters())
    mask = find_parameter_entries(flat)
    assert int(mask.sum()) == sum(p.numel() for p in model.parameters())
    for _ in range(3):
        flat.zero_grad()
        model(torch.randn(4, 3)).square().sum().backward()
        with torch.no_grad():
            flat.data.add_(flat.grad, alpha=-0.1)
    assert not flat.grad[~mask].any()
    assert not flat.data[~mask].any()
    assert all(p.data_ptr() % 64 == flat.data.data_ptr() % 64 for p in model.parameters())


def test_selected_decayed_parameters_come_first() -> None:
    model = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2))
    bias = model[0].bias
    flat = FlatParameters(model.parameters(), {bias})
    assert flat.parameters[0] is bias
    assert flat.num_decayed == 16
    assert all((p.storage_offset() < flat.num_decayed) == (p is bias) for p in model.parameters())


def test_matrices_come_first() -> None:
    model = nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5), nn.Linear(5, 2))
    flat = FlatParameters(model.parameters())
    starts = {p.storage_offset(): p.ndim for p in model.parameters()}
    assert all((start < flat.num_decayed) == (ndim >= 2) for start, ndim in starts.items())


def test_tied_parameters_are_counted_once() -> None:
    embedding, head = nn.Embedding(7, 4), nn.Linear(4, 7, bias=False)
    head.weight = embedding.weight
    model = nn.ModuleList([embedding, head])
    flat = FlatParameters(parameter for layer in (embedding, head) for parameter in layer.parameters())
    assert len(flat.parameters) == 1
    assert len(flat.data) == 32  # 28 numbers, padded to a multiple of 16
    head(embedding(torch.tensor([1, 2]))).sum().backward()
    twin = nn.Parameter(embedding.weight.detach().clone())
    nn.functional.linear(twin[torch.tensor([1, 2])], twin).sum().backward()
    assert twin.grad is not None
    torch.testing.assert_close(flat.grad[:28].view(7, 4), twin.grad)
    assert len(list(model.parameters())) == 1


def test_channels_last_stays_channels_last() -> None:
    model = nn.Conv2d(4, 6, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    stride = model.weight.stride()
    values = model.weight.detach().clone()
    FlatParameters(model.parameters())
    assert model.weight.stride() == stride
    assert model.weight.grad is not None
    assert model.weight.grad.stride() == stride
    assert torch.equal(model.weight, values)


@pytest.mark.parametrize(
    "make", [lambda w: w[:, :4], lambda w: w[:, ::2], lambda w: w[:1].expand(6, 8), lambda w: w.t()]
)
def test_parameter_that_is_a_view_gets_its_own_entries(make: object) -> None:
    torch.manual_seed(0)
    view = nn.Parameter(make(torch.randn(6, 8)))  # type: ignore[operator]
    other = nn.Parameter(torch.randn(5, 5))
    values = [view.detach().clone(), other.detach().clone()]
    flat = FlatParameters([view, other])
    assert int(find_parameter_entries(flat).sum()) == view.numel() + other.numel()
    assert torch.equal(view, values[0])
    assert torch.equal(other, values[1])


def test_load_state_dict_updates_the_vector() -> None:
    source, model = nn.Linear(3, 2), nn.Linear(3, 2)
    flat = FlatParameters(model.parameters())
    model.load_state_dict(source.state_dict())
    assert torch.equal(flat.data[:6].view(2, 3), source.weight)
    with torch.no_grad():
        flat.data.zero_()
    assert not model.weight.any()


def test_frozen_parameters_are_left_out() -> None:
    frozen, trained = nn.Linear(3, 5), nn.Linear(5, 2)
    frozen.requires_grad_(False)
    pointer = frozen.weight.data_ptr()
    flat = FlatParameters(nn.Sequential(frozen, trained).parameters())
    assert {id(p) for p in flat.parameters} == {id(p) for p in trained.parameters()}
    assert frozen.weight.data_ptr() == pointer
    with pytest.raises(AssertionError, match="without parameters"):
        FlatParameters(frozen.parameters())


def test_the_nonfinite_gradient_is_reported() -> None:
    head = nn.Linear(5, 2)
    model = nn.Sequential(nn.Linear(3, 5), head)
    flat = FlatParameters(model.parameters())
    assert flat.nonfinite_parameter_names(model.named_parameters()) == []
    assert head.bias.grad is not None
    head.bias.grad[1] = float("inf")
    assert flat.nonfinite_parameter_names(model.named_parameters()) == ["1.bias"]


def train_twice(model: nn.Module, flat: FlatParameters, change: Callable[[nn.Module], object]) -> torch.Tensor:
    """Return the weights after two steps of gradient descent with a change of the model in between."""
    x = torch.linspace(-1, 1, 12).view(4, 3)
    for step in range(2):
        if step:
            change(model)
        flat.zero_grad()
        model(x).square().sum().backward()
        with torch.no_grad():
            flat.data.add_(flat.grad, alpha=-0.01)
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.zero_grad(),
        lambda model: model.double().float(),
        lambda model: (model.zero_grad(), model(torch.ones(1, 3)).sum().backward()),
    ],
)
def test_training_continues_after_a_callback_replaces_tensors(change: Callable[[nn.Module], object]) -> None:
    def make() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2))

    first, second = make(), make()
    expected = train_twice(first, FlatParameters(first.parameters()), lambda _: None)
    assert torch.equal(train_twice(second, FlatParameters(second.parameters()), change), expected)


def test_parameters_converted_by_a_callback_raise() -> None:
    model = nn.Linear(3, 2)
    flat = FlatParameters(model.parameters(), names={p: name for name, p in model.named_parameters()})
    with pytest.raises(RuntimeError, match=r"parameter weight was changed to float64 \[2, 3\] on cpu"):
        train_twice(model, flat, lambda model: model.double())


def test_parameters_of_several_dtypes_are_refused_by_name() -> None:
    model = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2).double())
    names = {p: name for name, p in model.named_parameters()}
    with pytest.raises(ValueError, match=r"one dtype and device: 0\.weight is float32 on cpu, 1\.weight is flo"):
        FlatParameters(model.parameters(), names=names)
