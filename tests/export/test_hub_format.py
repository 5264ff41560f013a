"""``train export format=hub``: the files, the model card, and what is left out of them."""

from __future__ import annotations

import csv
import json
import pickletools
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import trainer
from tests.helpers.in_process import run_main
from tests.helpers.own_runs import copy_files, train_run
from trainer.core.task import Task
from trainer.export import hub_format, model_card
from trainer.export.export_run import export_run
from trainer.inference.trained_model import TrainedModel
from trainer.runs import consistency, hub_folder, saved_run
from trainer.runs.results import Result
from trainer.utils.errors import ConfigError

OPTIONS = ("task.threshold=f1", "task.calibration=temperature", "task.class_weights=balanced", "data.test=0.25")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with a run, ``run``, whose configuration has the path of its data."""
    path = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        rows = Path(copy_files("csv")["path"]).absolute()
        shutil.move(train_run("csv", *OPTIONS, f"data.path={rows}"), "run")
    return path


@pytest.fixture(scope="module")
def export(trained: Path) -> Path:
    """Return the directory of an export of the run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(trained)
        return export_run(saved_run.load(trained / "run"), ["hub"], "export").absolute()


@pytest.fixture
def card(export: Path) -> str:
    return (export / "hub" / "README.md").read_text(encoding="utf-8")


def test_folder_has_three_files_without_code(export: Path) -> None:
    files = sorted((export / "hub").iterdir())
    assert [file.name for file in files] == ["README.md", "config.json", "model.safetensors"]
    for file in files:
        assert not file.read_bytes().startswith(b"PK")
        with pytest.raises(ValueError, match=r"opcode|pickle"):
            list(pickletools.genops(file.read_bytes()))


def test_check_has_the_cases_of_every_format(export: Path) -> None:
    check = json.loads((export / "check.json").read_text())["formats"]["hub"]
    assert check["file"] == "hub"
    assert [case["sizes"]["batch"] for case in check["cases"]] == [1, 7, 64]
    assert check["largest_difference"] == 0


def test_weights_have_the_names_of_the_model(trained: Path, export: Path) -> None:
    from safetensors.torch import load_file

    tensors = load_file(export / "hub" / "model.safetensors")
    task = trainer.load(trained / "run").task
    assert {name for name in tensors if not name.startswith("/")} == task.state_dict().keys()
    assert all(torch.equal(value, tensors[name]) for name, value in task.state_dict().items())


@pytest.mark.slow
def test_model_index_is_that_of_the_hub(trained: Path, export: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    card = hub.ModelCard.load(export / "hub" / "README.md", ignore_metadata_errors=False)
    assert card.data.model_name == "mlp-csv"
    results = {result.metric_type: result for result in card.data.eval_results}
    assert all(isinstance(result, hub.EvalResult) for result in results.values())
    assert {name: result.metric_value for name, result in results.items()} == Result.read(trained / "run").test
    accuracy = results["accuracy"]
    assert (accuracy.task_type, accuracy.dataset_type, accuracy.dataset_split) == ("classification", "csv", "test")
    assert set(yaml.safe_load(str(card.data))) == {"model-index"}, "nothing is claimed that no user has set"


def test_card_states_scores_data_limits_and_decisions(trained: Path, card: str) -> None:
    result = Result.read(trained / "run")
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in card.splitlines() if line[:1] == "|"]
    rows = {row[0]: row[1:] for row in cells}
    values = [result.test["accuracy"], result.baseline["accuracy"], None, result.val["accuracy"]]
    assert rows["accuracy"] == ["higher", *("" if value is None else f"{value:.4f}" for value in values)]
    assert rows["seed"] == ["0"]
    assert rows["rows"] == ["120 of training, validation and test"]
    assert rows["fingerprint of the files"] == [result.data_digest]
    assert rows["columns"] == ["a, b, kind, label"]
    assert rows["classes"] == ["no, yes"]
    assert "These columns are required, and further ones are ignored: a, b, kind." in card
    assert re.search(r"Categories that training did not have are counted, .*: kind \((x|y|z), ", card)
    assert f"threshold {result.decisions['threshold']:.4f} (f1_yes " in card
    assert f"temperature {result.decisions['temperature']:.4f}" in card
    assert "The files hold a part of the data: the first 66 rows of training as encoded" in card


