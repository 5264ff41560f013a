"""Fingerprints of data files: digests of contents and names, cheap or exact, and descriptions of changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.own_runs import copy_files, evaluate_scores, train_run
from trainer.config import compose
from trainer.engine import dataset_fingerprint
from trainer.engine.dataset_fingerprint import describe_changes
from trainer.runs import run_dir, train
from trainer.utils.errors import ConfigError, SystemFault


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a file that is read in blocks, with most bytes between them."""
    monkeypatch.setattr(dataset_fingerprint, "MAX_WHOLE_FILE_BYTES", 100)
    monkeypatch.setattr(dataset_fingerprint, "BLOCK_BYTES", 4)
    path = tmp_path / "large.csv"
    path.write_bytes(bytes(1000))
    return path


def change_between_blocks(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[30] = 1
    path.write_bytes(content)


def test_digest_is_independent_of_exact_mode(large: Path) -> None:
    """``resume=auto fingerprint=exact`` and the leaderboard compare digests of both modes."""
    cheap, exact = (dataset_fingerprint.compute_fingerprint({"path": large}, exact=mode) for mode in (False, True))
    assert cheap["digest"] == exact["digest"]
    assert len(exact["files"]["path"]) == len(cheap["files"]["path"]) + 1


def test_exact_fingerprint_detects_changes_between_blocks(large: Path) -> None:
    before = [dataset_fingerprint.compute_fingerprint({"path": large}, exact=mode) for mode in (False, True)]
    change_between_blocks(large)
    now = [dataset_fingerprint.compute_fingerprint({"path": large}, exact=mode) for mode in (False, True)]
    changes = [describe_changes(a, b, {"path": Path("large.csv")}) for a, b in zip(before, now, strict=True)]
    assert changes == [[], ["1 changed: large.csv"]]
    large.write_bytes(bytes(1001))
    assert describe_changes(before[0], dataset_fingerprint.compute_fingerprint({"path": large}), {}) == [
        "1 changed: path"
    ]


def test_many_files_are_reported_by_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_fingerprint, "MAX_LISTED_FILES", 3)
    for number in range(6):
        (tmp_path / "ab"[number % 2]).mkdir(exist_ok=True)
        (tmp_path / "ab"[number % 2] / f"{number}.txt").write_text("x")
    before = dataset_fingerprint.compute_fingerprint({"path": tmp_path})
    (tmp_path / "b" / "1.txt").rename(tmp_path / "b" / "7.txt")
    assert describe_changes(
        before, dataset_fingerprint.compute_fingerprint({"path": tmp_path}), {"path": Path("books")}
    ) == ["1 changed: books/b"]


def test_names_are_compared_and_times_are_not(tmp_path: Path) -> None:
    for name in ("x.txt", "y.txt", ".hidden"):
        (tmp_path / name).write_text(name)
    before = dataset_fingerprint.compute_fingerprint({"path": tmp_path})
    (tmp_path / "x.txt").write_text("x.txt")
    (tmp_path / ".hidden").write_text("other")
    assert dataset_fingerprint.compute_fingerprint({"path": tmp_path}) == before
    (tmp_path / "x.txt").rename(tmp_path / "z.txt")
    now = dataset_fingerprint.compute_fingerprint({"path": tmp_path})
    assert now["digest"] != before["digest"]
    assert describe_changes(before, now, {"path": Path("texts")}) == ["1 missing: texts/x.txt", "1 new: texts/z.txt"]


