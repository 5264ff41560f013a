"""Checkpoint files that are truncated, corrupt or contain code raise and are never loaded."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import random
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.helpers.states import equal, load_step, make_state
from trainer.engine.checkpoint import LAST, PREVIOUS, load_checkpoint, load_newest, save_checkpoint
from trainer.utils.errors import ConfigError


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_truncated_checkpoint_is_replaced_by_the_previous_one(
    tmp_path: Path, fraction: float, caplog: pytest.LogCaptureFixture
) -> None:
    for step in (1, 2):
        save_checkpoint(make_state(step), tmp_path / LAST)
    data = (tmp_path / LAST).read_bytes()
    (tmp_path / LAST).write_bytes(data[: int(len(data) * fraction)])
    with pytest.raises(ConfigError, match=r"last\.pt is not a complete checkpoint") as caught:
        load_checkpoint(tmp_path / LAST)
    assert caught.value.exit_code == 2
    with caplog.at_level(logging.WARNING):
        assert load_step(tmp_path) == 1
    (warning,) = caplog.messages
    assert str(tmp_path / LAST) in warning
    assert str(tmp_path / PREVIOUS) in warning


def test_missing_or_invalid_checkpoint_is_replaced_by_the_previous_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for step in (1, 2):
        save_checkpoint(make_state(step), tmp_path / LAST)
    for damage in (lambda path: path.write_text("0"), lambda path: path.unlink()):
        caplog.clear()
        damage(tmp_path / LAST)
        with caplog.at_level(logging.WARNING):
            assert load_step(tmp_path) == 1
        assert len(caplog.messages) == 1
        assert PREVIOUS in caplog.messages[0]
    (tmp_path / PREVIOUS).write_text("0")
    with pytest.raises(ConfigError) as caught:
        load_newest(tmp_path)
    assert len(caught.value.problems) == 2


def test_a_missing_path_is_reported_with_the_nearest_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"no checkpoint in {tmp_path}"):
        load_newest(tmp_path)
    with pytest.raises(ConfigError, match=f"the nearest directory that exists is {tmp_path}$"):
        load_checkpoint(tmp_path / "no" / "such.pt")
    with pytest.raises(ConfigError, match="no checkpoint"):
        load_checkpoint(tmp_path)


@pytest.mark.slow
def test_300_flipped_bits_are_detected_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / LAST
    save_checkpoint(make_state(1), path)
    data = path.read_bytes()
    draw = random.Random(0)
    detected = 0
    for _ in range(300):
        offset, bit = draw.randrange(len(data)), draw.randrange(8)
        path.write_bytes(data[:offset] + bytes([data[offset] ^ 1 << bit]) + data[offset + 1 :])
        try:
            loaded = load_checkpoint(path)
        except ConfigError as error:
            assert LAST in str(error)  # noqa: PT017
            detected += 1
        else:
            assert equal(loaded, make_state(1)), f"bit {bit} of byte {offset} changed the state unnoticed"
    assert detected > 200


def test_flipped_bit_of_a_zip_attribute_is_detected(tmp_path: Path) -> None:
    path = tmp_path / LAST
    save_checkpoint(make_state(1), path)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        directory = archive.start_dir
    member = data.index(b"PK\x01\x02", data.index(b"/data/0", directory) - 60)
    data[member + 38] ^= 1 << 4  # the folder bit of the external attributes, which no checksum covers
    path.write_bytes(data)
    assert zipfile.ZipFile(path).testzip() is None
    torch.load(path, weights_only=True)  # raises nothing and returns uninitialized memory
    with pytest.raises(ConfigError, match="corrupt checkpoint: unexpected zip attributes of"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("offset", "byte", "cause"),
    [(6, 255, NotImplementedError), (8, 1, RuntimeError)],
    ids=["unsupported version", "encrypted"],
)
def test_any_zipfile_error_is_reported_as_corruption(
    tmp_path: Path, offset: int, byte: int, cause: type[Exception]
) -> None:
    path = tmp_path / LAST
    save_checkpoint(make_state(1), path)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        data[archive.start_dir + offset] = byte  # in the directory entry of the first member
    path.write_bytes(data)
    with pytest.raises(ConfigError, match="not a complete checkpoint") as caught:
        load_checkpoint(path)
    assert type(caught.value.__cause__) is cause


class Payload:
    """Creates a folder when it is unpickled."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (str(self.marker),)


def write_payload(kind: str, path: Path, marker: Path) -> None:
    if kind == "raw":
        path.write_bytes(pickle.dumps({"position": Payload(marker)}))
    else:
        torch.save({"position": Payload(marker)}, path, _use_new_zipfile_serialization=kind == "zip")


@pytest.mark.parametrize("forced", [False, True])
@pytest.mark.parametrize("kind", ["zip", "legacy", "raw"])
def test_code_in_a_checkpoint_is_not_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, forced: bool
) -> None:
    path, marker = tmp_path / LAST, tmp_path / "marker"
    write_payload(kind, path, marker)
    if forced:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(ConfigError, match=r"last\.pt"):
        load_checkpoint(path)
    with pytest.raises(ConfigError):
        load_newest(tmp_path)
    assert not marker.exists()
    if forced:
        with warnings.catch_warnings(), contextlib.suppress(RuntimeError, AttributeError, TypeError):
            warnings.simplefilter("ignore")
            torch.load(path)
        assert marker.exists(), "the payload does not work: this test shows nothing"


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), "text"])
def test_a_file_without_a_state_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / LAST)
    with pytest.raises(ConfigError, match="contains no training state"):
        load_checkpoint(tmp_path / LAST)
