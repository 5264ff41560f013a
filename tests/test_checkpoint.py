"""A checkpoint is whole or absent whatever happens while it is written, and whatever happens to it afterwards."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import pickle
import random
import resource
import stat
import warnings
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from trainer import checkpoint
from trainer.checkpoint import BEST, LAST, PREVIOUS, RunKeeper, load, load_newest, save, sweep_leftovers, verify
from trainer.errors import ConfigError, SystemFault


def state(step: int, size: int = 300) -> dict[str, Any]:
    torch.manual_seed(step)
    return {
        "task": {"w": torch.randn(size), "count": torch.tensor(step)},
        "position": {"epoch": 1, "batch": 2, "step": step},
        "random": {"python": (3, tuple(range(20)), None)},
        "history": [{"mse": 0.5, "name": "x"}],
    }


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    return a == b


def step_in(folder: Path) -> int:
    return load_newest(folder)["position"]["step"]


def in_child(action: Callable[[], object]) -> int:
    """The exit code of a forked process that does only this: 0 if it came to the end, 1 if it raised."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            action()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    save(state(3), tmp_path / LAST)
    assert equal(load(tmp_path / LAST), state(3))
    assert [path.name for path in tmp_path.iterdir()] == [LAST]


def test_two_states_and_the_best_are_kept(tmp_path: Path) -> None:
    keeper = RunKeeper(tmp_path, {"name": "run"})
    for step in (9, 10, 99, 100, 9900, 10000):
        keeper.save(state(step), {"score": 1.0, "step": 10} if step == 10 else None)
        assert keeper.last_saved_step == step
    assert sorted(path.name for path in tmp_path.iterdir()) == [BEST, LAST, PREVIOUS]
    assert load(tmp_path / LAST)["position"]["step"] == 10000
    assert load(tmp_path / PREVIOUS)["position"]["step"] == 9900
    assert load(tmp_path / BEST)["step"] == 10
    assert load(tmp_path / LAST)["about"] == {"name": "run"}


def test_a_file_system_without_hard_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    for step in (1, 2, 3):
        save(state(step), tmp_path / LAST)
    assert [load(tmp_path / name)["position"]["step"] for name in (LAST, PREVIOUS)] == [3, 2]
    assert len(list(tmp_path.iterdir())) == 2


