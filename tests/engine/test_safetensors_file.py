"""Safetensors files: read as written by the package, and refused in a sentence if they are damaged or hostile."""

from __future__ import annotations

import json
import pickle
import struct
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from trainer.engine.safetensors_file import read_weights
from trainer.utils.errors import ConfigError

ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def pack(header: object, data: bytes = bytes(8), length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def test_tensors_are_read_as_they_were_written(tmp_path: Path) -> None:
    weights = {"a.weight": torch.randn(3, 2), "b": torch.arange(4), "c": torch.randn(5).bfloat16()}
    save_file(weights, tmp_path / "w.safetensors", metadata={"format": "pt"})
    found = read_weights(tmp_path / "w.safetensors")
    assert found.keys() == weights.keys()
    assert all(torch.equal(value, found[name]) and value.dtype == found[name].dtype for name, value in weights.items())


DAMAGED = {
    "empty": b"",
    "short": b"\x01\x02",
    "text": b"not a file of tensors, but long enough",
    "pickle": pickle.dumps({"w": [0.0]}),
    "no JSON": pack(b"{not json}"),
    "a list": pack([1, 2]),
    "no entry": pack({"w": 1}),
    "huge header": pack({"w": ENTRY}, length=1 << 62),
    "long header": pack({"w": ENTRY}, length=1 << 20),
    "truncated data": pack({"w": ENTRY}, data=bytes(5)),
    "huge shape": pack({"w": ENTRY | {"shape": [1 << 40, 1 << 20]}}),
    "negative shape": pack({"w": ENTRY | {"shape": [-2]}}),
    "overlap": pack({"w": ENTRY, "v": ENTRY}),
    "gap": pack({"w": ENTRY | {"data_offsets": [4, 12]}}, data=bytes(12)),
    "unknown type": pack({"w": ENTRY | {"dtype": "PICKLE"}}),
    "not finite": pack({"w": ENTRY}, data=struct.pack("<ff", 1.0, float("nan"))),
    "no tensors": pack({}, data=b""),
    "nested": pack(b"[" * 100_000),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_refused_in_a_sentence(name: str, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(DAMAGED[name])
    with pytest.raises(ConfigError) as caught:
        read_weights(path)
    message = str(caught.value)
    assert message.startswith(f"init_from: {path}")
    assert "\n" not in message


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ConfigError, match=r"pip install 'train-zoo\[safetensors\]'"):
        read_weights(tmp_path / "w.safetensors")
