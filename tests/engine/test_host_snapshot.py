"""Copies of states on the host are independent, share memory as the state does, and reuse their memory."""

from __future__ import annotations

import io
from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import nn

from tests.helpers.digest import digest
from trainer.engine.host_snapshot import MIN_REUSED_BYTES, HostSnapshot

LARGE = MIN_REUSED_BYTES // 4


def make_state() -> dict[str, Any]:
    vector = torch.arange(20.0)
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    return {
        "task": model.state_dict(),
        "views": {"a": vector[:6].view(2, 3), "b": vector[8:16].view(4, 2).t(), "same": vector},
        "other": [torch.zeros(()), (torch.tensor([True]), torch.empty(0), torch.ones(2, dtype=torch.float16)), "x", 1],
        "none": None,
        "param_groups": {"model": {"average": torch.rand(LARGE + 3), "small": torch.rand(3), "steps": 2}},
    }


def overwrite(value: Any) -> None:
    """Change every tensor and container of a state."""
    if isinstance(value, torch.Tensor):
        value.zero_()
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ():
        overwrite(item)
    if isinstance(value, dict | list):
        value.clear()


def count_file_bytes(state: dict[str, Any]) -> int:
    file = io.BytesIO()
    torch.save(state, file)
    return len(file.getvalue())


@pytest.mark.parametrize("keys", [(), ("param_groups",)])
def test_a_copy_is_equal_and_independent(keys: tuple[str, ...]) -> None:
    state = make_state()
    expected = digest(state)
    copied, complete = HostSnapshot().copy(state, keys)
    complete()
    overwrite(state)
    assert digest(copied) == expected


def test_a_copy_shares_memory_and_versions_as_the_state_does() -> None:
    state = make_state()
    copied, complete = HostSnapshot().copy(state)
    complete()
    assert count_file_bytes(copied) == count_file_bytes(state)
    views = copied["views"]
    assert views["a"].data_ptr() == views["same"].data_ptr() != state["views"]["a"].data_ptr()
    assert views["b"].stride() == state["views"]["b"].stride()
    assert isinstance(copied["task"], OrderedDict)
    assert copied["task"]._metadata == state["task"]._metadata  # type: ignore[attr-defined]


def test_sparse_tensors_are_copied() -> None:
    sparse = torch.eye(3).to_sparse()
    copied, complete = HostSnapshot().copy({"adjacency": sparse})
    complete()
    sparse.values().zero_()
    assert torch.equal(copied["adjacency"].to_dense(), torch.eye(3))


def test_only_large_tensors_of_deferred_keys_are_copied_later() -> None:
    state = make_state()
    group = state["param_groups"]["model"]
    state["task"]["shared"] = group["shared"] = torch.rand(LARGE)
    expected = {name: group[name].clone() for name in ("average", "small", "shared")}
    copied, complete = HostSnapshot().copy(state, ("param_groups",))
    for name in expected:
        group[name].zero_()
    complete()
    result = copied["param_groups"]["model"]
    assert torch.equal(result["small"], expected["small"])
    assert torch.equal(result["shared"], expected["shared"]), "weights in an average, too, are not deferred"
    assert not result["average"].any(), "it was not deferred: the other assertions prove nothing"


def test_memory_of_large_tensors_is_reused_and_freed() -> None:
    snapshot = HostSnapshot()
    sizes = [LARGE, LARGE, 2 * LARGE]

    def copy(sizes: list[int]) -> list[int]:
        copied, complete = snapshot.copy({str(n): torch.full((size,), float(n)) for n, size in enumerate(sizes)})
        complete()
        assert [tensor[0].item() for tensor in copied.values()] == list(range(len(sizes)))
        return [tensor.data_ptr() for tensor in copied.values()]

    first, second = copy(sizes), copy(sizes)
    assert sorted(first) == sorted(second)
    assert len({*first}) == 3
    copy([LARGE])
    assert sum(map(len, snapshot._buffers.values())) == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_copy_from_a_gpu_is_of_the_moment_it_was_started() -> None:
    snapshot = HostSnapshot()
    for round_number in range(5):
        source = torch.full((20_000_000,), float(round_number), device="cuda")
        copied, complete = snapshot.copy({"param_groups": {"w": source}, "views": source[5:]}, ("param_groups",))
        source.zero_()
        complete()
        assert copied["param_groups"]["w"].device.type == "cpu"
        assert bool((copied["param_groups"]["w"] == round_number).all())