def recorded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What is done to the disk, in order."""
    events: list[tuple[str, ...]] = []
    real_fsync, real_replace, real_link = os.fsync, os.replace, os.link

    def fsync(handle: int) -> None:
        events.append(("fsync", "folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file"))
        real_fsync(handle)

    def replace(source: Path, target: Path) -> None:
        assert Path(source).parent == Path(target).parent
        events.append(("replace", Path(target).name))
        real_replace(source, target)

    def link(source: Path, target: Path) -> None:
        events.append(("link", Path(source).name))
        real_link(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(os, "link", link)
    return events


def test_the_order_of_a_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(state(1), tmp_path / LAST)
    events = recorded(monkeypatch)
    save(state(2), tmp_path / LAST)
    assert events == [
        ("fsync", "file"),
        ("link", LAST),
        ("replace", PREVIOUS),
        ("replace", LAST),
        ("fsync", "folder"),
    ]


CALLS = ((torch, "save"), (os, "fsync"), (os, "link"), (os, "replace"), (checkpoint, "verify"), (os, "open"))


def killed_at(number: int, action: Callable[[], object]) -> int:
    """Does something and dies before the ``number``-th call that touches the disk: 9, or 0 if there are fewer."""

    def doomed() -> None:
        calls = 0

        def guarded(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **options: Any) -> Any:
                nonlocal calls
                calls += 1
                if calls == number:
                    os._exit(9)
                return real(*args, **options)

            return call

        for module, name in CALLS:
            setattr(module, name, guarded(getattr(module, name)))
        action()

    return in_child(doomed)


@pytest.mark.parametrize("saved", [1, 2])
def test_death_at_any_call_leaves_a_loadable_state(tmp_path: Path, saved: int) -> None:
    points = 0
    while True:
        folder = tmp_path / str(points)
        folder.mkdir()
        keeper = RunKeeper(folder, {})
        for step in range(1, saved + 1):
            keeper.save(state(step), {"step": step})
        code = killed_at(points + 1, partial(keeper.save, state(saved + 1), {"step": saved + 1}))
        if code == 0:
            break
        assert code == 9
        points += 1
        assert step_in(folder) in (saved, saved + 1)
        assert load(folder / BEST)["step"] in (saved, saved + 1)
        again = RunKeeper(folder, {})
        assert not list(folder.glob(".*"))
        again.save(state(saved + 2), None)
        assert step_in(folder) == saved + 2
    assert points >= 10  # best: save, fsync, verify, replace, open, fsync; last: the same, link and another replace


def test_death_in_the_middle_of_writing_leaves_a_loadable_state(tmp_path: Path) -> None:
    keeper = RunKeeper(tmp_path, {})
    keeper.save(state(1), None)

    def half(content: dict[str, Any], file: io.BufferedWriter) -> None:
        whole = io.BytesIO()
        real(content, whole)
        file.write(whole.getvalue()[: len(whole.getvalue()) // 2])
        file.flush()
        os._exit(9)

    real = torch.save

    def doomed() -> None:
        torch.save = half  # type: ignore[assignment]
        keeper.save(state(2), None)

    assert in_child(doomed) == 9
    assert [path.name.startswith(".") for path in sorted(tmp_path.iterdir())] == [True, False]
    assert step_in(tmp_path) == 1
    sweep_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [LAST]


def test_written_in_place_a_death_in_the_middle_would_leave_nothing(tmp_path: Path) -> None:
    save(state(1), tmp_path / LAST)
    whole = (tmp_path / LAST).read_bytes()
    (tmp_path / LAST).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError):
        load_newest(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_cut_file_is_detected_and_the_previous_one_taken(
    tmp_path: Path, share: float, caplog: pytest.LogCaptureFixture
) -> None:
    for step in (1, 2):
        save(state(step), tmp_path / LAST)
    data = (tmp_path / LAST).read_bytes()
    (tmp_path / LAST).write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ConfigError, match=r"last\.pt is not a whole checkpoint") as refused:
        load(tmp_path / LAST)
    assert refused.value.exit_code == 2
    with caplog.at_level(logging.WARNING):
        assert step_in(tmp_path) == 1
    (warning,) = caplog.messages
    assert str(tmp_path / LAST) in warning
    assert str(tmp_path / PREVIOUS) in warning


def test_the_previous_one_is_taken_for_a_missing_last_and_a_last_that_is_no_checkpoint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for step in (1, 2):
        save(state(step), tmp_path / LAST)
    for spoil in (lambda path: path.write_text("0"), lambda path: path.unlink()):
        caplog.clear()
        spoil(tmp_path / LAST)
        with caplog.at_level(logging.WARNING):
            assert step_in(tmp_path) == 1
        assert len(caplog.messages) == 1
        assert PREVIOUS in caplog.messages[0]
    (tmp_path / PREVIOUS).write_text("0")
    with pytest.raises(ConfigError) as refused:
        load_newest(tmp_path)
    assert len(refused.value.problems) == 2


def test_nothing_there_is_told_with_the_nearest_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"no checkpoint in {tmp_path}"):
        load_newest(tmp_path)
    with pytest.raises(ConfigError, match=f"the nearest folder that exists is {tmp_path}$"):
        load(tmp_path / "no" / "such.pt")
    with pytest.raises(ConfigError, match="no checkpoint"):
        load(tmp_path)


def test_300_flipped_bits_are_detected_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / LAST
    save(state(1), path)
    data = path.read_bytes()
    dice = random.Random(0)
    refused = 0
    for _ in range(300):
        place, bit = dice.randrange(len(data)), dice.randrange(8)
        path.write_bytes(data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :])
        try:
            loaded = load(path)
        except ConfigError as error:
            assert LAST in str(error)  # noqa: PT017
            refused += 1
        else:
            assert equal(loaded, state(1)), f"bit {bit} of byte {place} changed the state unnoticed"
    assert refused > 200


def test_a_flip_that_only_torch_would_notice_is_detected(tmp_path: Path) -> None:
    path = tmp_path / LAST
    save(state(1), path)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        directory = archive.start_dir
    member = data.index(b"PK\x01\x02", data.index(b"/data/0", directory) - 60)
    data[member + 38] ^= 1 << 4  # the folder bit of the external attributes, which no checksum covers
    path.write_bytes(data)
    assert zipfile.ZipFile(path).testzip() is None
    torch.load(path, weights_only=True)  # raises nothing, and gives whatever lay in the memory it took
    with pytest.raises(ConfigError, match="damaged"):
        load(path)


@pytest.mark.parametrize(
    ("offset", "byte", "cause"),
    [(6, 255, NotImplementedError), (8, 1, RuntimeError)],
    ids=["a version of the future", "encrypted"],
)
def test_whatever_zipfile_raises_is_told_as_damage(
    tmp_path: Path, offset: int, byte: int, cause: type[Exception]
) -> None:
    path = tmp_path / LAST
    save(state(1), path)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        data[archive.start_dir + offset] = byte  # of what the directory says of the first member
    path.write_bytes(data)
    with pytest.raises(ConfigError, match="not a whole checkpoint") as told:
        load(path)
    assert type(told.value.__cause__) is cause


class Payload:
    """Unpickled, it makes a folder."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (str(self.marker),)


