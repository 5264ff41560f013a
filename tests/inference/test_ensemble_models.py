"""Saved ensembles in use: in Python, on files, behind the server, exported and as a hub folder."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import trainer
from tests.helpers.own_runs import train_run
from trainer.cli import main
from trainer.inference import serve
from trainer.inference.trained_model import TrainedModel
from trainer.utils.errors import ConfigError

pytestmark = pytest.mark.slow

PREDICT = "import json, sys, trainer; print(json.dumps(trainer.load(sys.argv[1]).predict_proba(sys.argv[2]).tolist()))"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        train_run("csv", "ensemble=3").rename("moved")
        next(path.glob("files/*.csv")).rename("rows.csv")
    return path


@pytest.fixture(scope="module")
def model(folder: Path) -> TrainedModel:
    return trainer.load(folder / "moved")


@pytest.fixture(scope="module")
def mean(folder: Path) -> np.ndarray:
    """Return the mean of the probabilities that processes of their own predict with each member."""
    members = []
    for number in range(3):
        path = folder / "moved" / "members" / str(number)
        command = [sys.executable, "-c", PREDICT, str(path), str(folder / "rows.csv")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        members.append(json.loads(done.stdout))
    assert np.abs(np.array(members).std(0)).max() > 1e-4
    return np.array(members).mean(0)


def read_probabilities(path: Path, model: TrainedModel) -> np.ndarray:
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    return np.array([[float(row[f"p_{name}"]) for name in model.class_names] for row in rows])


def test_the_object_and_the_command_average_the_members(
    folder: Path, model: TrainedModel, mean: np.ndarray, tmp_path: Path
) -> None:
    rows, file = folder / "rows.csv", tmp_path / "predictions.csv"
    np.testing.assert_allclose(model.predict_proba(rows), mean, atol=1e-6)
    assert model.predict(rows).tolist() == [model.class_names[index] for index in mean.argmax(1)]
    main.run_command(["predict", str(folder / "moved"), f"input={rows}", f"output={file}"])
    np.testing.assert_allclose(read_probabilities(file, model), mean, atol=1e-6)


def test_the_server_averages_the_members(folder: Path, model: TrainedModel, mean: np.ndarray) -> None:
    from starlette.testclient import TestClient

    with (folder / "rows.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))[:3]
    with TestClient(serve.make_app(model, max_megabytes=0.1)) as client:
        answers = client.post("/predict", json={"rows": rows}).json()["predictions"]
    found = [[answer[f"p_{name}"] for name in model.class_names] for answer in answers]
    np.testing.assert_allclose(found, mean[:3], atol=1e-6)


def test_exports_average_the_members(folder: Path, model: TrainedModel, mean: np.ndarray, tmp_path: Path) -> None:
    import onnxruntime

    formats = "format=[onnx,torch_export,hub]"
    main.run_command(["export", str(folder / "moved"), formats, f"output={tmp_path / 'export'}"])
    x = next(iter(model.data.read_chunks(folder / "rows.csv"))).batch(torch.arange(len(mean)), 0).inputs["x"]
    session = onnxruntime.InferenceSession(tmp_path / "export/model.onnx", providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"x": x.numpy()})
    program = torch.export.load(tmp_path / "export/model.pt2").module()
    for output in (torch.from_numpy(logits), program(x=x)):
        np.testing.assert_allclose(output.detach().sigmoid()[:, 0].numpy(), mean[:, 1], atol=1e-5)
    hub = trainer.load(tmp_path / "export/hub")
    np.testing.assert_allclose(hub.predict_proba(folder / "rows.csv"), mean, atol=1e-6)
    assert "all members of an ensemble" in (tmp_path / "export/hub/README.md").read_text()


def test_a_file_with_labels_is_evaluated(folder: Path, mean: np.ndarray, model: TrainedModel, tmp_path: Path) -> None:
    rows, file = folder / "rows.csv", tmp_path / "evaluation.json"
    main.run_command(["evaluate", str(folder / "moved"), f"input={rows}", f"output={file}", "resamples=0"])
    target = model.config.tree["data"]["target"]
    with rows.open(encoding="utf-8") as stream:
        labels = [row[target] for row in csv.DictReader(stream)]
    predicted = [str(model.class_names[index]) for index in mean.argmax(1)]
    accuracy = np.mean([label == name for label, name in zip(labels, predicted, strict=True)])
    assert json.loads(file.read_text())["scores"]["accuracy"]["value"] == pytest.approx(accuracy)


def test_features_are_those_of_a_member(folder: Path, model: TrainedModel) -> None:
    with pytest.raises(ConfigError, match="embed: the models of an ensemble have different features"):
        model.embed(folder / "rows.csv")
    assert trainer.load(folder / "moved/members/0").embed(folder / "rows.csv").ndim == 2