def test_commands_and_code_of_the_card_work(
    export: Path, card: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(export / "hub", "hub")
    commands, rows, code = re.findall(r"```\w*\n(.*?)```", card, re.DOTALL)
    namespace: dict[str, Any] = {}
    exec(code, namespace)
    assert namespace["predictions"][0] in ("no", "yes")
    Path("rows.csv").write_text(rows)
    predict, *_ = commands.splitlines()
    assert run_main(capsys, monkeypatch, *predict.split()[1:], "output=labels.csv") == (0, "")
    with Path("labels.csv").open() as file:
        assert [row["label"] for row in csv.DictReader(file)] == list(namespace["predictions"])


def test_folder_has_no_directory_of_this_machine(trained: Path, export: Path) -> None:
    saved = json.loads((trained / "run" / "results.json").read_text())
    assert str(trained) in (trained / "run" / "config.yaml").read_text()
    assert saved["overrides"]
    for file in ("config.json", "README.md"):
        assert str(trained) not in (export / "hub" / file).read_text()
    content = json.loads((export / "hub" / "config.json").read_text())
    assert re.fullmatch(r"\w+\.csv", content["config"]["data"]["path"])
    assert content["results"]["overrides"] == content["state"]["run_metadata"]["overrides"] == []
    assert not {"device", "data_dir", "logger", "num_workers"} & content["config"].keys()


def make_config(trained: Path, **values: Any) -> dict[str, Any]:
    """Return the configuration that is written of the run with other values of keys or of nodes."""
    config = saved_run.load(trained / "run")
    raw = {key: {**config.raw[key], **value} if isinstance(value, dict) else value for key, value in values.items()}
    return hub_format.make_portable_config(replace(config, raw={**config.raw, **raw}))


@pytest.mark.slow
def test_values_of_the_environment_and_secrets_are_left_out(trained: Path) -> None:
    assert make_config(trained, data={"data_dir": "/x"})["data"]["data_dir"] is None
    assert make_config(trained, init_from="/home/me/run")["init_from"] == "run"
    assert make_config(trained, logger={"wandb": {"entity": "${oc.env:NAME}"}}).get("logger") is None
    assert make_config(trained, callbacks={"x": {"api_key": "abc"}})["callbacks"]["x"]["api_key"] == "***"
    assert make_config(trained, data={"path": "${oc.env:HOME}/rows.csv"})["data"]["path"].endswith(".csv")
    assert make_config(trained, data={"delimiter": "/"})["data"]["delimiter"] == "/"
    with pytest.raises(ConfigError, match=r"format=hub: model.dropout: a value of the environment"):
        make_config(trained, model={"dropout": "${oc.env:DROPOUT}"})


def load_with_other_weights(path: Path, *_: object) -> TrainedModel:
    model = load_model(path, "cpu")
    with torch.no_grad():
        next(model.task.parameters()).add_(1e-6)
    return model


load_model = hub_format.trained_model.load


def test_tensor_that_is_read_back_changed_is_an_error_and_no_file_is_left(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_format.trained_model, "load", load_with_other_weights)
    arguments = ("export", str(trained / "run"), "format=hub", f"output={tmp_path / 'out'}")
    code, err = run_main(capsys, monkeypatch, *arguments)
    assert (code, err.count("\n")) == (1, 1)
    assert "format=hub: read back, the folder has other values of model.layers.0.weight" in err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_folder_is_written_beside_other_formats(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    arguments = ("export", str(trained / "run"), "format=[hub,safetensors,torch_export]", f"output={out}")
    for _ in range(2):  # the second one replaces the first
        assert run_main(capsys, monkeypatch, *arguments) == (0, "")
    assert {file.name for file in out.iterdir()} == {"hub", "model.safetensors", "model.pt2", "check.json"}
    assert {file.name for file in (out / "hub").iterdir()} == {"README.md", "config.json", "model.safetensors"}


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"decisions": {}}, r"no temperature, threshold is fitted yet: train resume"),
        ({"data": None}, "stored no preprocessing; train a new run"),
    ],
    ids=["without decisions", "without data"],
)
def test_incomplete_run_is_refused(
    trained: Path, change: Mapping[str, Any], match: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = saved_run.load(trained / "run")
    task: Task = load_model(trained / "run", "cpu").task
    best = consistency.load_best(trained / "run")
    monkeypatch.setattr(consistency, "load_best", lambda _: best | change)
    with pytest.raises(ConfigError, match=match):
        hub_format.make_portable_state(config, task)


def test_names_do_not_break_the_card(export: Path) -> None:
    model = load_model(export / "hub", "cpu")
    state = hub_folder.load_state(export / "hub")["data"]
    assert model.data.fitted is not None
    column = model.data.fitted.values["schema"]["columns"][0]
    for name in ("a|b", "```\n# x", "<script>", "'"):
        column["name"] = name
        state["contents"]["columns"][0] = name
        text = model_card.make_card(model, Result.read(export / "hub"), state)
        assert "<script>" not in re.sub(r"(`{3,}).*?\n\1\n", "", text, flags=re.DOTALL)
        assert len(re.findall(r"^## ", re.sub(r"(`{3,}).*?\n\1\n", "", text, flags=re.DOTALL), re.MULTILINE)) == 4
        code = re.findall(r"^(`{3,})python\n(.*?)\n\1$", text, re.DOTALL | re.MULTILINE)
        assert name in eval(code[0][1].rpartition("predict(")[2][:-1])[0]


def test_card_of_an_untested_run_has_the_scores_of_validation(export: Path) -> None:
    model = load_model(export / "hub", "cpu")
    result = replace(Result.read(export / "hub"), test={}, status="interrupted")
    text = model_card.make_card(model, result, hub_folder.load_state(export / "hub")["data"])
    index = yaml.safe_load(text.split("---\n")[1])["model-index"][0]["results"][0]
    assert index["dataset"]["split"] == "validation"
    assert {metric["type"]: metric["value"] for metric in index["metrics"]} == result.val
    assert "The run is interrupted: it was not tested." in text


def test_card_of_a_model_of_plugins_names_their_modules(export: Path) -> None:
    model = load_model(export / "hub", "cpu")
    model.config = replace(model.config, settings=replace(model.config.settings, plugins=["mine", "other"]))
    text = model_card.make_card(model, Result.read(export / "hub"), hub_folder.load_state(export / "hub")["data"])
    assert "It needs classes of the modules mine, other, which are not part of the files." in text
    assert "train predict hub input=rows.csv plugins=[mine,other]" in text
    assert "trainer.load(\"hub\", plugins=['mine', 'other'])" in text


@pytest.mark.slow
def test_rows_limits_the_rows_of_the_data(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, hub = trained / "run", tmp_path / "out" / "hub"
    arguments = ("export", str(run), "format=hub", f"output={hub.parent}", "rows=2")
    assert run_main(capsys, monkeypatch, *arguments) == (0, "")
    state, full = hub_folder.load_state(hub)["data"], consistency.load_best(run)["data"]
    for split in ("train", "val", "test"):
        values, expected = (each["excerpts"][split]["inputs"]["x"] for each in (state, full))
        assert torch.equal(values, expected[:2])
    assert "the first 2 rows of training as encoded" in (hub / "README.md").read_text()
    rows = [{"a": 0.5, "b": 0.25, "kind": kind} for kind in ("x", "y", "new")]
    model, other = load_model(run, "cpu"), load_model(hub, "cpu")
    assert (model.predict_proba(rows) == other.predict_proba(rows)).all()
    code, err = run_main(capsys, monkeypatch, *arguments[:2], "format=safetensors", *arguments[3:])
    assert (code, err) == (2, "error: export rows: it is about format=hub, the only one that contains rows\n")


@pytest.mark.slow
def test_rows_that_a_task_needs_cannot_be_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = train_run("csv", "model=real_nvp", "task=density")
    code, err = run_main(capsys, monkeypatch, "export", str(path), "format=hub", "rows=3")
    assert (code, err) == (2, "error: export rows: 3 given; step of this task is computed from more rows\n")
    assert not (path / "export").exists()
    assert run_main(capsys, monkeypatch, "export", str(path), "format=hub") == (0, "")