def write_files(folder: Path, *names: str) -> Path:
    """Write files that contain their names; return the folder."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def list_names(folder: Path) -> list[str]:
    return sorted(dataset_fingerprint.compute_fingerprint({"path": folder})["files"])


def test_links_to_folders_are_followed_without_cycles(tmp_path: Path) -> None:
    store = write_files(tmp_path / "store", "0.txt", "more/1.txt")
    data = write_files(tmp_path / "data", "b/2.txt")
    for name, target in (("a", store), ("c", store), ("up", tmp_path), ("b/self", data / "b"), ("b/top", data)):
        (data / name).symlink_to(target, target_is_directory=True)
    (store / "back").symlink_to(data / "b", target_is_directory=True)
    names = list_names(data)
    direct = ["path/a/0.txt", "path/a/more/1.txt", "path/b/2.txt", "path/c/0.txt", "path/c/more/1.txt"]
    assert {*direct, "path/a/back/2.txt", "path/up/store/0.txt"} <= {*names}
    assert not [name for name in names if "self" in name or "top" in name or name.startswith("path/up/data")]
    before = dataset_fingerprint.compute_fingerprint({"path": data})
    (store / "0.txt").write_text("noise")
    changes = describe_changes(before, dataset_fingerprint.compute_fingerprint({"path": data}), {"path": Path("pics")})
    assert changes[0].startswith("3 changed: pics/a/0.txt, pics/c/0.txt")


@pytest.mark.slow
def test_run_directories_are_not_listed(tmp_path: Path) -> None:
    """Data in the working folder would change with every run."""
    write_files(
        tmp_path, "x.txt", "outputs/y.txt", "outputs/own/z.txt", "src/__pycache__/w.txt", "src/__pycache__/w.pyc"
    )
    names = ["path/outputs/own/z.txt", "path/outputs/y.txt", "path/src/__pycache__/w.txt", "path/x.txt"]
    assert list_names(tmp_path) == names
    for number, file in enumerate(dataset_fingerprint.RUN_FILE_NAMES):
        write_files(tmp_path / "outputs", f"run{number}/{file}", f"run{number}/curves.png", f"sweep/job{number}/{file}")
    write_files(tmp_path / "outputs", "sweep/leaderboard.csv", "classifiers/0/last.pt", "today/begun/seed=0.out")
    write_files(
        tmp_path / "outputs" / "today", "run/.lock", "run/train.log", "sweep/leaderboard.csv", "sweep/job/last.pt"
    )
    (tmp_path / "outputs" / "today" / "claimed").mkdir()
    (tmp_path / "outputs" / "latest").symlink_to("run0", target_is_directory=True)
    assert list_names(tmp_path) == names
    assert "path/run0/curves.png" in list_names(tmp_path / "outputs"), (
        "a run directory that is itself the path is listed"
    )


def test_run_file_names_equal_those_of_run_dir() -> None:
    assert dataset_fingerprint.RUNS_DIR_NAME == run_dir.RUNS_ROOT
    assert set(dataset_fingerprint.RUN_FILE_NAMES) == {run_dir.LOCK_FILE, *run_dir.IDENTIFYING_FILES}
    assert dataset_fingerprint.JOB_SUFFIX == run_dir.JOB_OUTPUT_SUFFIX


def test_fingerprints_above_and_below_the_file_limit_are_comparable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset_fingerprint, "MAX_LISTED_FILES", 4)
    few, many = (
        dataset_fingerprint.compute_fingerprint(
            {"path": write_files(tmp_path / str(count), *(f"{'ab'[n % 2]}/{n}" for n in range(count)))}
        )
        for count in (4, 5)
    )
    assert [len(each["files"]) for each in (few, many)] == [4, 2]
    for before, now in ((few, many), (many, few)):
        assert describe_changes(before, now, {"path": Path("pics")}) == ["1 changed: pics/a"]


def test_a_changed_file_is_reported_by_path_among_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_fingerprint, "MAX_LISTED_FILES", 1)
    paths = {
        "path": write_files(tmp_path / "tables", "a", "b"),
        "graph": write_files(tmp_path, "graph.csv") / "graph.csv",
    }
    before = dataset_fingerprint.compute_fingerprint(paths)
    paths["graph"].write_text("other")
    assert describe_changes(before, dataset_fingerprint.compute_fingerprint(paths), paths) == [
        f"1 changed: {paths['graph']}"
    ]


def test_a_fingerprint_of_another_version_is_not_compared(tmp_path: Path) -> None:
    now = dataset_fingerprint.compute_fingerprint({"path": write_files(tmp_path, "x.txt")})
    with pytest.raises(ConfigError, match="has version 2 and cannot be compared: this version of train compares ver"):
        describe_changes(now | {"version": 2}, now, {"path": tmp_path})


def test_a_fingerprint_without_files_never_matches(tmp_path: Path) -> None:
    empty = dataset_fingerprint.compute_fingerprint({"path": write_files(tmp_path, "x.csv")}, [".txt"])
    assert describe_changes(empty, empty, {"path": tmp_path}) == [
        "the fingerprint of the run has no files: changes cannot be detected"
    ]
    with pytest.raises(SystemFault, match=f"none of the files that were read below {tmp_path} could be listed"):
        dataset_fingerprint.check_not_empty(empty, {"path": tmp_path})


@pytest.mark.usefixtures("in_tmp")
def test_run_without_fingerprinted_files_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.engine.dataset_fingerprint._walk_dirs", lambda _: [])
    with pytest.raises(SystemFault, match="none of the files that were read"):
        train_run("text_folder")


def test_digests_match_earlier_versions(tmp_path: Path) -> None:
    """Saved runs are identified by them."""
    folder = write_files(
        tmp_path, "train/a/0.txt", "train/b/1.txt", "test/a/2.TXT", "train/a/more/3.txt", "notes", ".h/4.txt"
    )
    assert (
        dataset_fingerprint.compute_fingerprint({"path": folder}, [".txt"])["digest"]
        == "2d6e73a1e2a667cc51b31b1db96e7f81"
    )


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.slow
def test_changed_images_behind_links_are_detected() -> None:
    copy_files("image_folder")
    Path("files", "kinds").rename("store")
    Path("files", "kinds").mkdir()
    for kind in ("dark", "light"):
        Path("files", "kinds", kind).symlink_to(Path("store", kind).absolute(), target_is_directory=True)
    overrides = ["model=mlp", "data=image_folder", "data.path=files/kinds", "max_steps=1", "draw=false"]
    path = Path(train.run(compose.compose(overrides)).run_dir)
    evaluate_scores(path)
    for file in Path("store").rglob("*.png"):
        file.write_bytes(next(Path("store", "light").iterdir()).read_bytes())
    with pytest.raises(ConfigError, match=r"39 changed: .*files/kinds/dark/0\.png"):
        evaluate_scores(path)


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.slow
def test_digest_of_the_working_folder_ignores_runs() -> None:
    for file in Path(copy_files("idx")["path"]).iterdir():
        file.rename(file.name)
    overrides = ["model=mlp", "data=idx", "data.path=.", "max_steps=1"]
    first, second = (train.run(compose.compose([*overrides, f"seed={seed}"])) for seed in (0, 1))
    assert first.data_digest == second.data_digest
    assert evaluate_scores(Path(first.run_dir)) == first.test
