"""What no walk comes to the end of, or no operation takes, is refused as soon as it is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import torch

from tests.helpers.own_runs import evaluate_scores, train_run
from trainer.engine import checkpoint, checkpoint_nesting
from trainer.utils.errors import ConfigError


def loop() -> list[Any]:
    found: list[Any] = [0]
    found.append(found)
    return found


def circle() -> dict[str, Any]:
    found: dict[str, Any] = {"a": {}}
    found["a"]["b"] = found
    return found


def bomb() -> list[Any]:
    found = [0] * 10
    for _ in range(12):
        found = [found] * 10  # type: ignore[list-item]
    return found


def deep(levels: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(levels - 1):
        found = [found]
    return found


def with_metadata(metadata: Any) -> dict[str, Any]:
    found = torch.nn.BatchNorm1d(3).state_dict()
    found._metadata = metadata  # type: ignore[attr-defined]
    return found


def quantized() -> torch.Tensor:
    return torch._empty_affine_quantized([3], scale=0.1, zero_point=0, dtype=torch.qint8)


BAD: dict[str, tuple[Callable[[], Any], str]] = {
    "a list that holds itself": (loop, "x.y.1 contains itself"),
    "a mapping that holds itself": (circle, r"x.y.a.b contains itself"),
    "lists of lists": (bomb, "refer to each other so often"),
    "depth": (lambda: deep(60), "is nested more than 50 deep"),
    "depth of what was met before": (
        lambda: [(part := deep(30)), [[part] for _ in range(1)], [[[[[[[[[[[[[[[[[[[[[part]]]]]]]]]]]]]]]]]]]]]],
        "is nested more than 50 deep",
    ),
    "elements that are not there": (lambda: torch.zeros(1).expand(10**13), "x.y is a tensor of 10,000,000,000,000"),
    "sparse": (lambda: torch.eye(3).to_sparse(), "x.y is a sparse tensor"),
    "without content": (lambda: torch.zeros(3, device="meta"), "x.y is a tensor of device meta"),
    "conjugate": (lambda: torch.zeros(3, dtype=torch.complex64).conj(), "x.y is a tensor that is computed"),
    "negative": (lambda: torch._neg_view(torch.zeros(3)), "x.y is a tensor that is computed"),
    "quantized": (quantized, "x.y is a quantized tensor"),
    "a tensor for a key": (lambda: {torch.zeros(2): 1}, "is a key of type Tensor"),
    "versions that are none": (lambda: with_metadata(5), "x.y._metadata is not the metadata that torch saves"),
    "a version that is none": (
        lambda: with_metadata({"": {"version": "x"}}),
        "x.y._metadata is not the metadata that torch saves",
    ),
}


@pytest.mark.filterwarnings("ignore")  # of torch, about kinds of tensors that are no longer made
@pytest.mark.parametrize("name", BAD)
def test_a_file_is_refused_by_name_and_place(name: str, tmp_path: Path) -> None:
    make, said = BAD[name]
    file = tmp_path / checkpoint.LAST
    torch.save({"x": {"y": make()}}, file)
    started = monotonic()
    with pytest.raises(ConfigError, match=said) as told:
        checkpoint.load_checkpoint(file)
    assert str(file) in str(told.value)
    assert monotonic() - started < 5


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
    checkpoint_nesting.check_nesting(deep(50), tmp_path / checkpoint.LAST)


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.parametrize(
    ("part", "make"), [("data", loop), ("run_metadata", circle), ("data", lambda: torch.eye(3).to_sparse())]
)
def test_a_run_whose_checkpoint_has_no_end_is_refused_with_a_message(part: str, make: Callable[[], Any]) -> None:
    path = train_run("csv")
    best = torch.load(path / checkpoint.BEST, weights_only=True)
    best[part]["fitted" if part == "data" else "config"] = make()
    torch.save(best, path / checkpoint.BEST)
    with pytest.raises(ConfigError, match=rf"best\.pt: {part}\.\w+"):
        evaluate_scores(path)
