"""Runs of pretrained models: fine-tuning, exact resume, and their use after the saved model is deleted."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest
import torch

from tests.helpers import saved_model
from tests.helpers.in_process import read_metrics, send_signal_at
from tests.helpers.own_files import OWN_FILES
from tests.helpers.own_runs import evaluate_scores
from trainer.config import compose
from trainer.core.adapters import merge_adapters
from trainer.core.stored_architecture import get_architecture
from trainer.engine import checkpoint
from trainer.inference import inspection
from trainer.inference.load_run import load_run
from trainer.models.language.pretrained import Pretrained
from trainer.runs import saved_run, train
from trainer.runs.results import Result
from trainer.utils.errors import ConfigError, Interrupted

pytestmark = pytest.mark.usefixtures("in_tmp")
SAVED = Path("saved")
COMMON = ["model=pretrained", f"model.name=./{SAVED}", "threads=1", "draw=false"]
IMAGES = [*COMMON, "data=digits", "data.size=8", "augment=none", "batch_size=256", "optimizer.lr=0.003", "max_steps=6"]
LORA = "model.lora_rank=2"


def save(kind: str) -> list[str]:
    """Save a model; return the overrides of a run with it."""
    if kind != "text":
        saved_model.save_images(SAVED, kind)
        return IMAGES
    saved_model.save(SAVED)
    paths = [f"data.{key}={value()}" for key, value in OWN_FILES["text_folder"].items()]
    return [*COMMON, "data=text_folder", *paths, f"data.max_length={saved_model.LONGEST}", "max_steps=6"]


def run(*overrides: str) -> Result:
    return train.run(compose.compose(overrides))


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load_checkpoint(path / checkpoint.BEST)["task"]


@pytest.mark.parametrize(("kind", "more"), [("vit", []), ("resnet", [LORA]), ("text", [LORA]), ("text", [])], ids=str)
@pytest.mark.slow
def test_resumed_run_is_exact_without_the_saved_model(
    kind: str, more: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = [*save(kind), *more]
    expected = run(*overrides, "hydra.run.dir=outputs/whole")
    with monkeypatch.context() as patched:
        send_signal_at(patched, 3, signal.SIGINT)
        with pytest.raises(Interrupted):
            run(*overrides, "hydra.run.dir=outputs/stopped")
    shutil.rmtree(SAVED)
    resumed = train.resume_run(saved_run.load(Path("outputs/stopped")))
    assert resumed.test == expected.test
    assert read_metrics(Path("outputs/stopped")) == read_metrics(Path("outputs/whole"))
    whole, stopped = load_weights(Path("outputs/whole")), load_weights(Path("outputs/stopped"))
    assert whole.keys() == stopped.keys()
    assert all(torch.equal(value, stopped[name]) for name, value in whole.items())
    assert evaluate_scores(Path("outputs/stopped")) == expected.test
    assert inspection.summarize_layers(saved_run.load(Path("outputs/whole")))
    with pytest.raises(ConfigError, match="not a directory of a saved model"):
        run(*overrides)


@pytest.mark.parametrize("more", [[], [LORA]], ids=["full", "lora"])
@pytest.mark.slow
def test_fine_tuning_reduces_the_loss(more: list[str]) -> None:
    overrides = [*save("vit"), *more, "batch_size=32", "max_steps=80"]
    before = load_saved_weights(SAVED, rank=2 if more else None)
    result = run(*overrides)
    losses = [float(row["train_loss"]) for row in read_metrics(Path(result.run_dir))]
    assert losses[-1] < losses[0] - 0.1
    assert result.test["nll"] < result.baseline["nll"] - 0.1
    after = load_weights(Path(result.run_dir))
    changed = {name for name, value in before.items() if not torch.equal(value, after[f"model.{name}"])}
    assert changed, "the head is trained"
    has_frozen_body = all(name.startswith("head.") or "lora" in name for name in changed)
    assert has_frozen_body is bool(more)


def load_saved_weights(folder: Path, *, rank: int | None) -> dict[str, torch.Tensor]:
    """Load the weights of the saved model, with the names that they have in a run."""
    return Pretrained(str(folder), 10, pixel_bounds=[[0.0], [1.0]], lora_rank=rank).state_dict()


@pytest.fixture(scope="module")
def adapted_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train adapters of a network with batch norm; the saved model is kept beside the run."""
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(tmp_path_factory.mktemp("adapted"))
        return Path(run(*save("resnet"), LORA).run_dir).absolute()


@pytest.mark.slow
def test_frozen_batch_norm_keeps_its_statistics(adapted_run: Path) -> None:
    after = load_weights(adapted_run)
    before = load_saved_weights(adapted_run.parents[2] / SAVED, rank=2)
    means = {name: value for name, value in before.items() if name.endswith("running_mean")}
    assert means
    assert all(torch.equal(value, after[f"model.{name}"]) for name, value in means.items())


@pytest.mark.slow
def test_merged_run_predicts_the_same(adapted_run: Path) -> None:
    task, data = load_run(saved_run.load(adapted_run))
    batch = data.test.to_model_inputs(data.test.batch(torch.arange(20), 0))
    with torch.no_grad():
        logits = task.forward_batch(batch)
        merge_adapters(task)
        merged = task.forward_batch(batch)
    assert (merged - logits).abs().max() <= 1e-5
    assert not [name for name in task.state_dict() if "lora" in name]


@pytest.mark.slow
def test_checkpoint_contains_the_architecture_only_of_saved_models(adapted_run: Path) -> None:
    metadata = checkpoint.load_checkpoint(adapted_run / checkpoint.BEST)["run_metadata"]
    task, _ = load_run(saved_run.load(adapted_run))
    assert metadata["architecture"] == get_architecture(task.model)
    assert str(adapted_run.parents[2]) not in str(metadata["architecture"])
    other = Path(run("model=mlp", "data=moons", "max_steps=1", "draw=false").run_dir)
    assert "architecture" not in checkpoint.load_checkpoint(other / checkpoint.BEST)["run_metadata"]


def test_init_would_replace_the_saved_weights() -> None:
    with pytest.raises(ConfigError, match="init: xavier would replace the weights of a saved model; set init=default"):
        run(*save("vit"), "init=xavier")
