"""Checkpoints with cycles, deep nesting or unusual tensors are refused when they are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import pytest
import torch

from tests.helpers.own_runs import evaluate_scores, train_run
from trainer.engine import checkpoint, checkpoint_nesting
from trainer.utils.errors import ConfigError


def make_recursive_list() -> list[Any]:
    found: list[Any] = [0]
    found.append(found)
    return found


def make_recursive_dict() -> dict[str, Any]:
    found: dict[str, Any] = {"a": {}}
    found["a"]["b"] = found
    return found


def make_nested_aliases() -> list[Any]:
    found = [0] * 10
    for _ in range(12):
        found = [found] * 10  # type: ignore[list-item]
    return found


def nest_lists(levels: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(levels - 1):
        found = [found]
    return found


def with_metadata(metadata: Any) -> dict[str, Any]:
    found = torch.nn.BatchNorm1d(3).state_dict()
    found._metadata = metadata  # type: ignore[attr-defined]
    return found


def make_quantized() -> torch.Tensor:
    return torch._empty_affine_quantized([3], scale=0.1, zero_point=0, dtype=torch.qint8)


INVALID: dict[str, tuple[Callable[[], Any], str]] = {
    "recursive list": (make_recursive_list, "x.y.1 contains itself"),
    "recursive mapping": (make_recursive_dict, r"x.y.a.b contains itself"),
    "nested aliases": (make_nested_aliases, "refer to each other so often"),
    "deep nesting": (lambda: nest_lists(60), "is nested more than 50 deep"),
    "deep nesting of a shared list": (
        lambda: [(part := nest_lists(30)), [[part] for _ in range(1)], [[[[[[[[[[[[[[[[[[[[[part]]]]]]]]]]]]]]]]]]]]]],
        "is nested more than 50 deep",
    ),
    "expanded": (lambda: torch.zeros(1).expand(10**13), "x.y is a tensor of 10,000,000,000,000"),
    "sparse": (lambda: torch.eye(3).to_sparse(), "x.y is a sparse tensor"),
    "meta": (lambda: torch.zeros(3, device="meta"), "x.y is a tensor of device meta"),
    "conjugate": (lambda: torch.zeros(3, dtype=torch.complex64).conj(), "x.y is a tensor that is computed"),
    "negative": (lambda: torch._neg_view(torch.zeros(3)), "x.y is a tensor that is computed"),
    "quantized": (make_quantized, "x.y is a quantized tensor"),
    "tensor as key": (lambda: {torch.zeros(2): 1}, "is a key of type Tensor"),
    "invalid metadata": (lambda: with_metadata(5), "x.y._metadata is not the metadata that torch saves"),
    "invalid version": (
        lambda: with_metadata({"": {"version": "x"}}),
        "x.y._metadata is not the metadata that torch saves",
    ),
}


@pytest.mark.filterwarnings("ignore")  # of torch, about kinds of tensors that are no longer made
@pytest.mark.parametrize("name", INVALID)
def test_invalid_content_raises_with_file_and_key(name: str, tmp_path: Path) -> None:
    make, message = INVALID[name]
    file = tmp_path / checkpoint.LAST
    torch.save({"x": {"y": make()}}, file)
    started = process_time()  # not of other processes
    with pytest.raises(ConfigError, match=message) as caught:
        checkpoint.load_checkpoint(file)
    assert str(file) in str(caught.value)
    assert process_time() - started < 5


def test_shared_and_tied_weights_are_read(tmp_path: Path) -> None:
    weights, names = torch.arange(1000.0), ["a", "b"]
    tied = {"w": weights, "again": weights, "turned": weights.view(10, 100).T, "p": torch.nn.Parameter(weights)}
    state = {
        "task": tied,
        "empty": torch.zeros(0),
        "strides": torch.zeros(2, 3, 4, 4).contiguous(memory_format=torch.channels_last),
        "names": [names] * 50,
        "keys": {("a", 1): None, 2: torch.float32, "s": {1, 2}},
        "module": torch.nn.BatchNorm1d(3).state_dict(),
    }
    torch.save(state, tmp_path / checkpoint.LAST)
    assert checkpoint.load_checkpoint(tmp_path / checkpoint.LAST).keys() == state.keys()
    checkpoint_nesting.check_nesting(nest_lists(50), tmp_path / checkpoint.LAST)


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.parametrize(
    ("part", "make"),
    [("data", make_recursive_list), ("run_metadata", make_recursive_dict), ("data", lambda: torch.eye(3).to_sparse())],
)
def test_evaluate_with_an_invalid_checkpoint_raises(part: str, make: Callable[[], Any]) -> None:
    path = train_run("csv")
    best = torch.load(path / checkpoint.BEST, weights_only=True)
    best[part]["fitted" if part == "data" else "config"] = make()
    torch.save(best, path / checkpoint.BEST)
    with pytest.raises(ConfigError, match=rf"best\.pt: {part}\.\w+"):
        evaluate_scores(path)
