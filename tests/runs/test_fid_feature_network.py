"""The feature network for FID: trained once per data set, stored as a run, refused for other data."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.helpers.in_process import run as train_mlp
from tests.helpers.own_runs import copy_files
from trainer.config import compose
from trainer.config.run_config import Config
from trainer.core.dataset import Dataset
from trainer.engine import factory
from trainer.engine.trainer import Trainer
from trainer.inference import evaluate
from trainer.runs import fid_feature_network, run_dir, saved_run, train
from trainer.runs.fid_feature_network import FeatureExtractor
from trainer.utils import atomic_write
from trainer.utils.errors import ConfigError, Interrupted

pytestmark = pytest.mark.usefixtures("in_tmp")
SMALL = ("model=vae", "data=digits", "data.size=8", "augment=none", "monitor=null", "threads=1", "max_steps=20")
TINY = (*SMALL, "task.samples=40", "task.likelihood=bernoulli")


@pytest.fixture(autouse=True)
def fast_training(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = ("model=cnn", "model.channels=[4,4,4]", "model.hidden=[7]", "data=digits", "augment=none", "max_steps=30")
    monkeypatch.setattr(fid_feature_network, "IMAGE_OVERRIDES", recipe)
    monkeypatch.setattr(fid_feature_network, "POLL_SECONDS", 0.05)


def list_networks() -> list[Path]:
    return sorted(path for path in Path("outputs/classifiers").glob("*") if path.is_dir())


def attach_network(*overrides: str) -> tuple[Config, Dataset]:
    config = compose.compose([*TINY, *overrides])
    data = factory.make_dataset(config.tree)
    fid_feature_network.attach_feature_extractor(config, data, train.execute_run)
    return config, data


def test_features_are_the_inputs_of_the_last_linear_layer() -> None:
    torch.manual_seed(0)
    first, last = nn.Linear(3, 5), nn.Linear(5, 4)
    extractor = FeatureExtractor(nn.Sequential(nn.Flatten(), first, nn.ReLU(), last))
    x = torch.randn(2050, 3)
    features, classes = extractor(x)
    torch.testing.assert_close(features, first(x).relu())
    assert torch.equal(classes, last(first(x).relu()).argmax(1))
    assert torch.equal(extractor(x)[0], features)
    binary = FeatureExtractor(nn.Sequential(nn.Linear(3, 1)))
    assert set(binary(x)[1].tolist()) == {0, 1}
    with pytest.raises(ConfigError, match="no linear layer"):
        FeatureExtractor(nn.Conv2d(1, 1, 1))


@pytest.mark.slow
def test_network_is_trained_once_per_data_set() -> None:
    _, data = attach_network()
    (network,) = list_networks()
    modified = (network / "results.json").stat().st_mtime_ns
    assert data.info.classifier is not None
    rows = data.test.batch(torch.arange(30), 0).inputs["x"]
    features, _ = data.info.classifier(rows)
    assert features.shape == (30, 7)
    _, again = attach_network("seed=3", "model.latent=2")
    assert list_networks() == [network]
    assert (network / "results.json").stat().st_mtime_ns == modified
    assert torch.equal(again.info.classifier(rows)[0], features)  # type: ignore[misc]
    attach_network("data.seed=1")
    assert len(list_networks()) == 2


@pytest.mark.parametrize("name", ["image_folder", "csv"])
@pytest.mark.slow
def test_another_network_is_trained_for_other_files(name: str) -> None:
    """A renamed class changes the order of the classes that a stored network predicts."""
    paths = [f"data.{key}={value}" for key, value in copy_files(name).items()]
    likelihood = ["data.size=8", "task.likelihood=bernoulli"] if name == "image_folder" else []
    overrides = ["model=vae", f"data={name}", *paths, *likelihood, "task.samples=40", "max_steps=20", "threads=1"]
    for count in (1, 2):
        for _ in range(2):
            assert train.run(compose.compose(overrides)).status == "finished"
            assert len(list_networks()) == count
        (files,) = Path("files").iterdir()
        if files.is_dir():
            sorted(files.iterdir())[0].rename(files / f"zebra {count}")
        else:
            files.write_text(files.read_text().replace("no\n", "zebra\n"))


@pytest.mark.slow
def test_evaluate_reproduces_the_fid_of_a_run() -> None:
    result = train.run(compose.compose(TINY))
    assert {"frechet", "precision", "recall", "copies"} <= set(result.test)
    assert result.best_possible["frechet"] < result.baseline["frechet"]
    assert evaluate.evaluate_run(saved_run.load(Path(result.run_dir))) == result.test
    results = json.loads((Path(result.run_dir) / "results.json").read_text())
    assert results["baseline"]["frechet"] == result.baseline["frechet"]


@pytest.mark.slow
def test_interrupt_while_the_network_trains_interrupts_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def raise_interrupted(_: Trainer) -> None:
        raise Interrupted("stopped by SIGTERM", signal.SIGTERM)

    fit = Trainer.iter_fit
    monkeypatch.setattr(Trainer, "iter_fit", raise_interrupted)
    with pytest.raises(
        Interrupted, match=r"^stopped by SIGTERM; resume with: train resume outputs/\S+-vae-digits$"
    ) as caught:
        train.run(compose.compose(TINY))
    monkeypatch.setattr(Trainer, "iter_fit", fit)
    result = train.resume_run(saved_run.load(Path(str(caught.value).split()[-1])))
    assert result.status == "finished"
    assert [run_dir.read_results(path)["status"] for path in list_networks()] == ["finished"]


@pytest.mark.slow
def test_incompatibility_is_reported_before_training() -> None:
    with pytest.raises(ConfigError, match=r"task\.likelihood=categorical needs one output per gray level"):
        attach_network("task.likelihood=categorical")
    assert list_networks() == []


@pytest.mark.slow
def test_no_network_for_classifier_null_or_for_points() -> None:
    _, data = attach_network("task.classifier=null")
    assert data.info.classifier is None
    config = compose.compose(["model=wgan_gp", "data=ring"])
    ring = factory.make_dataset(config.tree)
    fid_feature_network.attach_feature_extractor(config, ring, train.execute_run)
    assert ring.info.classifier is None
    assert list_networks() == []


@pytest.mark.slow
def test_network_in_training_by_another_process_is_awaited(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    attach_network()
    (network,) = list_networks()
    results = json.loads((network / "results.json").read_text())
    atomic_write.write_text(network / "results.json", json.dumps(results | {"status": "running"}))

    waits: list[float] = []
    sleep = time.sleep

    def finish_in_third_wait(seconds: float) -> None:
        if seconds != 0.01:  # that of a lock
            sleep(seconds)
            return
        waits.append(seconds)
        if len(waits) == 3:
            atomic_write.write_text(network / "results.json", json.dumps(results))

    with run_dir.lock_run(network), monkeypatch.context() as patched:
        patched.setattr(fid_feature_network, "POLL_SECONDS", 0.01)
        patched.setattr(fid_feature_network.time, "sleep", finish_in_third_wait)
        _, data = attach_network()
    assert len(waits) == 3
    assert capsys.readouterr().out.count("trained once") == 2, "printed once by each run that waits, not at every poll"
    assert data.info.classifier is not None


@pytest.mark.slow
def test_network_without_curves_is_completed_silently(capsys: pytest.CaptureFixture[str]) -> None:
    config = compose.compose(list(TINY))
    data = factory.make_dataset(config.tree)
    fid_feature_network.attach_feature_extractor(config, data, train.train_nested_run)
    (network,) = list_networks()
    results = json.loads((network / "results.json").read_text())
    atomic_write.write_text(network / "results.json", json.dumps(results | {"artifacts": None}))
    (network / "curves.png").unlink()
    weights = (network / "best.pt").read_bytes()
    capsys.readouterr()
    for _ in range(2):
        fid_feature_network.attach_feature_extractor(config, data, train.train_nested_run)
    assert (network / "curves.png").stat().st_size
    assert json.loads((network / "results.json").read_text()) == results
    assert (network / "best.pt").read_bytes() == weights
    assert capsys.readouterr().out == "", "it is not a run of the user"


@pytest.mark.slow
def test_classifier_run_of_another_task_or_other_data_raises() -> None:
    mlp = train_mlp()
    with pytest.raises(ConfigError, match=r"task.classifier: .* was trained on other data"):
        attach_network(f"task.classifier={mlp.run_dir}")
    vae = train.run(compose.compose([*TINY, "task.classifier=null"]))
    with pytest.raises(ConfigError, match="is a run of task=vae, which does not predict classes"):
        attach_network(f"task.classifier={vae.run_dir}")
    with pytest.raises(ConfigError, match="not a run directory"):
        attach_network("task.classifier=nowhere")
