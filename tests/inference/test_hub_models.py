"""Hub folders of every family: they predict and sample as their runs, which are gone."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trainer
from tests.helpers import saved_model
from tests.helpers.hub_folders import export_hub
from tests.helpers.image_runs import train_image_run
from tests.helpers.marks import mark_slow_after
from tests.helpers.own_files import OWN_FILES
from trainer.engine import evaluation, factory
from trainer.inference import method_options
from trainer.inference.trained_model import TrainedModel

STORED = Path(__file__).parents[1] / "formats"
RUNS = [
    *("train_checkpoint_4/csv_mlp", "train_0_1_0/series_dlinear", "train_checkpoint_3/text_gpt"),
    *("train_checkpoint_4/pairs_seq2seq", "train_checkpoint_3/canvas_unet", "train_checkpoint_3/sequence_linformer"),
    *("train_checkpoint_3/blob_conv_lstm", "train_checkpoint_3/bold_brain", "train_checkpoint_3/molecules_graph_net"),
    *("train_checkpoint_3/relations_rgcn", "train_checkpoint_3/sbm_sage", "train_checkpoint_3/mod3_fusion"),
    *("train_checkpoint_3/ring_real_nvp", "train_checkpoint_3/ring_vq_vae", "train_checkpoint_3/ring_diffusion"),
    *("train_checkpoint_3/gratings_style_gan", "train_0_1_0/karate_gcn"),
]
"""Runs of each family, of versions 1 to 4 of the format."""


def compute(model: TrainedModel) -> list[np.ndarray]:
    """Return the predictions, scores and samples of a model for the test rows that its run has stored."""
    methods = method_options.read_methods(model.config.tree["task"]["_target_"])
    device = model.task.progress.device
    fields: dict[str, Any] = {}
    for name, run in (("predict", evaluation.predict_rows), ("score_rows", evaluation.score_rows)):
        if name in methods:
            loader = factory.make_eval_loader(model.data, model.data.test, "test", model.config.settings, device)
            fields |= {f"{name}.{key}": value for key, value in run(model.task, loader, model.config.settings).items()}
    if "sample" in methods and "predict" not in methods:
        samples = model.sample(seed=3)
        fields["sample"] = [*samples.values()] if isinstance(samples, dict) else samples
    assert fields, "this model computes nothing"
    return [np.asarray(value) for value in fields.values()]


def assert_same(model: TrainedModel, other: TrainedModel) -> None:
    assert all(np.array_equal(*pair) for pair in zip(compute(model), compute(other), strict=True))


@pytest.mark.parametrize("name", mark_slow_after(1, RUNS))
def test_folder_computes_what_its_run_computed(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(STORED / name, "run")
    model = trainer.load("run", "cpu")
    folder = export_hub(Path("run"), tmp_path / "exported")
    shutil.rmtree("run")
    assert_same(trainer.load(folder.rename("hub"), "cpu"), model)
    card = Path("hub/README.md").read_text()
    assert card.startswith("---\nmodel-index:\n")
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    exec(code.partition("predictions = " if "PATH" in code else "\0")[0])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["classifier", "segmenter"])
def test_pictures_are_predicted_alike(name: str, tmp_path: Path) -> None:
    run = train_image_run(name)
    folder = export_hub(run, tmp_path / "hub")
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (size, size + 3), dtype=np.uint8) for size in (8, 40)]
    for one, other in zip(trainer.load(run).predict(images), trainer.load(folder).predict(images), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.slow
def test_pretrained_model_needs_its_files_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    saved_model.save(tmp_path / "saved")
    paths = [f"data.{key}={value()}" for key, value in OWN_FILES["text_folder"].items()]
    options = [f"model.name={tmp_path / 'saved'}", "model.lora_rank=2", f"data.max_length={saved_model.LONGEST}"]
    sizes = ["max_steps=2", "draw=false", "threads=1"]
    config = trainer.compose(["model=pretrained", "data=text_folder", *paths, *options, *sizes])
    model = trainer.load(trainer.run(config, quiet=True).run_dir)
    folder = export_hub(Path(model.config.run_dir), tmp_path / "hub")
    shutil.rmtree("saved")
    assert str(tmp_path) not in (folder / "config.json").read_text()
    texts = ["good film", "the plot was poor"]
    other = trainer.load(folder)
    assert_same(model, other)
    assert np.array_equal(model.predict_proba(texts), other.predict_proba(texts))
