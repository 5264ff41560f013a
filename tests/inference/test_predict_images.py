"""Tests of ``train predict`` and ``trainer.load`` for images and segmentation masks."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import jaccard_score

import trainer
from tests.helpers import commands, image_folders, palette_masks
from tests.helpers.in_process import run_main
from trainer.cli import main
from trainer.config import compose
from trainer.core.batch import ScoreAccumulator
from trainer.engine import factory
from trainer.runs import train
from trainer.utils.errors import ConfigError, DataError

RUNS = {
    "classifier": ("model=cnn", "data=image_folder", "data.size=8", "data.path=kinds"),
    "segmenter": (
        "model=unet",
        "model.widths=[4]",
        "data=image_masks",
        "data.classes=[low,mid,high]",
        "data.path=maps",
    ),
    "resized": ("model=unet", "model.widths=[4]", "data=image_masks", "data.size=16", "data.path=maps"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with trained runs, in ``moved/``, and their data, which has been moved."""
    path = tmp_path_factory.mktemp("runs")
    image_folders.write(path / "kinds")
    palette_masks.write(path / "maps")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        for name, overrides in RUNS.items():
            small = ("max_steps=12", "batch_size=4", "threads=1", "draw=false", f"hydra.run.dir={path}/{name}")
            train.run(compose.compose([*overrides, *small]))
    (path / "moved").mkdir()
    for name in (*RUNS, "kinds", "maps"):
        (path / name).rename(path / "moved" / name)
    return path / "moved"


