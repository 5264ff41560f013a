"""TensorCache: reuse between steps and invalidation."""

from __future__ import annotations

import copy
import gc
import pickle
from collections.abc import Callable

import torch
from torch import Tensor, nn

from tests.helpers.graphs import every, random_graph
from trainer.models.layers.graph.tensor_cache import TensorCache


class TestTensorCache:
    @every
    def test_a_changed_graph_is_detected(self, make: Callable[[], nn.Module]) -> None:
        x, edge_index, weight = random_graph()
        model = make()
        before = model(x, edge_index, weight)
        assert torch.equal(model(x, edge_index, weight), before)
        weight[3] += 2.0
        changed = model(x, edge_index, weight)
        assert not torch.allclose(changed, before)
        torch.testing.assert_close(changed, model(x.clone(), edge_index.clone(), weight.clone()))
        x += 1.0
        assert not torch.allclose(model(x, edge_index, weight), changed)

    def test_value_is_computed_once_and_freed_with_its_tensors(self) -> None:
        calls: list[int] = []
        cache = TensorCache()

        def make(x: Tensor, factor: int) -> Tensor:
            calls.append(factor)
            return x * factor

        x = torch.ones(3)
        for _ in range(3):
            cache(make, x, 2)
        cache(make, x, 3)
        assert calls == [2, 3]
        del x
        gc.collect()
        cache(make, torch.ones(3), 4)
        assert len(cache._entries) == 1

    @every
    def test_a_freed_graph_leaves_no_cache_entry(self, make: Callable[[], nn.Module]) -> None:
        model = make()
        for _ in range(5):
            x, edge_index, weight = random_graph()
            model(x, edge_index, weight)
            del x, edge_index, weight
        assert len(model.body.cache._entries) <= 2

    def test_tensors_with_gradient_are_not_cached(self) -> None:
        cache, x = TensorCache(), torch.ones(3, requires_grad=True)
        assert cache(torch.neg, x) is not cache(torch.neg, x)

    @every
    def test_is_excluded_from_copies_and_state_dict(self, make: Callable[[], nn.Module]) -> None:
        x, edge_index, _ = random_graph()
        model = make()
        before = set(model.state_dict())
        out = model(x, edge_index)
        assert set(model.state_dict()) == before
        for clone in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert not clone.body.cache._entries
            assert torch.equal(clone(x, edge_index), out)

    @every
    def test_inference_tensors_are_not_cached(self, make: Callable[[], nn.Module]) -> None:
        x, edge_index, _ = random_graph()
        model = make()
        untouched = copy.deepcopy(model)
        with torch.inference_mode():
            model(x, edge_index)
        assert not model.body.cache._entries
        for network in (model, untouched):
            network(x, edge_index).sum().backward()
        for (name, parameter), expected in zip(model.named_parameters(), untouched.parameters(), strict=True):
            assert parameter.grad is not None, name
            assert torch.equal(parameter.grad, expected.grad), name
