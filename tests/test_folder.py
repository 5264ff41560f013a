"""Run folders: whose they are, how they are found again, what is written into them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import write

from trainer import folder
from trainer.errors import ConfigError, SystemFault


def test_a_name_is_given_once(tmp_path: Path) -> None:
    wanted = str(tmp_path / "day" / "run")
    assert [folder.claim(wanted).name for _ in range(3)] == ["run", "run-2", "run-3"]


def test_where_nothing_can_be_made(tmp_path: Path) -> None:
    write(tmp_path, {"file": ""})
    with pytest.raises(SystemFault, match="cannot create"):
        folder.claim(str(tmp_path / "file" / "run"))


def test_a_lock_names_its_holder_and_ends_with_it(tmp_path: Path) -> None:
    code = f"import os\nfrom pathlib import Path\nfrom trainer import folder\npath = Path({str(tmp_path)!r})\n"
    code += "with folder.locked(path):\n"
    code += "    print(os.getpid(), flush=True)\n    input()\n"
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    pid = holder.stdout.readline().strip()
    with pytest.raises(ConfigError, match=f"in use by process {pid}"), folder.locked(tmp_path):
        pass
    holder.kill()
    holder.communicate()
    with folder.locked(tmp_path):
        assert (tmp_path / ".lock").read_text() == str(os.getpid())


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    folder.write_text(path, "old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        with pytest.raises(SystemFault, match="No space left on device"):
            folder.write_text(path, "new")
    assert path.read_text() == "old"
    folder.write_text(path, "new")
    assert path.read_text() == "new"


@pytest.mark.parametrize("text", ["", "{", "[1]", "null"])
def test_results_that_are_none(text: str, tmp_path: Path) -> None:
    assert folder.read_results(write(tmp_path, {"results.json": text})) == {}
    assert folder.read_results(tmp_path / "nope") == {}


def test_the_newest_run_is_found_unfinished_ones_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number, (identity, status) in enumerate(
        [("a", "interrupted"), ("a", "interrupted"), ("a", "finished"), ("b", "interrupted"), ("c", "finished")]
    ):
        said = json.dumps({"identity": identity, "status": status})
        path = write(tmp_path / "outputs", {f"{number}/results.json": said})
        os.utime(path / str(number) / "results.json", (number, number))
    assert folder.find("a", Path("elsewhere")) == Path("outputs/1")
    assert folder.find("b", Path("elsewhere")) == Path("outputs/3")
    assert folder.find("c", Path("elsewhere")) == Path("outputs/4")
    assert folder.find("d", Path("elsewhere")) is None
    assert folder.find("a", Path("elsewhere"), "1") == Path("outputs/1")
    assert folder.find("a", Path("elsewhere"), "[0-9]") is None
    (tmp_path / "named").mkdir()
    assert folder.find("a", Path("named")) is None, "a folder that is named is the one that is meant"


def test_what_was_trained_is_never_taken_back(tmp_path: Path) -> None:
    empty, full = (write(tmp_path / name, {"config.yaml": ""}) for name in ("empty", "full"))
    write(full, {"last.pt": ""})
    folder.remove_if_empty(empty)
    folder.remove_if_empty(full)
    assert (empty.exists(), full.exists()) == (False, True)


def test_a_folder_of_the_users_own_is_neither_used_nor_taken_back(tmp_path: Path) -> None:
    mine = write(tmp_path / "mine", {"thesis.txt": "", "notes/page": ""})
    assert folder.claim(str(mine), reuse=True) == tmp_path / "mine-2"
    killed = write(tmp_path / "killed", {".lock": "", "train.log": "", ".config.yaml.7.tmp": ""})
    assert folder.claim(str(killed), reuse=True) == killed
    assert not folder.remove_if_empty(mine)
    assert folder.remove_if_empty(killed)
    assert ((mine / "thesis.txt").exists(), killed.exists()) == (True, False)


def test_values_of_keys_that_sound_secret_are_left_out() -> None:
    open_keys = {"max_tokens": "keep", "tokens": "words", "tokenizer": "a_model", "rows": 3}
    tree = {
        "data": {"api_key": "x", "hub_token": "x", "password": "x", "my_secret": "x", "token_id": "x", **open_keys},
        "token": "${oc.env:T}",
        "secret": None,
    }
    masked = folder.mask(tree)
    assert masked["data"] == {
        **dict.fromkeys(("api_key", "hub_token", "password", "my_secret", "token_id"), "***"),
        **open_keys,
    }
    assert masked["token"] == "${oc.env:T}"


@pytest.mark.usefixtures("in_tmp")
def test_the_newest_run_has_a_name_of_its_own() -> None:
    for name in ("a", "b"):
        Path("outputs", name).mkdir(parents=True)
        folder.link_latest(Path("outputs", name))
    assert Path("outputs/latest").readlink() == Path("b")
    Path("elsewhere").mkdir()
    folder.link_latest(Path("elsewhere"))
    assert Path("outputs/latest").readlink() == Path("b"), "only what lies below it has a place in outputs"


@pytest.mark.usefixtures("in_tmp")
def test_a_folder_of_the_users_called_latest_stays() -> None:
    for name in ("a", "latest"):
        Path("outputs", name).mkdir(parents=True)
    folder.link_latest(Path("outputs/a"))
    assert not Path("outputs/latest").is_symlink()
