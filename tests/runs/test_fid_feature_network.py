"""The classifier rows are compared by: trained once for a data set, kept as a run, refused where it does not belong."""

from __future__ import annotations

import json
import signal
import threading
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.helpers.in_process import run as train_mlp
from tests.helpers.own_runs import copy_files
from trainer.config import compose
from trainer.config.compose import Config
from trainer.core.dataset import Dataset
from trainer.engine import factory
from trainer.engine.trainer import Trainer
from trainer.runs import evaluate, fid_feature_network, run_dir, saved_run, train
from trainer.runs.fid_feature_network import FeatureExtractor
from trainer.utils import atomic_write
from trainer.utils.errors import ConfigError, Interrupted

pytestmark = pytest.mark.usefixtures("in_tmp")
SMALL = ("model=vae", "data=digits", "data.size=8", "augment=none", "monitor=null", "threads=1", "max_steps=20")
TINY = (*SMALL, "task.samples=40", "task.likelihood=bernoulli")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = ("model=cnn", "model.channels=[4,4,4]", "model.hidden=[7]", "data=digits", "augment=none", "max_steps=30")
    monkeypatch.setattr(fid_feature_network, "IMAGE_OVERRIDES", recipe)
    monkeypatch.setattr(fid_feature_network, "POLL_SECONDS", 0.05)


def runs() -> list[Path]:
    return sorted(path for path in Path("outputs/classifiers").glob("*") if path.is_dir())


def attached(*overrides: str) -> tuple[Config, Dataset]:
    composed = compose.compose([*TINY, *overrides])
    data = factory.make_dataset(composed.tree)
    fid_feature_network.attach_feature_extractor(composed, data, train.execute_run)
    return composed, data


def test_features_are_what_comes_to_the_last_linear_layer() -> None:
    torch.manual_seed(0)
    first, last = nn.Linear(3, 5), nn.Linear(5, 4)
    found = FeatureExtractor(nn.Sequential(nn.Flatten(), first, nn.ReLU(), last))
    x = torch.randn(2050, 3)
    features, told = found(x)
    torch.testing.assert_close(features, first(x).relu())
    assert torch.equal(told, last(first(x).relu()).argmax(1))
    assert torch.equal(found(x)[0], features)
    one = FeatureExtractor(nn.Sequential(nn.Linear(3, 1)))
    assert set(one(x)[1].tolist()) == {0, 1}
    with pytest.raises(ConfigError, match="no linear layer"):
        FeatureExtractor(nn.Conv2d(1, 1, 1))


@pytest.mark.slow
def test_one_is_trained_for_a_data_set_and_kept() -> None:
    _, data = attached()
    (kept,) = runs()
    began = (kept / "results.json").stat().st_mtime_ns
    assert data.info.classifier is not None
    rows = data.test.batch(torch.arange(30), 0).inputs["x"]
    features, _ = data.info.classifier(rows)
    assert features.shape == (30, 7)
    _, again = attached("seed=3", "model.latent=2")
    assert runs() == [kept]
    assert (kept / "results.json").stat().st_mtime_ns == began
    assert torch.equal(again.info.classifier(rows)[0], features)  # type: ignore[misc]
    attached("data.seed=1")
    assert len(runs()) == 2


@pytest.mark.parametrize("name", ["image_folder", "csv"])
@pytest.mark.slow
def test_another_extractor_is_trained_for_other_files(name: str) -> None:
    """A class of another name is at another place in what a kept one tells."""
    given = [f"data.{key}={value}" for key, value in copy_files(name).items()]
    likelihood = ["data.size=8", "task.likelihood=bernoulli"] if name == "image_folder" else []
    words = ["model=vae", f"data={name}", *given, *likelihood, "task.samples=40", "max_steps=20", "threads=1"]
    for count in (1, 2):
        for _ in range(2):
            assert train.run(compose.compose(words)).status == "finished"
            assert len(runs()) == count
        (files,) = Path("files").iterdir()
        if files.is_dir():
            sorted(files.iterdir())[0].rename(files / f"zebra {count}")
        else:
            files.write_text(files.read_text().replace("no\n", "zebra\n"))


