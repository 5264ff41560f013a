"""Tests of ``train predict`` for images: classes of files, and segmentation masks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import jaccard_score

from tests.helpers import commands, palette_masks
from tests.helpers.image_runs import get_test_scores, predict, read_mask, train_image_run, write_images
from tests.helpers.in_process import run_main
from tests.helpers.marks import mark_slow_after
from trainer.config import compose
from trainer.runs import train


@pytest.fixture(scope="module")
def folder() -> Path:
    return write_images()


@pytest.mark.slow
def test_class_of_each_file_has_the_reported_accuracy(folder: Path, tmp_path: Path) -> None:
    rows = predict(train_image_run("classifier"), tmp_path / "all.csv", f"input={folder / 'kinds'}")
    assert list(rows[0]) == ["file", "label", "p_bad", "p_good"]
    by_name = {row["file"]: row for row in rows}
    assert len(by_name) == 20
    stored = predict(train_image_run("classifier"), tmp_path / "test.csv", f"data.path={folder / 'kinds'}")
    hits = [by_name[row["file"]]["label"] == row["target"] for row in stored]
    assert np.mean(hits) == get_test_scores(train_image_run("classifier"))["accuracy"]
    for row in stored:
        assert by_name[row["file"]]["p_good"] == row["p_good"]


@pytest.mark.parametrize("batch_size", mark_slow_after(0, [1, 7, 64]))
def test_predictions_do_not_depend_on_the_batch_size(folder: Path, tmp_path: Path, batch_size: int) -> None:
    kinds, maps = f"input={folder / 'kinds'}", f"input={folder / 'maps' / 'images'}"
    option = f"batch_size={batch_size}"
    expected = predict(train_image_run("classifier"), tmp_path / "expected.csv", kinds)
    rows = predict(train_image_run("classifier"), tmp_path / "rows.csv", kinds, option)
    for row, other in zip(rows, expected, strict=True):
        assert float(row["p_good"]) == pytest.approx(float(other["p_good"]), abs=1e-6)
    predict(train_image_run("segmenter"), tmp_path / "expected", maps, "window=16")
    predict(train_image_run("segmenter"), tmp_path / "masks", maps, "window=16", option)
    for file in (tmp_path / "expected" / "masks").iterdir():
        assert np.array_equal(read_mask(file), read_mask(tmp_path / "masks" / "masks" / file.name))


@pytest.mark.slow
def test_masks_have_the_palette_of_the_training_masks_and_the_reported_iou(folder: Path, tmp_path: Path) -> None:
    rows = predict(train_image_run("segmenter"), tmp_path / "out", f"input={folder / 'maps' / 'images'}")
    assert list(rows[0]) == ["file", "mask", "width", "height", "share_low", "share_mid", "share_high"]
    stored = predict(train_image_run("segmenter"), tmp_path / "test", f"data.path={folder / 'maps'}")
    predicted, truth = [], []
    for row in stored:
        name = Path(row["file"]).name
        mask = read_mask(tmp_path / "out" / "masks" / name)
        assert np.array_equal(mask, read_mask(tmp_path / "test" / row["mask"]))
        predicted.append(mask.ravel())
        truth.append(read_mask(folder / "maps" / "masks" / name).ravel())
    scores = get_test_scores(train_image_run("segmenter"))
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


@pytest.mark.slow
def test_larger_and_smaller_images_keep_their_size(tmp_path: Path) -> None:
    sizes = {"large.png": (100, 90), "wide.png": (10, 200), "dot.png": (1, 1), "sub/same.png": (24, 32)}
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for name, size in sizes.items():
        Image.fromarray(palette_masks.make_pair(3, *size)[0]).save(tmp_path / "in" / name)
    for run in ("segmenter", "resized"):
        rows = predict(train_image_run(run), tmp_path / run, f"input={tmp_path / 'in'}", "overlay=true")
        assert [row["file"] for row in rows] == sorted(sizes)
        for row in rows:
            assert read_mask(tmp_path / run / row["mask"]).shape == sizes[row["file"]]
            assert read_mask(tmp_path / run / "overlays" / row["file"]).shape == (*sizes[row["file"]], 3)


@pytest.mark.slow
def test_large_image_is_as_accurate_as_training_images(tmp_path: Path) -> None:
    pixels, classes = palette_masks.make_pair(99, 120, 150)
    Image.fromarray(pixels).save(tmp_path / "large.png")
    rows = {}
    for name, options in {"blended": (), "whole": ("window=150",)}.items():
        predict(train_image_run("segmenter"), tmp_path / name, f"input={tmp_path / 'large.png'}", *options)
        rows[name] = read_mask(tmp_path / name / "masks" / "large.png")
    truth = np.array(palette_masks.VALUES)[classes]
    accuracy = {name: float((mask == truth).mean()) for name, mask in rows.items()}
    assert abs(accuracy["blended"] - accuracy["whole"]) < 0.01
    assert float((rows["blended"] == rows["whole"]).mean()) > 0.98


def test_masks_beside_the_images_are_not_predicted(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = predict(train_image_run("segmenter"), tmp_path / "out", f"input={folder / 'maps'}")
    assert sorted(row["file"] for row in rows) == sorted(file.name for file in (folder / "maps" / "images").iterdir())
    assert "has images/ and masks/; only images/ is read" in caplog.text


@pytest.mark.slow
def test_masks_of_files_that_differ_in_their_suffix_do_not_collide(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number, name in enumerate(("a.png", "a.bmp", "b.png", "a.png.png")):
        Image.fromarray(palette_masks.make_pair(number)[0]).save(tmp_path / "in" / name)
    rows = predict(train_image_run("segmenter"), tmp_path / "out", f"input={tmp_path / 'in'}")
    assert len({row["mask"].lower() for row in rows}) == 4
    assert {row["file"]: row["mask"] for row in rows}["b.png"] == "masks/b.png"
    for row in rows:
        single = predict(
            train_image_run("segmenter"),
            tmp_path / f"one-{row['file']}.d".replace(".", "-"),
            f"input={tmp_path / 'in' / row['file']}",
        )
        assert float(single[0]["share_low"]) == float(row["share_low"])


@pytest.mark.parametrize(
    ("make", "options", "message"),
    mark_slow_after(
        1,
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
    ),
)
def test_nothing_is_written_on_an_error(
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
    code, err = run_main(
        capsys, monkeypatch, "predict", str(train_image_run("segmenter")), "input=in", *output, *options
    )
    assert code == 2
    assert message in err
    assert len(err.splitlines()) <= 10
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_predictions_in_another_process_are_equal(folder: Path, tmp_path: Path) -> None:
    expected = predict(
        train_image_run("segmenter"), tmp_path / "here", f"input={folder / 'maps' / 'images'}", "overlay=true"
    )
    command = (
        "predict",
        str(train_image_run("segmenter")),
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


@pytest.mark.slow
def test_test_rows_of_built_in_canvases_are_written_as_masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    overrides = ("model=unet", "model.widths=[4]", "data=digit_canvas", "data.rows=30", "max_steps=1", "draw=false")
    run = Path(train.run(compose.compose([*overrides, "threads=1"])).run_dir)
    rows = predict(run, tmp_path / "out")
    with Image.open(tmp_path / "out" / rows[3]["mask"]) as image:
        assert (rows[3]["mask"], image.mode, image.size) == ("masks/3.png", "P", (32, 32))
    accuracy = np.mean([float(row["pixel_accuracy"]) for row in rows])
    assert accuracy == pytest.approx(get_test_scores(run)["pixel_accuracy"])
