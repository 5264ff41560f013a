"""Images in memory, in requests and with labels: the same predictions and scores as those of files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import trainer
from tests.helpers import palette_masks
from tests.helpers.image_runs import get_test_scores, predict, read_mask, train_image_run, write_images
from tests.helpers.marks import mark_slow_after
from trainer.core.batch import ScoreAccumulator
from trainer.engine import factory
from trainer.inference import serve
from trainer.utils.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def folder() -> Path:
    return write_images()


@torch.no_grad()
def evaluate_files(run: Path, path: Path) -> dict[str, float]:
    """Return the scores of labeled files, chunk by chunk."""
    model, totals = trainer.load(run), ScoreAccumulator()
    for split in model.data.read_chunks(str(path), with_targets=True):
        model.task.validate_targets(split.get_targets(), "input")
        loader = factory.make_eval_loader(model.data, split, "input", model.config.settings, torch.device("cpu"))
        for batch in loader.iter_epoch(0):
            totals.update(model.task.score(batch))
    return model.task.metrics(totals.compute_totals())


def copy_test_files(names: Iterable[str], source: Path, target: Path, folders: tuple[str, ...] = ()) -> Path:
    """Copy files to a folder; those in ``folders`` have the same name in each."""
    for name in names:
        for file in [Path(folder, Path(name).name) for folder in folders] or [Path(name)]:
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            (target / file).write_bytes((source / file).read_bytes())
    return target


@pytest.mark.slow
def test_python_returns_the_pixels_of_the_masks(folder: Path, tmp_path: Path) -> None:
    model = trainer.load(train_image_run("segmenter"))
    files = sorted((folder / "maps" / "images").iterdir())
    predict(train_image_run("segmenter"), tmp_path / "out", f"input={folder / 'maps' / 'images'}")
    expected = [read_mask(tmp_path / "out" / "masks" / file.name) for file in files]
    arrays = [read_mask(file) for file in files]
    for given in (folder / "maps" / "images", arrays, np.stack(arrays), [Image.fromarray(array) for array in arrays]):
        for mask, other in zip(model.predict(given), expected, strict=True):
            assert np.array_equal(mask, other)
    with pytest.raises(ConfigError, match="predicts masks, without their probabilities"):
        model.predict_proba(arrays)
    classifier = trainer.load(train_image_run("classifier"))
    paths = sorted((folder / "kinds").glob("*/*"))
    with Image.open(paths[0]) as first:
        assert classifier.predict([first, np.asarray(first)]).tolist() == classifier.predict(paths[0]).tolist() * 2


@pytest.mark.slow
@pytest.mark.parametrize("run", mark_slow_after(1, ["segmenter", "resized", "classifier"]))
def test_labeled_test_files_have_the_reported_scores(folder: Path, tmp_path: Path, run: str) -> None:
    data, folders = ("kinds", ()) if run == "classifier" else ("maps", ("images", "masks"))
    rows = predict(
        train_image_run(run), tmp_path / ("test.csv" if run == "classifier" else "test"), f"data.path={folder / data}"
    )
    files = copy_test_files([row["file"] for row in rows], folder / data, tmp_path / "files", folders)
    scores = evaluate_files(train_image_run(run), files)
    assert scores == pytest.approx(get_test_scores(train_image_run(run)), abs=1e-6)


@pytest.mark.slow
def test_pixels_of_larger_labeled_images_are_scored_once(tmp_path: Path) -> None:
    pixels, classes = palette_masks.make_pair(5, 50, 70)
    for name, content in {"images": pixels, "masks": np.array(palette_masks.VALUES, np.uint8)[classes]}.items():
        (tmp_path / "files" / name).mkdir(parents=True)
        Image.fromarray(content).save(tmp_path / "files" / name / "a.png")
    scores = evaluate_files(train_image_run("segmenter"), tmp_path / "files")
    (row,) = predict(train_image_run("segmenter"), tmp_path / "out", f"input={tmp_path / 'files' / 'images'}")
    blended = read_mask(tmp_path / "out" / row["mask"]) == np.array(palette_masks.VALUES)[classes]
    assert scores["pixel_accuracy"] == pytest.approx(float(blended.mean()), abs=0.02)
    Image.fromarray(np.zeros((50, 70), np.uint8)).save(tmp_path / "files" / "masks" / "a.png")
    with pytest.raises(
        DataError, match=r"(?s)input: 1 of 1 files:.*a.png has the value 0, which is no class of this run"
    ):
        evaluate_files(train_image_run("segmenter"), tmp_path / "files")
    Image.fromarray(np.ones((50, 71), np.uint8)).save(tmp_path / "files" / "masks" / "a.png")
    with pytest.raises(DataError, match=r"a.png is 71 x 50 pixels, its image 70 x 50"):
        evaluate_files(train_image_run("segmenter"), tmp_path / "files")


@pytest.mark.slow
def test_windows_in_memory_are_those_of_the_file(folder: Path) -> None:
    model = trainer.load(train_image_run("segmenter"))
    file = next((folder / "maps" / "images").iterdir())
    (expected,) = model.predict(file, window=16, overlap=0.25)
    with Image.open(file) as image:
        (found,) = model.predict([image], window=16, overlap=0.25)
        with pytest.raises(ConfigError, match="overlap: 1 given"):
            model.predict([image], overlap=1)
    assert np.array_equal(found, expected)


@pytest.mark.slow
def test_embeddings_are_one_vector_for_each_image() -> None:
    images = np.zeros((3, 20, 20), np.uint8)
    assert len(trainer.load(train_image_run("classifier")).embed(images)) == 3
    model = trainer.load(train_image_run("segmenter"))
    size = model.data.info.sizes["height"] * 2
    with pytest.raises(ConfigError, match=r"embed: the model reads \d+ parts of 1 rows, such as windows of images"):
        model.embed(np.zeros((size, size), np.uint8))


@pytest.mark.slow
def test_requests_have_images_as_lists_or_files(folder: Path) -> None:
    from starlette.testclient import TestClient

    arrays = [palette_masks.make_pair(number, 30, 40)[0] for number in range(2)]
    for name in ("classifier", "segmenter"):
        model = trainer.load(train_image_run(name))
        expected = model.predict(arrays)
        with TestClient(serve.make_app(model)) as client:
            answer = client.post("/predict", json=[array.tolist() for array in arrays])
            assert answer.status_code == 200, answer.text
            cells = [row["mask" if name == "segmenter" else "label"] for row in answer.json()["predictions"]]
            assert all(np.array_equal(cell, other) for cell, other in zip(cells, expected, strict=True))
            path = next((folder / "maps" / "images").iterdir())
            answer = client.post("/predict", files={"file": ("x.png", path.read_bytes())})
            assert answer.json()["predictions"][0]["file"] == "x.png"
            for rows in (["/etc/hosts"], [str(path)], [[[0.5]]], [[[1, 2], [3]]], [{"a": 1}], [None]):
                answer = client.post("/predict", json=rows)
                assert answer.status_code == 422
                assert "image 1: " in answer.json()["detail"]
