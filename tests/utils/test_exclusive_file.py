"""Files that one of several processes creates."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.helpers.states import fork
from trainer.utils import exclusive_file, process_identity
from trainer.utils.errors import SystemFault
from trainer.utils.exclusive_file import create_exclusive


def refuse_links(*_: object) -> None:
    raise OSError(errno.EPERM, "no links here")


@pytest.mark.parametrize("has_links", [True, False], ids=["links", "no links"])
def test_one_of_many_processes_creates_the_file(
    has_links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_links:
        monkeypatch.setattr(os, "link", refuse_links)
    path = tmp_path / "file"
    for _ in range(5):
        reader, writer = os.pipe()
        pids = []
        for number in range(8):
            if not (pid := fork()):
                os.close(writer)
                os.read(reader, 1)  # until the parent closes its end, so that all try at once
                os._exit(int(create_exclusive(path, str(number))))
            pids.append(pid)
        os.close(reader)
        os.close(writer)
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        assert sum(codes) == 1
        assert path.read_text() == str(codes.index(1))
        assert [file.name for file in tmp_path.iterdir()] == ["file"]
        path.unlink()


def test_a_link_whose_reply_was_lost_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def lose_reply(source: Path, target: Path) -> None:
        link(source, target)
        raise FileExistsError(errno.EEXIST, "repeated")

    monkeypatch.setattr(os, "link", lose_reply)
    assert create_exclusive(tmp_path / "file", "text")
    monkeypatch.undo()
    assert not create_exclusive(tmp_path / "file", "other")
    assert (tmp_path / "file").read_text() == "text"


def test_a_missing_directory_raises(tmp_path: Path) -> None:
    with pytest.raises(SystemFault, match="cannot write"):
        exclusive_file.create_exclusive(tmp_path / "nope" / "file", "")


def test_a_process_is_told_from_an_earlier_one_with_its_id() -> None:
    start_time = process_identity.read_start_time(os.getpid())
    assert start_time is not None
    assert process_identity.is_running(os.getpid(), start_time)
    assert process_identity.is_running(os.getpid(), None)
    assert not process_identity.is_running(os.getpid(), start_time - 1)
    if not (pid := fork()):
        os._exit(0)
    while process_identity.is_running(pid, None):  # a child that has ended, but that nobody has waited for
        pass
    assert Path(f"/proc/{pid}").exists()
    os.waitpid(pid, 0)
    assert not process_identity.is_running(pid, None)
