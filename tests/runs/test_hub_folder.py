"""Hub folders in place of run directories: commands that read them, and folders that were changed by others."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import trainer
from tests.helpers import hub_folders
from tests.helpers.hub_folders import REMOVED, Tensors, edit_config, edit_tensors, export_hub
from tests.helpers.in_process import call_main, run_main
from tests.helpers.own_runs import evaluate_scores, train_run
from trainer.engine import checkpoint
from trainer.runs import consistency, hub_folder
from trainer.runs.results import Result
from trainer.utils import digests
from trainer.utils.errors import ConfigError, SystemFault


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with a run, ``run``, its hub folder, ``hub``, and its data, ``rows.csv``."""
    path = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        shutil.move(train_run("csv"), "run")
        export_hub(Path("run"), path / "hub")
        shutil.move(next(path.glob("files/*.csv")), "rows.csv")
    return path


@pytest.fixture
def folder(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the hub folder, in the working directory."""
    monkeypatch.chdir(tmp_path)
    return hub_folders.copy_folder(trained / "hub", tmp_path / "hub")


@pytest.mark.slow
def test_state_is_that_of_the_run(trained: Path) -> None:
    one, other = (consistency.load_best(trained / name) for name in ("run", "hub"))
    other["task"] = {name: other["task"][name] for name in one["task"]}
    assert digests.digest_parts(one["data"]) == digests.digest_parts(other["data"])
    keys = ("task", "decisions", "score", "tiebreak_score", "epoch", "step", "higher_is_better")
    assert digests.digest_parts({key: [one[key]] for key in keys}) == digests.digest_parts(
        {key: [other[key]] for key in keys}
    )


@pytest.mark.slow
def test_commands_take_a_folder_in_place_of_a_run(
    folder: Path, trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = trained / "rows.csv"
    assert evaluate_scores(folder, f"data.path={rows}") == Result.read(trained / "run").test
    for run in (trained / "run", folder):
        for verb, *options in (("predict", f"output={run.name}.csv"), ("evaluate", f"output={run.name}.json")):
            arguments = (verb, str(run), f"input={rows}", *options)
            assert run_main(capsys, monkeypatch, *arguments) == (0, "")
    assert Path("run.csv").read_text() == Path("hub.csv").read_text()
    run, hub = (json.loads(Path(f"{name}.json").read_text()) for name in ("run", "hub"))
    assert {**run, "run": None} == {**hub, "run": None}
    code, out, err = call_main(capsys, monkeypatch, "show", str(folder))
    assert (code, err) == (0, "")
    assert "head" in out


@pytest.mark.slow
def test_export_and_init_from_take_a_folder(
    folder: Path, trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    again = export_hub(folder, Path("again"))
    assert (again / "config.json").read_text() == (folder / "config.json").read_text()
    assert (again / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    data = ("model=mlp", "data=csv", f"data.path={trained / 'rows.csv'}", "data.target=label")
    code, out, _ = call_main(capsys, monkeypatch, *data, f"init_from={folder}", "epochs=0", "draw=false")
    assert code == 0
    assert "copied 6 tensors, 100 % of all parameters" in out
    assert "preprocessing of the source: schema" in out


def test_folder_cannot_be_resumed(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = sorted(folder.iterdir())
    code, err = run_main(capsys, monkeypatch, "resume", str(folder))
    assert (code, err.count("\n")) == (2, 1)
    assert "is a hub folder, which cannot be resumed; init_from=" in err
    assert sorted(folder.iterdir()) == files


def test_links_of_a_download_cache_are_followed(folder: Path) -> None:
    Path("blobs").mkdir()
    for number, file in enumerate(sorted(folder.iterdir())):
        blob = Path("blobs", str(number))
        shutil.move(file, blob)
        file.symlink_to(blob.absolute())
    assert trainer.load(folder).class_names == ["no", "yes"]


def test_folder_of_another_program_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "mamba", "time_step_limit": [0.0, Infinity]}')
    assert not hub_folder.is_hub_folder(tmp_path)
    with pytest.raises(ConfigError, match="is not a run directory"):
        trainer.load(tmp_path)


def test_files_of_a_run_take_precedence(folder: Path, trained: Path) -> None:
    for file in ("results.json", "config.yaml", "best.pt"):
        shutil.copy(trained / "run" / file, folder)
    (folder / "config.json").write_text("{")
    assert not hub_folder.is_hub_folder(folder)
    assert trainer.load(folder).class_names == ["no", "yes"]


TARGET = "on the allow-list"
HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "class outside of the package": ({"config.model._target_": "os.system"}, f"model._target_: .* not {TARGET}"),
    "class of a module here": ({"config.data._target_": "evil.Foo"}, f"data._target_: .* not {TARGET}"),
    "class of a callback": ({"config.callbacks": {"x": {"_target_": "evil.Foo"}}}, f"callbacks.x.* not {TARGET}"),
    "plugin": ({"config.plugins": ["evil"]}, "a saved run never imports code by itself"),
    "environment": ({"config.data.path": "${oc.env:HOME}"}, "config has interpolations"),
    "another resolver": ({"config.seed": "${oc.decode:1}"}, "config has interpolations"),
    "unknown key": ({"auto_map": {"AutoModel": "evil.Foo"}}, "'auto_map' is unknown"),
    "missing key": ({"results": REMOVED}, "results is missing"),
    "another type": ({"config": []}, "config is missing, or not what a run saves there"),
    "later version": ({"format_version": 2}, "format_version 2; this version of train reads 1 to 1: update it"),
    "no version": ({"format_version": True}, "format_version is True, not a number"),
    "later state": ({"state.format_version": 99}, "format_version 99; this version of train reads 1 to"),
    "later configuration": ({"config.format_version": 99}, "format_version 99; this version of train reads 1 to"),
    "unknown key of the state": ({"state.x": 1}, "x: unknown key"),
    "second configuration": ({"state.run_metadata.config": {}}, "state is not what a run saves there"),
    "no metadata": ({"state.run_metadata": []}, "state is not what a run saves there"),
    "path of a tensor": (
        {"state.data.excerpts.train.inputs.x": {"$tensor": "../../etc/passwd"}},
        "names a tensor that is missing",
    ),
    "unknown mark": ({"state.data.contents": {"$code": "x"}}, r"'\$code' has a value that no run saves there"),
    "absolute path": ({"config.data.path": "/etc/passwd"}, "data.path: '/etc/passwd' given; a hub folder names files"),
    "path to a parent": ({"config.data.test_path": "../x.csv"}, "data.test_path: '../x.csv' given; a hub folder"),
    "home": ({"config.data.path": "~"}, "data.path: '~' given"),
    "directory of data sets": ({"config.data_dir": "/etc"}, "config has data_dir, which belongs to a machine"),
    "logger": ({"config.logger": {"x": {"_target_": "evil.Foo"}}}, "config has logger, which belongs to a machine"),
    "changed data": ({"state.data.fitted.schema.header": False}, "data.fitted.schema is not what the run saved"),
    "results of others": ({"results.seed": 7}, "seed is 7"),
    "option of others": ({"results.options.model": "../../evil"}, "model is '../../evil'|model is 'mlp'"),
    "type in the results": ({"results.test": {"a": "x"}}, "test.a is 'x', not a number"),
    "huge model": ({"config.model.hidden": [10**14]}, "allocate"),
    "number without an end": ({"config.model.hidden": [10**30]}, "model.hidden: .* it must be"),
    "configuration of a megabyte": ({"config.x": ["y"] * 200_000}, "config has .* characters; at most"),
}


def refuse(folder: Path, match: str) -> None:
    """Check that a folder is refused in one sentence, or a list of them, and that nothing is written."""
    files = sorted(folder.rglob("*"))
    with pytest.raises((ConfigError, SystemFault), match=match):
        trainer.load(folder)
    assert sorted(folder.rglob("*")) == files


@pytest.mark.parametrize("name", HOSTILE)
def test_changed_configuration_is_refused(folder: Path, name: str) -> None:
    Path("evil.py").write_text("open('touched', 'w')")
    edits, match = HOSTILE[name]
    edit_config(folder, edits)
    refuse(folder, match)
    assert not Path("touched").exists()


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('{"library": "train-zoo"', "not JSON"),
        ('{"library": "train-zoo", "x": NaN}', "NaN is not a value of JSON"),
        ('{"library": "train-zoo", "x": ' + "[" * 100_000 + "]" * 100_000 + "}", "not JSON: .*recursion"),
        ('{"library": "train-zoo", "x": ' + "9" * 5000 + "}", "not JSON: .*digits"),
        ('{"library": "train-zoo", "\udc80": 0}', "not JSON: .*utf-8"),
        ('{"x": {"library": "train-zoo"}}', "is not a run directory"),
    ],
    ids=["incomplete", "NaN", "deep", "long number", "not UTF-8", "inside"],
)
def test_text_that_is_no_json_is_refused(folder: Path, text: str, match: str) -> None:
    (folder / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    refuse(folder, match)


def test_deep_values_are_refused(folder: Path) -> None:
    value: list[Any] = []
    for _ in range(60):
        value = [value]
    edit_config(folder, {"state.data.contents": value})
    refuse(folder, "nested more than 50 deep")


WEIGHT, ROWS = "model.head.weight", "/data/excerpts/train/inputs/x"
TENSORS: dict[str, tuple[Callable[[Tensors], object], str]] = {
    "shape": (lambda t: t.update({WEIGHT: torch.zeros(3, 3)}), r"float32 \[3, 3\]; the model has"),
    "type": (lambda t: t.update({WEIGHT: t[WEIGHT].double()}), "float64"),
    "missing": (lambda t: t.pop(WEIGHT), f"{WEIGHT}: missing"),
    "unknown": (lambda t: t.update({"model.x": torch.zeros(2)}), "the model has no such tensor"),
    "not finite": (lambda t: t[WEIGHT].fill_(float("nan")), "not finite"),
    "unknown data": (lambda t: t.update({"/x": torch.zeros(2)}), "no value refers to the tensor '/x'"),
    "missing data": (lambda t: t.pop(ROWS), "names a tensor that is missing"),
    "other data": (lambda t: t[ROWS].fill_(7), "data.excerpts.train is not what the run saved"),
}


@pytest.mark.parametrize("name", TENSORS)
def test_changed_tensors_are_refused(folder: Path, name: str) -> None:
    change, match = TENSORS[name]
    edit_tensors(folder, change)
    refuse(folder, match)


def _make_huge_header(shape: int) -> bytes:
    header = json.dumps({"a": {"dtype": "F32", "shape": [shape], "data_offsets": [0, 4 * shape]}}).encode()
    return len(header).to_bytes(8, "little") + header


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (pickle.dumps(os.getcwd), "is not a safetensors file"),
        (_make_huge_header(10**12), "is not a safetensors file"),
        ((2**62).to_bytes(8, "little"), "is not a safetensors file"),
        (b"", "is not a safetensors file"),
    ],
    ids=["pickle", "huge tensor", "huge header", "empty"],
)
def test_file_of_another_format_is_refused(folder: Path, content: bytes, match: str) -> None:
    (folder / "model.safetensors").write_bytes(content)
    refuse(folder, "does not belong to .*config.json")
    edit_config(folder, {})
    refuse(folder, match)


@pytest.mark.parametrize("kind", ["missing", "directory", "device", "pipe", "broken link"])
@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_what_is_no_file_is_refused(folder: Path, name: str, kind: str) -> None:
    path = folder / name
    path.unlink()
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind != "missing":
        path.symlink_to("/dev/zero" if kind == "device" else "nowhere")
    refuse(folder, "is missing, or is not a file" if name == "model.safetensors" else "is not a run directory")


@pytest.mark.parametrize(
    "edits", [{"excerpts": {}}, {"fitted": {}}, {"version": "x"}, {"dataset_info": {"x": 1}}], ids=str
)
def test_saved_data_of_another_form_is_refused(folder: Path, trained: Path, edits: dict[str, Any]) -> None:
    state = hub_folder.load_state(folder)
    state["data"] |= edits
    state["run_metadata"]["data"] = digests.digest_parts(state["data"])
    hub_folder.write(folder, Result.read(trained / "run").to_plain_values(), state)
    refuse(folder, "its values are not those of a run")


def test_errors_of_a_run_directory_are_not_taken_for_its_values(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr("trainer.engine.dataset_state.restore_from_state", fail)
    with pytest.raises(KeyError):
        trainer.load(trained / "run")
    with pytest.raises(ConfigError, match=r"its values are not those of a run .KeyError: 'a bug'"):
        trainer.load(trained / "hub")


def test_refusal_of_a_command_is_one_sentence(
    folder: Path, trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    edit_config(folder, {"config.model._target_": "os.system"})
    arguments = ("predict", str(folder), f"input={trained / 'rows.csv'}", "output=labels.csv")
    code, err = run_main(capsys, monkeypatch, *arguments)
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith("error: ")
    assert not Path("labels.csv").exists()


def test_values_that_the_files_cannot_hold_are_refused(trained: Path, tmp_path: Path) -> None:
    state = checkpoint.load_checkpoint(trained / "run" / "best.pt") | {"callbacks": b"bytes"}
    with pytest.raises(ConfigError, match="/callbacks is of type bytes, which JSON cannot hold"):
        hub_folder.write(tmp_path, {}, state)