def predict(run: Path, output: Path, *options: str) -> list[dict[str, str]]:
    main.run_command(["predict", str(run), f"output={output}", *options])
    table = output / "predictions.csv" if output.is_dir() else output
    with table.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def read_mask(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def get_test_scores(run: Path) -> dict[str, float]:
    scores: dict[str, float] = json.loads((run / "results.json").read_text())["test"]
    return scores


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


def test_class_of_each_file_has_the_reported_accuracy(folder: Path, tmp_path: Path) -> None:
    rows = predict(folder / "classifier", tmp_path / "all.csv", f"input={folder / 'kinds'}")
    assert list(rows[0]) == ["file", "label", "p_bad", "p_good"]
    by_name = {row["file"]: row for row in rows}
    assert len(by_name) == 20
    stored = predict(folder / "classifier", tmp_path / "test.csv", f"data.path={folder / 'kinds'}")
    hits = [by_name[row["file"]]["label"] == row["target"] for row in stored]
    assert np.mean(hits) == get_test_scores(folder / "classifier")["accuracy"]
    for row in stored:
        assert by_name[row["file"]]["p_good"] == row["p_good"]


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_predictions_do_not_depend_on_the_batch_size(folder: Path, tmp_path: Path, batch_size: int) -> None:
    kinds, maps = f"input={folder / 'kinds'}", f"input={folder / 'maps' / 'images'}"
    option = f"batch_size={batch_size}"
    expected = predict(folder / "classifier", tmp_path / "expected.csv", kinds)
    rows = predict(folder / "classifier", tmp_path / "rows.csv", kinds, option)
    for row, other in zip(rows, expected, strict=True):
        assert float(row["p_good"]) == pytest.approx(float(other["p_good"]), abs=1e-6)
    predict(folder / "segmenter", tmp_path / "expected", maps, "window=16")
    predict(folder / "segmenter", tmp_path / "masks", maps, "window=16", option)
    for file in (tmp_path / "expected" / "masks").iterdir():
        assert np.array_equal(read_mask(file), read_mask(tmp_path / "masks" / "masks" / file.name))


def test_masks_have_the_palette_of_the_training_masks_and_the_reported_iou(folder: Path, tmp_path: Path) -> None:
    rows = predict(folder / "segmenter", tmp_path / "out", f"input={folder / 'maps' / 'images'}")
    assert list(rows[0]) == ["file", "mask", "width", "height", "share_low", "share_mid", "share_high"]
    stored = predict(folder / "segmenter", tmp_path / "test", f"data.path={folder / 'maps'}")
    predicted, truth = [], []
    for row in stored:
        name = Path(row["file"]).name
        mask = read_mask(tmp_path / "out" / "masks" / name)
        assert np.array_equal(mask, read_mask(tmp_path / "test" / row["mask"]))
        predicted.append(mask.ravel())
        truth.append(read_mask(folder / "maps" / "masks" / name).ravel())
    scores = get_test_scores(folder / "segmenter")
    iou = jaccard_score(np.concatenate(truth), np.concatenate(predicted), average=None, labels=palette_masks.VALUES)
    assert [scores[f"iou_{name}"] for name in ("low", "mid", "high")] == pytest.approx(iou.tolist(), abs=1e-12)
    assert scores["pixel_accuracy"] == pytest.approx(np.mean([float(row["pixel_accuracy"]) for row in stored]))
    for row in rows:
        with (
            Image.open(tmp_path / "out" / row["mask"]) as image,
            Image.open(folder / "maps" / "masks" / row["file"]) as true,
        ):
            assert (image.mode, image.size) == ("P", true.size)
            assert image.getpalette()[: 3 * 10] == true.getpalette()[: 3 * 10]  # type: ignore[index]
            assert set(np.unique(np.asarray(image))) <= set(palette_masks.VALUES)


def test_larger_and_smaller_images_keep_their_size(folder: Path, tmp_path: Path) -> None:
    sizes = {"large.png": (100, 90), "wide.png": (10, 200), "dot.png": (1, 1), "sub/same.png": (24, 32)}
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for name, size in sizes.items():
        Image.fromarray(palette_masks.make_pair(3, *size)[0]).save(tmp_path / "in" / name)
    for run in ("segmenter", "resized"):
        rows = predict(folder / run, tmp_path / run, f"input={tmp_path / 'in'}", "overlay=true")
        assert [row["file"] for row in rows] == sorted(sizes)
        for row in rows:
            assert read_mask(tmp_path / run / row["mask"]).shape == sizes[row["file"]]
            assert read_mask(tmp_path / run / "overlays" / row["file"]).shape == (*sizes[row["file"]], 3)


def test_large_image_is_as_accurate_as_training_images(folder: Path, tmp_path: Path) -> None:
    pixels, classes = palette_masks.make_pair(99, 120, 150)
    Image.fromarray(pixels).save(tmp_path / "large.png")
    rows = {}
    for name, options in {"blended": (), "whole": ("window=150",)}.items():
        predict(folder / "segmenter", tmp_path / name, f"input={tmp_path / 'large.png'}", *options)
        rows[name] = read_mask(tmp_path / name / "masks" / "large.png")
    truth = np.array(palette_masks.VALUES)[classes]
    accuracy = {name: float((mask == truth).mean()) for name, mask in rows.items()}
    assert abs(accuracy["blended"] - accuracy["whole"]) < 0.01
    assert float((rows["blended"] == rows["whole"]).mean()) > 0.98


def test_masks_of_files_that_differ_in_their_suffix_do_not_collide(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number, name in enumerate(("a.png", "a.bmp", "b.png", "a.png.png")):
        Image.fromarray(palette_masks.make_pair(number)[0]).save(tmp_path / "in" / name)
    rows = predict(folder / "segmenter", tmp_path / "out", f"input={tmp_path / 'in'}")
    assert len({row["mask"].lower() for row in rows}) == 4
    assert {row["file"]: row["mask"] for row in rows}["b.png"] == "masks/b.png"
    for row in rows:
        single = predict(
            folder / "segmenter",
            tmp_path / f"one-{row['file']}.d".replace(".", "-"),
            f"input={tmp_path / 'in' / row['file']}",
        )
        assert float(single[0]["share_low"]) == float(row["share_low"])


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (lambda path: (path / "in" / "cut.png").write_bytes(b"\x89PNG"), (), "1 of 2 files:"),
        (
            lambda path: (path / "out").mkdir() or (path / "out" / "x").touch(),
            (),
            "exists; images are written to a new",
        ),
        (lambda _: None, ("output=masks.npz",), "which are written to a directory"),
        (lambda _: None, ("output=no/where",), "does not exist"),
        (lambda _: None, ("overlap=1.0",), "overlap"),
        (lambda _: None, ("window=0",), "window"),
    ],
)
def test_nothing_is_written_on_an_error(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path], object],
    options: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    Image.fromarray(palette_masks.make_pair(0)[0]).save(tmp_path / "in" / "a.png")
    make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    output = () if any(option.startswith("output=") for option in options) else ("output=out",)
    code, err = run_main(capsys, monkeypatch, "predict", str(folder / "segmenter"), "input=in", *output, *options)
    assert code == 2
    assert message in err
    assert len(err.splitlines()) <= 10
    assert sorted(tmp_path.rglob("*")) == before