def attack(kind: str, path: Path, marker: Path) -> None:
    if kind == "raw":
        path.write_bytes(pickle.dumps({"position": Payload(marker)}))
    else:
        torch.save({"position": Payload(marker)}, path, _use_new_zipfile_serialization=kind == "zip")


@pytest.mark.parametrize("forced", [False, True])
@pytest.mark.parametrize("kind", ["zip", "legacy", "raw"])
def test_code_in_a_file_is_refused_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, forced: bool
) -> None:
    path, marker = tmp_path / LAST, tmp_path / "marker"
    attack(kind, path, marker)
    if forced:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(ConfigError, match=r"last\.pt"):
        load(path)
    with pytest.raises(ConfigError):
        load_newest(tmp_path)
    assert not marker.exists()
    if forced:
        with warnings.catch_warnings(), contextlib.suppress(RuntimeError, AttributeError, TypeError):
            warnings.simplefilter("ignore")
            torch.load(path)
        assert marker.exists(), "the payload does not work: this test shows nothing"


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), "text"])
def test_a_file_that_holds_no_state_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / LAST)
    with pytest.raises(ConfigError, match="holds no training state"):
        load(tmp_path / LAST)


@pytest.mark.parametrize("size", [300, 6000, 200_000])
def test_a_full_disk_is_told_and_what_was_there_stays(tmp_path: Path, size: int) -> None:
    """The limit on a file's size stands in for the disk: the error comes from the same calls."""
    keeper = RunKeeper(tmp_path, {})
    for step in (1, 2):
        keeper.save(state(step), None)

    def cramped() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
        with pytest.raises(SystemFault, match=r"cannot write .*last\.pt: File too large; .* MB free") as fault:
            keeper.save(state(3, size), None)
        assert fault.value.exit_code == 4

    assert in_child(cramped) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [LAST, PREVIOUS]
    assert step_in(tmp_path) == 2
    assert keeper.last_saved_step == 2
    keeper.save(state(3, size), None)
    assert step_in(tmp_path) == 3


@pytest.mark.parametrize("call", [(torch, "save"), (os, "fsync"), (os, "replace")])
def test_an_error_of_the_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: tuple[Any, str]) -> None:
    save(state(1), tmp_path / LAST)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(*call, fail)
        with pytest.raises(SystemFault, match="No space left on device"):
            save(state(2), tmp_path / LAST)
    assert step_in(tmp_path) == 1
    assert not list(tmp_path.glob(f".{LAST}.*"))


def test_bytes_that_come_back_changed_never_become_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(state(1), tmp_path / LAST)

    def spoil(path: Path) -> None:
        data = path.read_bytes()
        path.write_bytes(data[:-100])
        verify(path)

    monkeypatch.setattr(checkpoint, "verify", spoil)
    with pytest.raises(SystemFault, match="not a whole checkpoint"):
        save(state(2), tmp_path / LAST)
    monkeypatch.undo()
    assert step_in(tmp_path) == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_has_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(SystemFault, match="No such file or directory"):
        save(state(1), tmp_path / "gone" / LAST)


def test_a_crash_between_two_names_of_one_file_leaves_nothing_behind(tmp_path: Path) -> None:
    last = tmp_path / checkpoint.LAST
    checkpoint.save({"step": 1}, last)
    (tmp_path / checkpoint.PREVIOUS).hardlink_to(last)
    checkpoint.save({"step": 2}, last)
    assert sorted(path.name for path in tmp_path.iterdir()) == [checkpoint.LAST, checkpoint.PREVIOUS]
    assert checkpoint.load(last)["step"] == 2
    assert checkpoint.load(tmp_path / checkpoint.PREVIOUS)["step"] == 1
