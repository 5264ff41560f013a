"""Every file that a data set reads is in its fingerprint, wherever below its paths it lies, whatever its name."""

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

from tests.helpers.own_runs import GIVEN, MODELS, copy_files
from trainer.config import compose
from trainer.config.compose import Config
from trainer.engine import dataset_fingerprint, dataset_loading, factory

pytestmark = pytest.mark.usefixtures("in_tmp")
opened: list[set[Path]] = []
"""Where to note what is opened, if anywhere: a hook of the interpreter cannot be taken off again."""


def note(event: str, arguments: tuple[object, ...]) -> None:
    if opened and event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        opened[-1].add(Path(os.path.realpath(os.fsdecode(arguments[0]))))


@pytest.fixture(scope="module", autouse=True)
def hook() -> None:
    sys.addaudithook(note)


def composed(name: str, /, **keys: str) -> Config:
    given = [f"data.{key}={value}" for key, value in keys.items()]
    return compose.compose([f"model={MODELS[name]}", f"data={name}", *given, "max_steps=3"])


def read_files(given: Config) -> set[Path]:
    """The files below the working folder that are opened until every row was seen."""
    found: set[Path] = set()
    opened.append(found)
    try:
        data = dataset_loading.load_dataset(given)
        for split in (data.train, data.val, data.test):
            split.batch(torch.arange(len(split)), 0)
    finally:
        opened.remove(found)
    return {path for path in found if path.is_relative_to(Path.cwd().resolve())}


def listed_files(given: Config) -> set[Path]:
    """Those of the fingerprint, each of which exists."""
    assert given.fingerprint is not None
    own = dataset_loading.find_user_paths(factory.find_dataset_class(given.tree), given.tree["data"])
    found = {Path(dataset_fingerprint._resolve_path(name, own)).resolve() for name in given.fingerprint["files"]}
    assert all(path.is_file() for path in found)
    return found


def refuse_unlisted(given: Config) -> set[Path]:
    # Without its time: files as new as these are read a second time, for their fingerprint.
    given = replace(dataset_loading.add_fingerprint(given), fingerprint_time=0.0)
    read, listed = read_files(given), listed_files(given)
    assert read
    assert read <= listed, f"read and not in the fingerprint: {sorted(map(str, read - listed))}"
    return read


@pytest.mark.parametrize("name", GIVEN)
def test_files_that_are_read_are_in_the_fingerprint(name: str) -> None:
    refuse_unlisted(composed(name, **copy_files(name)))


def leaf_folders() -> list[Path]:
    """Folders of files, of which a data set may have one for each class."""
    every = [path for path in Path("files").rglob("*") if path.is_dir()]
    return [path for path in every if not any(inside.is_dir() for inside in path.iterdir())]


def link_folders() -> None:
    Path("store").mkdir()
    for number, path in enumerate(leaf_folders()):
        path.rename(f"store/{number}")
        path.symlink_to(Path(f"store/{number}").absolute(), target_is_directory=True)


def link_files() -> None:
    Path("store").mkdir()
    for number, path in enumerate(sorted(path for path in Path("files").rglob("*") if path.is_file())):
        path.rename(f"store/{number}")
        path.symlink_to(Path(f"store/{number}").absolute())


def call_a_class(word: str) -> Callable[[], None]:
    def rename() -> None:
        path = min(leaf_folders())
        path.rename(path.with_name(word))

    return rename


def raise_letters() -> None:
    for path in [path for path in Path("files").rglob("*") if path.is_file()]:
        path.rename(path.with_suffix(path.suffix.upper()))


def add_clutter() -> None:
    """Hidden files, folders inside of those of classes, and a link back up."""
    for path in leaf_folders():
        first = min(path.iterdir())
        (path / "more").mkdir()
        shutil.copy(first, path / "more" / first.name)
        shutil.copy(first, path / f".{first.name}")
        (path / "up").symlink_to(path.parent.absolute(), target_is_directory=True)


CLASSES = ("text_folder", "image_folder", "parcel_series")
NEW: dict[str, tuple[Callable[[], None], tuple[str, ...]]] = {
    "linked folders": (link_folders, (*CLASSES, "image_masks")),
    "linked files": (link_files, tuple(GIVEN)),
    "a class of runs": (call_a_class("outputs"), CLASSES),
    "a class of bytecode": (call_a_class("__pycache__"), CLASSES),
    "large letters": (raise_letters, (*CLASSES, "image_masks")),
    "clutter": (add_clutter, (*CLASSES, "image_masks")),
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, (_, names) in NEW.items() for name in names])
def test_no_folder_name_or_link_hides_what_is_read(kind: str, name: str) -> None:
    keys = copy_files(name)
    count = len(read_files(composed(name, **keys)))
    NEW[kind][0]()
    assert len(refuse_unlisted(composed(name, **keys))) == count


@pytest.mark.parametrize("name", CLASSES)
def test_folders_of_splits_may_be_links(name: str) -> None:
    whole = Path(copy_files(name)["path"])
    Path("parts").mkdir()
    for part in ("train", "val", "test"):
        Path("parts", part).symlink_to(whole.absolute(), target_is_directory=True)
    refuse_unlisted(composed(name, path="parts"))


@pytest.mark.parametrize("ending", [".jfif", ".webp", ".tif", ".ppm"])
def test_images_of_any_format(ending: str) -> None:
    keys = copy_files("image_folder")
    for path in list(Path("files").rglob("*.png")):
        with Image.open(path) as image:
            image.save(path.with_suffix(ending), "JPEG" if ending == ".jfif" else None)
        path.unlink()
    assert len(refuse_unlisted(composed("image_folder", **keys))) == 40


def test_packed_files() -> None:
    keys = copy_files("idx")
    for path in list(Path(keys["path"]).iterdir()):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert len(refuse_unlisted(composed("idx", **keys))) == 4


def test_extra_files_next_to_the_path() -> None:
    keys = copy_files("csv")
    shutil.copy(keys["path"], "test.csv")
    assert len(refuse_unlisted(composed("csv", **keys, test_path="test.csv"))) == 2
    keys = copy_files("edge_list_graphs")
    nodes = [line.split(",") for line in Path(keys["path"], "nodes.csv").read_text().splitlines()]
    graphs = {row[1]: row[4] for row in nodes}
    Path(keys["path"], "graphs.csv").write_text("\n".join(f"{graph},{label}" for graph, label in graphs.items()))
    Path(keys["path"], "nodes.csv").write_text("\n".join(",".join(row[:4]) for row in nodes))
    assert len(refuse_unlisted(composed("edge_list_graphs", **keys))) == 3
    keys = copy_files("parcel_series")
    np.save("graph.npy", np.ones((5, 5)))
    assert len(refuse_unlisted(composed("parcel_series", **keys, graph="graph.npy"))) == 25


@pytest.mark.parametrize("ending", [".txt", ".csv", ".TSV", ".dat", ""])
@pytest.mark.parametrize("place", ["", ".hidden/", "outputs/run/", "linked/"])
def test_tables_that_labels_list(ending: str, place: str) -> None:
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
    assert len(refuse_unlisted(composed("parcel_series", path="tables"))) == 21