def test_python_returns_the_pixels_of_the_masks(folder: Path, tmp_path: Path) -> None:
    model = trainer.load(folder / "segmenter")
    files = sorted((folder / "maps" / "images").iterdir())
    predict(folder / "segmenter", tmp_path / "out", f"input={folder / 'maps' / 'images'}")
    expected = [read_mask(tmp_path / "out" / "masks" / file.name) for file in files]
    arrays = [read_mask(file) for file in files]
    for given in (folder / "maps" / "images", arrays, np.stack(arrays), [Image.fromarray(array) for array in arrays]):
        for mask, other in zip(model.predict(given), expected, strict=True):
            assert np.array_equal(mask, other)
    with pytest.raises(ConfigError, match="predicts masks, without their probabilities"):
        model.predict_proba(arrays)
    classifier = trainer.load(folder / "classifier")
    paths = sorted((folder / "kinds").glob("*/*"))
    with Image.open(paths[0]) as first:
        assert classifier.predict([first, np.asarray(first)]).tolist() == classifier.predict(paths[0]).tolist() * 2


@pytest.mark.parametrize("run", ["classifier", "segmenter", "resized"])
def test_labeled_test_files_have_the_reported_scores(folder: Path, tmp_path: Path, run: str) -> None:
    data, folders = ("kinds", ()) if run == "classifier" else ("maps", ("images", "masks"))
    rows = predict(
        folder / run, tmp_path / ("test.csv" if run == "classifier" else "test"), f"data.path={folder / data}"
    )
    files = copy_test_files([row["file"] for row in rows], folder / data, tmp_path / "files", folders)
    scores = evaluate_files(folder / run, files)
    assert scores == pytest.approx(get_test_scores(folder / run), abs=1e-6)


def test_pixels_of_larger_labeled_images_are_scored_once(folder: Path, tmp_path: Path) -> None:
    pixels, classes = palette_masks.make_pair(5, 50, 70)
    for name, content in {"images": pixels, "masks": np.array(palette_masks.VALUES, np.uint8)[classes]}.items():
        (tmp_path / "files" / name).mkdir(parents=True)
        Image.fromarray(content).save(tmp_path / "files" / name / "a.png")
    scores = evaluate_files(folder / "segmenter", tmp_path / "files")
    (row,) = predict(folder / "segmenter", tmp_path / "out", f"input={tmp_path / 'files' / 'images'}")
    blended = read_mask(tmp_path / "out" / row["mask"]) == np.array(palette_masks.VALUES)[classes]
    assert scores["pixel_accuracy"] == pytest.approx(float(blended.mean()), abs=0.02)
    Image.fromarray(np.zeros((50, 70), np.uint8)).save(tmp_path / "files" / "masks" / "a.png")
    with pytest.raises(
        DataError, match=r"(?s)input: 1 of 1 files:.*a.png has the value 0, which is no class of this run"
    ):
        evaluate_files(folder / "segmenter", tmp_path / "files")
    Image.fromarray(np.ones((50, 71), np.uint8)).save(tmp_path / "files" / "masks" / "a.png")
    with pytest.raises(DataError, match=r"a.png is 71 x 50 pixels, its image 70 x 50"):
        evaluate_files(folder / "segmenter", tmp_path / "files")


@pytest.mark.slow
def test_predictions_in_another_process_are_equal(folder: Path, tmp_path: Path) -> None:
    expected = predict(folder / "segmenter", tmp_path / "here", f"input={folder / 'maps' / 'images'}", "overlay=true")
    command = (
        "predict",
        str(folder / "segmenter"),
        f"input={folder / 'maps' / 'images'}",
        "output=there",
        "overlay=true",
    )
    done = commands.train(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    here, there = (
        sorted(path.relative_to(tmp_path / name) for path in (tmp_path / name).rglob("*")) for name in ("here", "there")
    )
    assert here == there
    assert len(expected) == 15
    for file in here:
        if (tmp_path / "here" / file).is_file():
            assert (tmp_path / "here" / file).read_bytes() == (tmp_path / "there" / file).read_bytes()


def test_test_rows_of_built_in_canvases_are_written_as_masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    overrides = ("model=unet", "model.widths=[4]", "data=digit_canvas", "data.rows=30", "max_steps=1", "draw=false")
    run = Path(train.run(compose.compose([*overrides, "threads=1"])).run_dir)
    rows = predict(run, tmp_path / "out")
    with Image.open(tmp_path / "out" / rows[3]["mask"]) as image:
        assert (rows[3]["mask"], image.mode, image.size) == ("masks/3.png", "P", (32, 32))
    accuracy = np.mean([float(row["pixel_accuracy"]) for row in rows])
    assert accuracy == pytest.approx(get_test_scores(run)["pixel_accuracy"])