@pytest.mark.slow
def test_a_run_is_scored_by_it_and_scored_again_the_same() -> None:
    result = train.run(compose.compose(TINY))
    assert {"frechet", "precision", "recall", "copies"} <= set(result.test)
    assert result.best_possible["frechet"] < result.baseline["frechet"]
    assert evaluate.evaluate_run(saved_run.load(Path(result.folder))) == result.test
    said = json.loads((Path(result.folder) / "results.json").read_text())
    assert said["baseline"]["frechet"] == result.baseline["frechet"]


@pytest.mark.slow
def test_a_stop_while_it_is_trained_is_of_the_run_that_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(_: Trainer) -> None:
        raise Interrupted("stopped by SIGTERM", signal.SIGTERM)

    fit = Trainer.fit
    monkeypatch.setattr(Trainer, "fit", stopped)
    with pytest.raises(
        Interrupted, match=r"^stopped by SIGTERM; resume with: train resume outputs/\S+-vae-digits$"
    ) as told:
        train.run(compose.compose(TINY))
    monkeypatch.setattr(Trainer, "fit", fit)
    result = train.resume_run(saved_run.load(Path(str(told.value).split()[-1])))
    assert result.status == "finished"
    assert [run_dir.read_results(path)["status"] for path in runs()] == ["finished"]


def test_incompatibility_is_reported_before_training() -> None:
    with pytest.raises(ConfigError, match=r"task\.likelihood=categorical needs one output per gray level"):
        attached("task.likelihood=categorical")
    assert runs() == []


@pytest.mark.slow
def test_null_leaves_it_out_and_points_have_none() -> None:
    _, data = attached("task.classifier=null")
    assert data.info.classifier is None
    composed = compose.compose(["model=wgan_gp", "data=ring"])
    ring = factory.make_dataset(composed.tree)
    fid_feature_network.attach_feature_extractor(composed, ring, train.execute_run)
    assert ring.info.classifier is None
    assert runs() == []


@pytest.mark.slow
def test_another_process_that_trains_it_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    attached()
    (kept,) = runs()
    results = json.loads((kept / "results.json").read_text())
    atomic_write.write_text(kept / "results.json", json.dumps(results | {"status": "running"}))

    def other() -> None:
        time.sleep(0.5)
        atomic_write.write_text(kept / "results.json", json.dumps(results))

    thread = threading.Thread(target=other)
    with run_dir.lock_run(kept):
        thread.start()
        began = time.monotonic()
        _, data = attached()
        assert time.monotonic() - began > 0.4
    assert capsys.readouterr().out.count("trained once") == 2, "told by each that wants it, and not at every look"
    thread.join()
    assert data.info.classifier is not None


@pytest.mark.slow
def test_one_that_was_killed_before_its_curves_were_drawn_is_made_complete(capsys: pytest.CaptureFixture[str]) -> None:
    composed = compose.compose(list(TINY))
    data = factory.make_dataset(composed.tree)
    fid_feature_network.attach_feature_extractor(composed, data, train.train_nested_run)
    (kept,) = runs()
    results = json.loads((kept / "results.json").read_text())
    atomic_write.write_text(kept / "results.json", json.dumps(results | {"artifacts": None}))
    (kept / "curves.png").unlink()
    weights = (kept / "best.pt").read_bytes()
    capsys.readouterr()
    for _ in range(2):
        fid_feature_network.attach_feature_extractor(composed, data, train.train_nested_run)
    assert (kept / "curves.png").stat().st_size
    assert json.loads((kept / "results.json").read_text()) == results
    assert (kept / "best.pt").read_bytes() == weights
    assert capsys.readouterr().out == "", "it is none of the user's runs"


@pytest.mark.slow
def test_a_run_of_another_task_or_of_other_data_is_refused() -> None:
    mlp = train_mlp()
    with pytest.raises(ConfigError, match=r"task.classifier: .* was trained on other data"):
        attached(f"task.classifier={mlp.folder}")
    vae = train.run(compose.compose([*TINY, "task.classifier=null"]))
    with pytest.raises(ConfigError, match="is a run of task=vae, which does not predict classes"):
        attached(f"task.classifier={vae.folder}")
    with pytest.raises(ConfigError, match="not a run directory"):
        attached("task.classifier=nowhere")
