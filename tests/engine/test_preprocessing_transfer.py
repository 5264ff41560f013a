"""Values of another run that encode new data, value by value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers import image_folders, series_files, small_tables
from trainer.core.dataset import Dataset
from trainer.core.preprocessing import Preprocessing
from trainer.data.datasets.graph.clicks import ClickFile
from trainer.data.datasets.image.image_folder import ImageFolder
from trainer.data.datasets.series.csv_series import CSVSeries
from trainer.data.datasets.tabular.csv_table import CSV
from trainer.data.datasets.text.documents import TextFolder
from trainer.engine import dataset_state, preprocessing_transfer
from trainer.engine.weight_source import WeightSource


def source_of(data: Dataset, **options: Any) -> WeightSource:
    kind = type(data)
    target = f"{kind.__module__}.{kind.__qualname__}"
    return WeightSource(Path("run"), "", {}, {"_target_": target, **options}, dataset_state.make_dataset_state(data))


def reuse(source: WeightSource, kind: type[Dataset], **options: Any) -> Preprocessing:
    target = f"{kind.__module__}.{kind.__qualname__}"
    return preprocessing_transfer.make_preprocessing(kind, {"_target_": target, **options}, source)


def write_people(folder: Path, name: str, scale: float, classes: str) -> Path:
    lines = ["size,color,y", *(f"{n * scale},{('red', 'green')[n % 2]},{classes[n % len(classes)]}" for n in range(40))]
    return small_tables.write(folder, lines, name)


def test_columns_of_a_table_are_encoded_as_in_the_source_and_classes_are_read_anew(tmp_path: Path) -> None:
    first = small_tables.load(write_people(tmp_path, "a.csv", 1, "no"))
    fitted = reuse(source_of(first), CSV)
    second = small_tables.load(write_people(tmp_path, "b.csv", 3, "abc"), fitted=fitted)
    saved, current = first.schema["columns"], second.schema["columns"]
    assert current == saved
    assert second.info.class_names == ["a", "b", "c"]
    sizes = {row[0] for row in second.train.inputs["x"].tolist()}
    expected = {float(np.float32((3 * n - saved[0]["mean"]) / saved[0]["std"])) for n in range(40)}
    assert sizes <= expected
    assert (fitted.reused, fitted.rejections) == (["schema"], {})
    assert first.fitted is not None
    assert len(set(fitted.values["split"]["train"].tolist()) & set(first.fitted.values["split"]["train"].tolist())) < 3


def test_columns_in_another_order_are_found_by_name(tmp_path: Path) -> None:
    first = small_tables.load(write_people(tmp_path, "a.csv", 1, "no"))
    text = (tmp_path / "a.csv").read_text().splitlines()
    moved = [",".join([row.split(",")[k] for k in (2, 1, 0)]) for row in text]
    second = small_tables.load(small_tables.write(tmp_path, moved, "b.csv"), fitted=reuse(source_of(first), CSV))
    assert torch.equal(second.train.inputs["x"], first.train.inputs["x"])
    assert [column["index"] for column in second.schema["columns"]] == [2, 1]
    # A saved run of the second table reads new rows by its own positions.
    stored = Preprocessing(second.fitted.values if second.fitted else None)
    again = small_tables.load(tmp_path / "b.csv", fitted=stored)
    assert torch.equal(again.train.inputs["x"], first.train.inputs["x"])


def test_other_columns_and_options_are_fitted_anew(tmp_path: Path) -> None:
    first = small_tables.load(write_people(tmp_path, "a.csv", 1, "no"))
    lines = (tmp_path / "a.csv").read_text().replace("size", "width").splitlines()
    fitted = reuse(source_of(first, max_categories=50), CSV, max_categories=50)
    small_tables.load(small_tables.write(tmp_path, lines, "b.csv"), fitted=fitted)
    assert preprocessing_transfer.describe_preprocessing(fitted) == [
        "preprocessing fitted anew: split, schema (missing columns: size; new columns: width)"
    ]
    other_option = reuse(source_of(first, max_categories=50), CSV, max_categories=3)
    assert (other_option.reusable, other_option.rejections) == ({}, {"schema": "other data.max_categories"})


def test_a_number_target_keeps_its_units(tmp_path: Path) -> None:
    def load(name: str, scale: float, **options: Any) -> CSV:
        lines = ["a,y", *(f"{n % 5},{scale * (n % 9)}" for n in range(40))]
        return small_tables.load(small_tables.write(tmp_path, lines, name), task_target="number", **options)

    first = load("a.csv", 1)
    second = load("b.csv", 10, fitted=reuse(source_of(first), CSV))
    assert second.info.target == first.info.target
    assert float(second.train.require_target().max()) > 10 * float(first.train.require_target().max())


def test_channels_of_a_series_keep_their_scale_and_order(tmp_path: Path) -> None:
    lines = series_files.hourly_lines()
    first = series_files.load_series(series_files.write_lines(tmp_path, lines), time="when")
    moved = [",".join([row.split(",")[k] for k in (0, 2, 1)]) for row in lines[:81]]
    fitted = reuse(source_of(first), CSVSeries)
    second = series_files.load_series(series_files.write_lines(tmp_path, moved), time="when", fitted=fitted)
    assert second.info.target.channel_moments == first.info.target.channel_moments
    rows = torch.arange(5)
    assert torch.equal(second.train.batch(rows, 0).inputs["x"], first.train.batch(rows, 0).inputs["x"])
    assert fitted.reused == ["columns", "scale"]
    assert first.fitted is not None
    assert fitted.values["ends"] != first.fitted.values["ends"]
    other = reuse(source_of(first), CSVSeries)
    series_files.load_series(tmp_path / "s.csv", time="when", columns=["a"], fitted=other)
    assert other.rejections == dict.fromkeys(("columns", "scale"), "columns a instead of a, b")


def test_documents_are_encoded_by_the_vocabulary_of_the_source(tmp_path: Path) -> None:
    def write(name: str, words: tuple[str, str]) -> Path:
        for word in words:
            (tmp_path / name / word).mkdir(parents=True)
            for number in range(10):
                (tmp_path / name / word / f"{number}.txt").write_text(f"{word} {word} the")
        return tmp_path / name

    first = TextFolder(str(write("a", ("cat", "dog"))))
    source = source_of(first, min_count=2)
    folder = write("b", ("cow", "dog"))
    fitted = reuse(source, TextFolder, min_count=2)
    second = TextFolder(str(folder), fitted=fitted)
    assert second.info.sizes["vocab_size"] == first.info.sizes["vocab_size"]
    assert fitted.values["tokenizer"] == (first.fitted and first.fitted.values["tokenizer"])
    assert fitted.values["classes"] == ["cow", "dog"]
    assert preprocessing_transfer.find_changed_sizes(source, second) == dict.fromkeys(
        ("num_classes", "out_features"), "other classes: cow, dog instead of cat, dog"
    )
    # Another vocabulary of the same size: an embedding would mean other words.
    third = TextFolder(str(folder), fitted=reuse(source, TextFolder, min_count=1))
    assert third.info.sizes["vocab_size"] == first.info.sizes["vocab_size"]
    assert preprocessing_transfer.find_changed_sizes(source, third)["vocab_size"] == "other tokenizer"


def test_images_are_normalized_as_in_the_source(tmp_path: Path) -> None:
    first = image_folders.read(image_folders.write(tmp_path / "a"))
    fitted = reuse(source_of(first, size=8), ImageFolder, size=8)
    second = image_folders.read(image_folders.write(tmp_path / "b", kinds=("u", "v"), start=3), fitted=fitted)
    assert second.info.image == first.info.image
    assert second.info.class_names == ["u", "v"]
    assert fitted.reused == ["view", "scale"]
    larger = reuse(source_of(first, size=8), ImageFolder, size=16)
    assert larger.rejections == dict.fromkeys(("view", "scale"), "other data.size")


def test_known_users_keep_their_embedding_and_new_ones_change_it(tmp_path: Path) -> None:
    def load(pairs: list[tuple[int, int]], fitted: Preprocessing | None = None) -> ClickFile:
        path = tmp_path / "clicks.csv"
        path.write_text("\n".join(["user,item", *(f"u{user},i{item}" for user, item in pairs)]) + "\n")
        return ClickFile(str(path), fitted=fitted)

    pairs = [(user, item) for user in range(6) for item in range(12) if (user + item) % 4 == 0]
    first = load(pairs)
    source, fitted = source_of(first), reuse(source_of(first), ClickFile)
    load(pairs[::-1], fitted)
    assert first.fitted is not None
    assert fitted.values["users"] == first.fitted.values["users"]
    shifted = reuse(source, ClickFile)
    data = load([(user + 1, item) for user, item in pairs], shifted)
    assert shifted.rejections == {"users": "new: u6"}
    assert preprocessing_transfer.find_changed_sizes(source, data) == {"num_users": "other users"}


def test_another_class_of_data_reuses_nothing(tmp_path: Path) -> None:
    first = small_tables.load(write_people(tmp_path, "a.csv", 1, "no"))
    assert reuse(source_of(first), CSVSeries).reusable == {}
    file_only = WeightSource(Path("w.safetensors"), "file", {})
    assert reuse(file_only, CSV).reusable == {}
    assert preprocessing_transfer.find_changed_sizes(file_only, first) == {}


@pytest.mark.parametrize(("names", "expected"), [([], {}), (["no", "o"], None)])
def test_classes_without_names_are_taken_for_the_same(
    names: list[str], expected: dict[str, str] | None, tmp_path: Path
) -> None:
    data = small_tables.load(write_people(tmp_path, "a.csv", 1, "no"))
    source = source_of(data)
    source.data_state["dataset_info"]["class_names"] = names
    changed = preprocessing_transfer.find_changed_sizes(source, data)
    assert changed == expected if expected is not None else set(changed) == {"num_classes", "out_features"}


def test_values_with_former_names_are_reused() -> None:
    source = WeightSource(Path("run"), "", {}, {"_target_": "x"}, {"fitted": {"codec": 1, "split": 2}})
    fitted = preprocessing_transfer.make_preprocessing(TextFolder, {"_target_": "x"}, source)
    assert fitted.reusable == {"tokenizer": 1}
