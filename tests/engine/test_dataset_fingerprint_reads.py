"""Every file that a data set reads is in its fingerprint, independent of links and names."""

from __future__ import annotations

import gzip
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.marks import mark_slow_after
from tests.helpers.own_runs import MODELS, USER_FILES, copy_files
from trainer.config import compose
from trainer.config.run_config import Config
from trainer.engine import dataset_fingerprint, dataset_loading, factory

pytestmark = pytest.mark.usefixtures("in_tmp")
open_records: list[set[Path]] = []
"""The set that collects opened files, if any: an audit hook cannot be removed."""


def record_open(event: str, arguments: tuple[object, ...]) -> None:
    if open_records and event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        open_records[-1].add(Path(os.path.realpath(os.fsdecode(arguments[0]))))


@pytest.fixture(scope="module", autouse=True)
def install_audit_hook() -> None:
    sys.addaudithook(record_open)


def compose_dataset(name: str, /, **keys: str) -> Config:
    overrides = [f"data.{key}={value}" for key, value in keys.items()]
    return compose.compose([f"model={MODELS[name]}", f"data={name}", *overrides, "max_steps=3"])


def read_files(config: Config) -> set[Path]:
    """Return the files below the working folder that are opened to read every row."""
    found: set[Path] = set()
    open_records.append(found)
    try:
        data = dataset_loading.load_dataset(config)
        for split in (data.train, data.val, data.test):
            split.batch(torch.arange(len(split)), 0)
    finally:
        open_records.remove(found)
    return {path for path in found if path.is_relative_to(Path.cwd().resolve())}


def listed_files(config: Config) -> set[Path]:
    """Return the files of the fingerprint, all of which must exist."""
    assert config.fingerprint is not None
    paths = dataset_loading.find_user_paths(factory.find_dataset_class(config.tree), config.tree["data"])
    found = {Path(dataset_fingerprint._resolve_path(name, paths)).resolve() for name in config.fingerprint["files"]}
    assert all(path.is_file() for path in found)
    return found


def check_files_are_listed(config: Config) -> set[Path]:
    # Without its time: files as new as these would be read again for the fingerprint.
    config = replace(dataset_loading.add_fingerprint(config), fingerprint_time=0.0)
    read, listed = read_files(config), listed_files(config)
    assert read
    assert read <= listed, f"read and not in the fingerprint: {sorted(map(str, read - listed))}"
    return read


@pytest.mark.parametrize("name", USER_FILES)
def test_files_that_are_read_are_in_the_fingerprint(name: str) -> None:
    check_files_are_listed(compose_dataset(name, **copy_files(name)))


def find_leaf_folders() -> list[Path]:
    """Return the innermost folders, which are those of the classes."""
    every = [path for path in Path("files").rglob("*") if path.is_dir()]
    return [path for path in every if not any(inside.is_dir() for inside in path.iterdir())]


def link_folders() -> None:
    Path("store").mkdir()
    for number, path in enumerate(find_leaf_folders()):
        path.rename(f"store/{number}")
        path.symlink_to(Path(f"store/{number}").absolute(), target_is_directory=True)


def link_files() -> None:
    Path("store").mkdir()
    for number, path in enumerate(sorted(path for path in Path("files").rglob("*") if path.is_file())):
        path.rename(f"store/{number}")
        path.symlink_to(Path(f"store/{number}").absolute())


def rename_class_to(name: str) -> Callable[[], None]:
    def rename() -> None:
        path = min(find_leaf_folders())
        path.rename(path.with_name(name))

    return rename


def uppercase_suffixes() -> None:
    for path in [path for path in Path("files").rglob("*") if path.is_file()]:
        path.rename(path.with_suffix(path.suffix.upper()))


def add_clutter() -> None:
    """Add hidden files, folders inside the classes, and links to the parent."""
    for path in find_leaf_folders():
        first = min(path.iterdir())
        (path / "more").mkdir()
        shutil.copy(first, path / "more" / first.name)
        shutil.copy(first, path / f".{first.name}")
        (path / "up").symlink_to(path.parent.absolute(), target_is_directory=True)


