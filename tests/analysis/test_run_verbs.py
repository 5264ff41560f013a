"""The commands ``list runs``, ``tag``, ``rm`` and ``diff`` on real run directories."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.in_process import call_main, run
from trainer.analysis import list_runs, remove_runs, tags
from trainer.analysis.run_record import find_records, read_record
from trainer.cli import main, rm
from trainer.runs import finished_runs, matching_run, run_finder
from trainer.utils.errors import ConfigError
from trainer.utils.text import escape_control_chars


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs: two finished ones, and one that failed."""
    folder = tmp_path_factory.mktemp("runs")
    before = Path.cwd()
    os.chdir(folder)
    try:
        run("hydra.run.dir=outputs/day/first")
        run("hydra.run.dir=outputs/day/second", "optimizer.lr=0.1", "model.hidden=[4,3]", "seed=1")
        shutil.copytree("outputs/day/first", "outputs/day/third")
    finally:
        os.chdir(before)
    change_results(folder / "outputs/day/third", status="running", test={}, run_dir="outputs/day/third")
    return folder


@pytest.fixture
def runs(stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(stored / "outputs", tmp_path / "outputs", symlinks=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "outputs/day"


def change_results(path: Path, **changes: Any) -> None:
    file = path / "results.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def names(where: str | None = None, sort: str | None = None) -> list[str]:
    records = find_records(Path("outputs"))
    return [record.path.name for record in list_runs.select_runs(records, where, sort)]


def test_runs_are_listed_the_newest_first_whatever_became_of_them(runs: Path) -> None:
    (runs / "broken").mkdir()
    (runs / "broken/results.json").write_text("{")
    (runs / "foreign").mkdir()
    (runs / "foreign/results.json").write_text('{"status": "finished"}')
    log = runs / "second/train.log"
    log.write_text("2030-01-01 00:00:00,000 INFO x\n" + log.read_text())
    assert names()[0] == "second"
    assert sorted(names()) == ["first", "second", "third"]
    assert {record.path.name: record.status for record in find_records(runs)}["third"] == "killed"


def test_a_locked_run_is_running(runs: Path) -> None:
    with open(runs / "third/.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert read_record(runs / "third").status == "running"


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("optimizer.lr=0.1", ["second"]),
        ("model=mlp and not status=finished", ["third"]),
        ("seed=0 and status=finished", ["first"]),
        ("model.hidden=[4,3] or tag=good", ["second"]),
        ("test.accuracy>=0", ["first", "second"]),
        ("tag=good", []),
        ("run~sec", ["second"]),
        ("date<2000-01-01", []),
    ],
)
@pytest.mark.usefixtures("runs")
def test_conditions_select_by_options_keys_scores_and_status(where: str, expected: list[str]) -> None:
    assert sorted(names(where)) == expected


@pytest.mark.usefixtures("runs")
def test_an_unknown_key_is_refused_with_the_nearest_ones() -> None:
    with pytest.raises(ConfigError, match=r"lr: no run has this key; did you mean optimizer\.lr"):
        names("lr=0.1")
    with pytest.raises(ConfigError, match=r"acuracy: no run has this key; did you mean accuracy"):
        names(sort="acuracy")


def test_scores_are_sorted_from_the_best_and_runs_without_come_last(runs: Path) -> None:
    for name, accuracy in (("first", 0.5), ("second", 0.75)):
        change_results(runs / name, test={"accuracy": accuracy, "nll": 1.0 - accuracy})
    assert names(sort="test.accuracy") == ["second", "first", "third"]
    assert names(sort="test.nll") == ["second", "first", "third"]
    assert names(sort="-test.nll") == ["first", "second", "third"]
    assert names(sort="run") == ["first", "second", "third"]


def test_a_file_has_every_result(runs: Path) -> None:
    assert main.run_command(["list", "runs", "where=seed=1", "output=runs.csv"]) == 0
    with open("runs.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["run"] == "outputs/day/second"
    assert float(row["test.accuracy"]) == read_record(runs / "second").results["test"]["accuracy"]
    main.run_command(["list", "runs", "outputs", "output=runs.json"])
    assert {row["seed"] for row in json.loads(Path("runs.json").read_text())} == {0, 1}


def test_off_a_terminal_each_run_is_a_line_with_tabs(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "odd [bold]\x1b[1m"
    shutil.copytree(runs / "first", runs / name)
    main.run_command(["list", "runs"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert all(line.count("\t") == 6 for line in lines)
    assert any(escape_control_chars(name) in line for line in lines)


def test_a_run_of_one_step_of_everything_is_marked_and_not_judged(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change_results(runs / "first", debug="fast")
    main.run_command(["list", "runs", "where=status=finished"])
    lines = capsys.readouterr().out.splitlines()
    assert sorted(line.split("\t")[1] for line in lines[1:]) == ["finished", "finished (debug=fast)"]
    assert names("debug=fast") == ["first"]
    assert names("status=finished and not debug=fast") == ["second"]
    main.run_command(["why", str(runs / "first")])
    text = capsys.readouterr().out
    assert "debug=fast: one step of everything says nothing" in text
    assert "nothing unusual" not in text


def test_tags_are_added_removed_and_found(runs: Path) -> None:
    results = (runs / "first/results.json").read_bytes()
    main.run_command(["tag", str(runs / "first"), "good", "paper"])
    main.run_command(["tag", str(runs / "first"), "remove=paper"])
    assert names("tag=good") == ["first"]
    assert names("tag=paper") == []
    assert (runs / "first/results.json").read_bytes() == results
    (runs / "first/tags.json").write_text("{]")
    assert tags.read_tags(runs / "first") == []


@pytest.mark.parametrize("words", [["a b"], ["x" * 41], ["remove=none"], ["[red]"], ["\x1b"]])
def test_what_is_not_a_tag_is_refused(runs: Path, words: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"tag|remove"):
        main.run_command(["tag", str(runs / "first"), *words])
    assert not (runs / "first/tags.json").exists()


def test_rm_asks_and_off_a_terminal_refuses_with_the_remedy(
    runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, message = call_main(capsys, monkeypatch, "rm", str(runs / "first"))
    assert (code, (runs / "first").exists()) == (2, True)
    assert "nobody can be asked here; yes=true removes 1 run, " in message
    assert message.rstrip().endswith(f"\n       {runs / 'first'}"), "what would be removed"
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    for answer, remains in (("", True), ("no", True), ("y", False)):
        monkeypatch.setattr("builtins.input", lambda _, answer=answer: answer)
        assert rm.remove_runs([str(runs / "first")]) == 0
        assert (runs / "first").exists() == remains


@pytest.mark.parametrize(
    "name", ["outputs", "outputs/day", "outputs/day/first/best.pt", "missing", ".", "outputs/day/x"]
)
def test_rm_removes_nothing_if_one_is_not_a_run(runs: Path, name: str) -> None:
    (runs / "x").mkdir()
    (runs / "x/results.json").write_text('{"mine": 1}')
    with pytest.raises(ConfigError, match="nothing is removed"):
        main.run_command(["rm", str(runs / "first"), name, "yes=true"])
    assert (runs / "first/best.pt").exists()


def test_rm_keeps_a_run_that_is_running_contains_another_or_the_working_directory(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open(runs / "third/.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match=r"third"):
            main.run_command(["rm", str(runs / "first"), str(runs / "third"), "yes=true"])
    shutil.copytree(runs / "first", runs / "second/inner")
    with pytest.raises(ConfigError, match="contains another run"):
        main.run_command(["rm", str(runs / "second"), "yes=true"])
    monkeypatch.chdir(runs / "first")
    with pytest.raises(ConfigError, match="working directory"):
        main.run_command(["rm", ".", "yes=true"])
    assert all((runs / name / "results.json").exists() for name in ("first", "second", "third"))


def test_rm_follows_a_link_to_a_run_but_no_link_inside(runs: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    (runs / "first/link").symlink_to(precious)
    latest = tmp_path / "outputs/latest"
    latest.unlink(missing_ok=True)
    latest.symlink_to("day/first")
    main.run_command(["rm", "outputs/latest", str(runs / "first"), "yes=true"])
    assert not (runs / "first").exists()
    assert not latest.is_symlink()
    assert (precious / "file").exists()
    main.run_command(["rm", str(runs / "second"), str(runs / "third"), "yes=true"])
    assert not runs.exists()
    assert (tmp_path / "outputs").exists()


def test_an_interrupted_removal_leaves_no_half_of_a_run(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(remove_runs.shutil, "rmtree", interrupt)
    with pytest.raises(KeyboardInterrupt):
        remove_runs.remove_runs([runs / "first"])
    assert not (runs / "first").exists()
    assert sorted(names()) == ["second", "third"]
    assert not [*Path("outputs").glob("**/.*.tmp/results.json"), *Path("outputs").glob("**/.*.tmp/last.pt")]


def test_a_temporary_folder_is_no_run_for_any_command(runs: Path) -> None:
    shutil.copytree(runs / "first", runs / ".first.7.tmp")
    (runs / "first").rename(runs / "moved")
    shutil.rmtree(runs / "third")
    assert sorted(names()) == ["moved", "second"]
    assert {run.path.name for run in finished_runs.read_runs(Path("outputs"))} == {"moved", "second"}
    listed = matching_run.list_finished_runs().values()
    assert {Path(results["run_dir"]).name for results in listed} == {"moved", "second"}
    identity = read_record(runs / "moved").results["identity"]
    found = run_finder.find_run(lambda results: results.get("identity") == identity, Path("none"))
    assert found == Path("outputs/day/moved")
    remove_runs.remove_runs(remove_runs.find_removable([runs / "moved"]))
    assert not (runs / "moved").exists()


def test_a_paused_run_is_listed_as_paused_and_removed_only_with_its_search(runs: Path) -> None:
    change_results(runs / "third", status="paused")
    assert names("status=paused") == ["third"]
    (runs / "search.json").write_text("{}")
    with pytest.raises(ConfigError, match="third is paused by the search in "):
        main.run_command(["rm", str(runs / "first"), str(runs / "third"), "yes=true"])
    assert (runs / "first").exists()
    main.run_command(["rm", str(runs / "first"), "yes=true"])
    main.run_command(["rm", str(runs / "second"), str(runs / "third"), "yes=true"])
    assert names() == []


def test_a_paused_run_without_a_search_is_removed(runs: Path) -> None:
    change_results(runs / "third", status="paused")
    main.run_command(["rm", str(runs / "third"), "yes=true"])
    assert sorted(names()) == ["first", "second"]


def test_diff_names_what_differs_and_what_is_the_same(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change_results(runs / "third", versions={"torch": "1.0"}, data_digest="abcdef")
    main.run_command(["diff", str(runs / "first"), str(runs / "second")])
    text = capsys.readouterr().out
    assert [line.split() for line in text.splitlines() if line.startswith(("optimizer.lr", "model.hidden"))] == [
        ["optimizer.lr", "0.003", "0.1"],
        ["model.hidden", "[4]", "[4,", "3]"],
    ]
    assert "test.nll" in text
    assert "the same data, the same code" in text
    main.run_command(["diff", str(runs / "first"), str(runs / "third")])
    text = capsys.readouterr().out
    assert "abcdef" in text
    assert "1.0" in text
    assert "the same configuration" in text
    main.run_command(["diff", str(runs / "first"), str(runs / "first")])
    assert "the same scores" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("words", [[], ["outputs/day/first"], ["outputs/day/first", "nope"], ["a", "b", "c"]])
@pytest.mark.usefixtures("runs")
def test_diff_takes_two_runs(words: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"two run directories|not a run directory"):
        main.run_command(["diff", *words])
