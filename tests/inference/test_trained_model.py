"""Tests of ``trainer.load``: a saved model in Python."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import trainer
from tests.helpers.own_runs import train_run
from trainer.cli import main
from trainer.inference.trained_model import TrainedModel
from trainer.utils.errors import ConfigError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        train_run("csv").rename("moved")
        next(path.glob("files/*.csv")).rename("rows.csv")
    return path


@pytest.fixture(scope="module")
def model(folder: Path) -> TrainedModel:
    return trainer.load(folder / "moved")


def read_columns(path: Path) -> dict[str, list[str]]:
    with path.open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return {name: [row[name] for row in rows] for name in rows[0]}


@pytest.mark.slow
def test_predictions_are_those_of_the_command(model: TrainedModel, folder: Path, tmp_path: Path) -> None:
    rows, file = folder / "rows.csv", tmp_path / "predictions.csv"
    main.run_command(["predict", str(folder / "moved"), f"input={rows}", f"output={file}"])
    written = read_columns(file)
    assert model.predict(rows).tolist() == written["label"]
    assert repr(model).endswith(f"; classes: {', '.join(model.class_names)}>")
    probabilities = np.stack([written[f"p_{name}"] for name in model.class_names], axis=1).astype(float)
    np.testing.assert_allclose(model.predict_proba(rows), probabilities, rtol=1e-6)
    assert list(model.predict_columns(rows)) == list(written)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_predictions_do_not_depend_on_the_batch_size(model: TrainedModel, folder: Path, batch_size: int) -> None:
    expected = model.predict_proba(folder / "rows.csv")
    np.testing.assert_allclose(model.predict_proba(folder / "rows.csv", batch_size), expected, atol=1e-6)


def test_embeddings_are_the_input_of_the_last_layer(model: TrainedModel, folder: Path) -> None:
    features = torch.from_numpy(model.embed(folder / "rows.csv"))
    head = [layer for layer in model.task.model.modules() if isinstance(layer, torch.nn.Linear)][-1]
    logits = head(features).detach()
    margin = torch.logit(torch.from_numpy(model.predict_proba(folder / "rows.csv"))[:, 1]).float()
    torch.testing.assert_close(logits[:, -1] - (0 if logits.shape[1] == 1 else logits[:, 0]), margin, atol=1e-4, rtol=0)


def test_random_state_and_threads_of_the_caller_are_kept(folder: Path) -> None:
    torch.manual_seed(3)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    trainer.load(folder / "moved").predict(folder / "rows.csv")
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_threads_may_share_a_model(model: TrainedModel, folder: Path) -> None:
    expected = model.predict_proba(folder / "rows.csv")
    barrier = threading.Barrier(4)

    def predict(_: int) -> np.ndarray:
        barrier.wait()
        return model.predict_proba(folder / "rows.csv")

    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(predict, range(4)):
            np.testing.assert_array_equal(result, expected)


@pytest.mark.slow
def test_forked_process_predicts_without_hydra_and_rich(folder: Path) -> None:
    code = (
        "import os, sys, trainer\n"
        "model = trainer.load('moved'); first = model.predict_proba('rows.csv')\n"
        "assert not {'hydra', 'rich', 'matplotlib', 'sklearn', 'pandas'} & sys.modules.keys()\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    os._exit(int((model.predict_proba('rows.csv') != first).any()))\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, check=True, timeout=120)


def test_unknown_option_and_missing_ability_are_explained(model: TrainedModel, folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"predict: unknown option 'rolling'; it has"):
        model.predict(folder / "rows.csv", rolling=True)
    with pytest.raises(ConfigError, match=r"the task of this run cannot sample; .* use train predict RUN"):
        model.sample(3)
    with pytest.raises(ConfigError, match="makes no forecasts"):
        model.forecast(folder / "rows.csv")


def test_options_of_files_are_refused_for_rows_in_memory(model: TrainedModel, folder: Path) -> None:
    columns = read_columns(folder / "rows.csv")
    first = next(iter(columns))
    assert first in model.predict_columns(folder / "rows.csv", id_column=first)
    with pytest.raises(ConfigError, match="predict id_column: it is about a file, but the rows are in memory"):
        model.predict_columns(columns, id_column=first)


@pytest.mark.parametrize("batch_size", [0, -7, 2.5, "x", True])
def test_invalid_batch_size_is_refused(model: TrainedModel, folder: Path, batch_size: Any) -> None:
    for method in (model.predict, model.predict_proba, model.embed):
        with pytest.raises(ConfigError, match=r"batch_size: .* given; it must be a whole number >= 1"):
            method(folder / "rows.csv", batch_size)


@pytest.mark.parametrize("device", ["gpu", "cpu:9", 5])
def test_invalid_device_is_refused(model: TrainedModel, folder: Path, device: Any) -> None:
    for call in (model.to, lambda name: trainer.load(folder / "moved", device=name)):
        with pytest.raises(ConfigError, match=r"device: .* given; it must be one of auto, cpu, cuda"):
            call(device)


def test_directory_of_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a run directory"):
        trainer.load(tmp_path)


@pytest.mark.slow
def test_generative_models_sample_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = trainer.compose(["model=real_nvp", "data=ring", "max_steps=2", "val_every=9", "draw=false", "threads=1"])
    model = trainer.load(trainer.run(config, quiet=True).run_dir)
    samples = model.sample(5, seed=1)
    assert samples.shape == (5, 2)
    np.testing.assert_array_equal(model.sample(5, seed=1), samples)
    with pytest.raises(ConfigError, match=r"sample count: 0 given"):
        model.sample(0)
    with pytest.raises(ConfigError, match=r"cannot predict; .* use train sample RUN or train score RUN"):
        model.predict(np.zeros((2, 2)))