CLASSES = ("text_folder", "image_folder", "parcel_series")
CHANGES: dict[str, tuple[Callable[[], None], tuple[str, ...]]] = {
    "linked folders": (link_folders, (*CLASSES, "image_masks")),
    "linked files": (link_files, tuple(USER_FILES)),
    "class named outputs": (rename_class_to("outputs"), CLASSES),
    "class named __pycache__": (rename_class_to("__pycache__"), CLASSES),
    "uppercase suffixes": (uppercase_suffixes, (*CLASSES, "image_masks")),
    "clutter": (add_clutter, (*CLASSES, "image_masks")),
}


@pytest.mark.parametrize(
    ("kind", "name"), mark_slow_after(12, [(kind, name) for kind, (_, names) in CHANGES.items() for name in names])
)
def test_links_and_names_do_not_hide_files(kind: str, name: str) -> None:
    keys = copy_files(name)
    count = len(read_files(compose_dataset(name, **keys)))
    CHANGES[kind][0]()
    assert len(check_files_are_listed(compose_dataset(name, **keys))) == count


@pytest.mark.parametrize("name", CLASSES)
def test_linked_folders_of_splits_are_listed(name: str) -> None:
    whole = Path(copy_files(name)["path"])
    Path("parts").mkdir()
    for part in ("train", "val", "test"):
        Path("parts", part).symlink_to(whole.absolute(), target_is_directory=True)
    check_files_are_listed(compose_dataset(name, path="parts"))


@pytest.mark.parametrize("ending", [".jfif", ".webp", ".tif", ".ppm"])
def test_images_of_any_format_are_listed(ending: str) -> None:
    keys = copy_files("image_folder")
    for path in list(Path("files").rglob("*.png")):
        with Image.open(path) as image:
            image.save(path.with_suffix(ending), "JPEG" if ending == ".jfif" else None)
        path.unlink()
    assert len(check_files_are_listed(compose_dataset("image_folder", **keys))) == 40


def test_gzip_files_are_listed() -> None:
    keys = copy_files("idx")
    for path in list(Path(keys["path"]).iterdir()):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert len(check_files_are_listed(compose_dataset("idx", **keys))) == 4


def test_files_of_additional_keys_are_listed() -> None:
    keys = copy_files("csv")
    shutil.copy(keys["path"], "test.csv")
    assert len(check_files_are_listed(compose_dataset("csv", **keys, test_path="test.csv"))) == 2
    keys = copy_files("edge_list_graphs")
    nodes = [line.split(",") for line in Path(keys["path"], "nodes.csv").read_text().splitlines()]
    graphs = {row[1]: row[4] for row in nodes}
    Path(keys["path"], "graphs.csv").write_text("\n".join(f"{graph},{label}" for graph, label in graphs.items()))
    Path(keys["path"], "nodes.csv").write_text("\n".join(",".join(row[:4]) for row in nodes))
    assert len(check_files_are_listed(compose_dataset("edge_list_graphs", **keys))) == 3
    keys = copy_files("parcel_series")
    np.save("graph.npy", np.ones((5, 5)))
    assert len(check_files_are_listed(compose_dataset("parcel_series", **keys, graph="graph.npy"))) == 25


@pytest.mark.parametrize("ending", [".txt", ".csv", ".TSV", ".dat", ""])
@pytest.mark.parametrize("place", ["", ".hidden/", "outputs/run/", "linked/"])
def test_tables_named_in_labels_csv_are_listed(ending: str, place: str) -> None:
    draw = np.random.default_rng(0)
    Path("tables", "outputs", "run").mkdir(parents=True)
    Path("tables", ".hidden").mkdir()
    Path("tables", "outputs", "run", "results.json").touch()
    Path("store").mkdir()
    Path("tables", "linked").symlink_to(Path("store").absolute(), target_is_directory=True)
    rows = ["file,label"]
    for number in range(20):
        name = f"{place}r{number}{ending}"
        np.savetxt(Path("tables", name), draw.normal(size=(6, 5)), delimiter="\t" if ending == ".TSV" else ",")
        rows.append(f"{name if number else Path('tables', name).absolute()},{'calm' if number % 2 else 'wild'}")
    Path("tables", "labels.csv").write_text("\n".join(rows))
    assert len(check_files_are_listed(compose_dataset("parcel_series", path="tables"))) == 21
