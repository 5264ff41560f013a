from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch

from trainer.engine import plain_state
from trainer.utils import digests

STATE: dict[str, Any] = {
    "numbers": [0, -0.0, 0.1 + 0.2, 5e-324, 1e300, 2**70, True, None, math.inf, -math.inf, math.nan],
    "text": ["", 'ü\n"', "\udc80", "$tensor", "a/b~c"],
    "tensors": {"a/b": torch.arange(3), "a~1b": [torch.zeros(0, 2), torch.tensor(1.5, dtype=torch.float64)]},
    "tuple": (1, (2.0, torch.ones(1, dtype=torch.bool))),
    "keys": {0: "zero", None: [torch.zeros(1)], "$tensor": "text"},
    "empty": [{}, [], ()],
}


def describe(value: Any) -> Any:
    """Return a value that is equal for equal types, bits and order."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.tolist()
    if isinstance(value, dict):
        return [(describe(key), describe(item)) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return type(value), [describe(item) for item in value]
    return type(value), repr(value)


def test_state_passes_through_json_and_named_tensors() -> None:
    plain, tensors = plain_state.split_tensors(STATE)
    text = json.dumps(plain, allow_nan=False)
    joined = plain_state.join_tensors(json.loads(text), tensors)
    assert describe(joined) == describe(STATE)
    assert digests.digest_parts(joined) == digests.digest_parts(STATE)
    assert {"/tensors/a~1b", "/tensors/a~01b/0", "/tuple/1/1", "/keys/1/1/0"} <= tensors.keys()
    assert all(name.startswith("/") for name in tensors)


@pytest.mark.parametrize("value", [b"bytes", 1j, {1, 2}, torch.float32, range(2)], ids=repr)
def test_values_without_a_form_in_json_are_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=f"/a/1 is of type {type(value).__name__}"):
        plain_state.split_tensors({"a": [0, value]})


@pytest.mark.parametrize(
    "value",
    [
        {"$tensor": "/b"},
        {"$tensor": ["/a"]},
        [{"$tensor": "/a"}, {"$tensor": "/a"}],
        {"$tensor": "/a", "x": 1},
        {"$float": "1e3"},
        {"$float": {"$tensor": "/a"}},
        {"$tuple": "ab"},
        {"$items": [[1, 2, 3]]},
        {"$items": [[[], 2]]},
        {"$items": {"a": 1}},
        {"$code": "x"},
    ],
    ids=str,
)
def test_invalid_marks_are_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="has a value that no run saves there"):
        plain_state.join_tensors({"x": value}, {"/a": torch.zeros(1)})


def test_tensor_that_no_value_names_is_refused() -> None:
    with pytest.raises(ValueError, match="no value refers to the tensor '/b'"):
        plain_state.join_tensors({"$tensor": "/a"}, {"/a": torch.zeros(1), "/b": torch.zeros(1)})
