"""``train search``: the same tree with any number of workers, exact promotions, failures, budgets and conditions."""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path

import pytest

from tests.helpers.commands import find_runs, train, write
from tests.helpers.in_process import run_main
from tests.helpers.searches import (
    ROOT,
    RUN,
    SEARCH,
    SPACE,
    digest_run,
    list_digests,
    read_scores,
    read_search,
    read_tree,
)
from trainer.utils.cpu import count_processors

pytestmark = pytest.mark.slow
MOONS = """
from trainer.data.datasets.tabular.synthetic import Moons

class Moody(Moons):
    shapes = "x (B, F) -> (B)"
    def __init__(self, rows: int, mood: str = "good"):
        if mood == "bad":
            raise ValueError("mood: it is bad")
        super().__init__(rows, 0.2, 0)
"""
SCALED = """
import torch
from trainer.models.tabular.mlp import MLP

class Odd(torch.nn.Module):
    shapes = "x (B, F) -> (B, C)"
    def __init__(self, in_features: int, out_features: int, scale: float = 1.0):
        super().__init__()
        self.head, self.scale = torch.nn.Linear(in_features, out_features), scale
    def forward(self, x):
        return self.head(x) * self.scale
"""
OWN = {
    "own_odd.py": SCALED,
    "c/model/odd.yaml": "# own\n_target_: own_odd.Odd\nin_features: ???\nout_features: ???\nscale: 1.0\n",
    "c/sweep/mine.yaml": "# own\noptimizer.lr: 0.1,0.01\nbatch_size: 32\nmodel:\n  hidden: '[4],[8]'\n",
}


@pytest.fixture(scope="module")
def one_worker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one")
    done = train(*SEARCH, "jobs=1", cwd=folder)
    assert done.returncode == 0, done.stderr
    (folder / "printed").write_text(done.stdout)
    return folder


@pytest.mark.parametrize("jobs", [2, 3])
def test_number_of_workers_changes_neither_the_tree_nor_a_bit(one_worker: Path, tmp_path: Path, jobs: int) -> None:
    done = train(*SEARCH, f"jobs={jobs}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert read_tree(tmp_path) == read_tree(one_worker)
    assert list_digests(tmp_path) == list_digests(one_worker)


def test_rungs_halve_and_every_pause_is_a_validation(one_worker: Path) -> None:
    search = read_search(one_worker)
    assert [len(stage["trials"]) for stage in search["stages"]] == [6, 2, 2, 2]
    for stage in search["stages"][:-1]:
        scores = {number: search["trials"][number]["scores"][stage["rung"]] for number in stage["trials"]}
        best = sorted(scores, key=lambda number: (-scores[number], number))[: len(stage["promoted"])]
        assert stage["promoted"] == sorted(best)
    for trial in search["trials"]:
        per_epoch = trial["total_steps"] // 16
        assert trial["pauses"] == [2 * per_epoch, 4 * per_epoch, 8 * per_epoch]
        reached = [*trial["pauses"], trial["total_steps"]][len(trial["scores"]) - 1]
        assert trial["steps"] == reached
        assert trial["status"] == ("finished" if len(trial["scores"]) == 4 else "paused")
    assert sum(trial["steps"] for trial in search["trials"]) < search["steps"]
    with open(next(one_worker.glob("**/trials.csv")), newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["steps"]) for row in rows] == [trial["steps"] for trial in search["trials"]]


def test_every_rung_tells_how_far_it_is(one_worker: Path) -> None:
    """Off a terminal, too: so many runs, the best score so far and the time left."""
    printed = (one_worker / "printed").read_text()
    time = r"\d+:\d\d  about \d+:\d\d left"
    for line in (
        r"rung 1/4  5 of 6 runs  best val accuracy \d\.\d+ \(#\d\)  " + time,
        r"rung 1/4  6 runs  best val accuracy .* 2 continue: #\d #\d  [\d,]+ steps  " + time,
        r"rung 4/4  1 of 2 runs  best val accuracy ",
        r"further seeds  1 of 2 runs  " + time,
    ):
        assert re.search(f"^{line}", printed, re.MULTILINE), printed
    best = [float(score) for score in re.findall(r"^rung 1/4 .* best val accuracy (\d\.\d+)", printed, re.MULTILINE)]
    assert best == sorted(best)
    assert ("1 at a time (OMP_NUM_THREADS=1; jobs=" in printed) == (count_processors() > 1)


def test_promoted_run_equals_a_run_that_was_never_paused(one_worker: Path, tmp_path: Path) -> None:
    """The printed command trains the best configuration in one go; a run of another seed differs."""
    printed = (one_worker / "printed").read_text().splitlines()
    (line,) = (line for line in printed if line.startswith("  train "))
    words = shlex.split(line)[1:]
    best = read_search(one_worker)["finalists"][0]
    assert train(*words, "threads=1", "hydra.run.dir=outputs/whole", cwd=tmp_path).returncode == 0
    promoted = one_worker / best["run_dirs"][0]
    assert read_scores(tmp_path / "outputs/whole") == read_scores(promoted)
    assert digest_run(tmp_path / "outputs/whole") == digest_run(promoted)
    assert digest_run(one_worker / best["run_dirs"][1]) != digest_run(promoted)


def test_finished_search_repeats_nothing(one_worker: Path) -> None:
    before = {path: (path / "results.json").stat().st_mtime_ns for path in find_runs(one_worker)}
    tree = read_tree(one_worker)
    done = train(*SEARCH, "jobs=2", cwd=one_worker)
    assert done.returncode == 0, done.stderr
    assert " left" not in done.stdout
    assert {path: (path / "results.json").stat().st_mtime_ns for path in find_runs(one_worker)} == before
    assert read_tree(one_worker) == tree


def test_another_search_reuses_finished_runs(tmp_path: Path) -> None:
    grid = ("model.hidden=[4],[8]", "optimizer.lr=0.1,0.01")
    done = train("-m", *RUN, *grid, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    num_runs = len(find_runs(tmp_path))
    done = train("search", *RUN, *grid, "search=grid", "seeds=1", "resume=auto", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "4 finished runs of other commands reused" in done.stdout
    assert len(find_runs(tmp_path)) == num_runs
    assert all(trial["is_reused"] for trial in read_search(tmp_path)["trials"])


def test_failing_runs_are_ranked_last_with_their_reasons(tmp_path: Path) -> None:
    write(tmp_path, OWN)
    words = ("--config-dir", "c", "plugins=[own_odd]", *RUN[1:4], "draw=false", "model=odd", ROOT)
    done = train("search", *words, "model.scale=1,1e38,2,1e37", "search=grid", "seeds=1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "failed: #1" in done.stdout
    assert "(2 failed)" in done.stdout
    trials = read_search(tmp_path)["trials"]
    assert [trial["status"] for trial in trials] == ["finished", "failed", "finished", "failed"]
    assert "NonFiniteError" in trials[1]["reason"]
    assert trials[1]["scores"] == [None]


def test_search_without_any_score_says_so(tmp_path: Path) -> None:
    write(tmp_path, OWN)
    words = ("--config-dir", "c", "plugins=[own_odd]", *RUN[1:4], "draw=false", "model=odd", ROOT)
    done = train("search", *words, "model.scale=1e37,1e38", "search=grid", "seeds=1", cwd=tmp_path)
    assert done.returncode == 1
    assert "no best configuration" in done.stdout


def test_time_budget_ends_with_a_tested_result(tmp_path: Path) -> None:
    """Runs that would take hours are paused, and the best weights so far are tested."""
    long = [word for word in RUN if not word.startswith("epochs")]
    done = train("search", *long, "epochs=100000", *SPACE, ROOT, "budget=6s", "jobs=2", "seeds=2", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the time is over" in done.stdout
    search = read_search(tmp_path)
    (finalist,) = search["finalists"]
    assert not finalist["is_finished"]
    assert 0 <= finalist["test"][0] <= 1
    run = tmp_path / finalist["run_dirs"][0]
    assert read_scores(run)["status"] == "interrupted"
    assert f"train resume {shlex.quote(finalist['run_dirs'][0])} continues it" in done.stdout


def test_keys_of_one_model_are_left_out_of_the_others(tmp_path: Path) -> None:
    write(tmp_path, OWN)
    words = ("--config-dir", "c", "plugins=[own_odd]", "data=moons", "data.rows=200", "epochs=1", "draw=false", ROOT)
    space = ("model=mlp,odd", "model.hidden=[4],[8]", "model.scale=1,2")
    done = train("search", *words, *space, "search=grid", "seeds=1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    values = [trial["values"] for trial in read_search(tmp_path)["trials"]]
    assert values == [
        {"model": "mlp", "model.hidden": "[4]"},
        {"model": "mlp", "model.hidden": "[8]"},
        {"model": "odd", "model.scale": "1"},
        {"model": "odd", "model.scale": "2"},
    ]


def test_file_of_ranges_is_overridden_key_by_key(tmp_path: Path) -> None:
    write(tmp_path, OWN)
    words = ("--config-dir", "c", "sweep=mine", "model=mlp", "data=moons", "data.rows=200", "epochs=1", "draw=false")
    done = train("search", *words, "optimizer.lr=0.05", "search=grid", "seeds=1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    search = read_search(tmp_path)
    assert search["space"] == ["model.hidden=[4],[8]"]
    assert "optimizer.lr=0.05" in search["fixed"]
    assert "batch_size=32" in search["fixed"]


def test_tpe_proposes_the_same_after_a_stop(tmp_path: Path) -> None:
    words = ("search", *RUN[:3], "epochs=1", "draw=false", *SPACE[1:], ROOT, "search=tpe", "seeds=1")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    assert train(*words, "budget=12runs", "jobs=3", cwd=whole).returncode == 0
    assert train(*words, "budget=12runs", "jobs=1", "resume=auto", cwd=parts).returncode == 0
    last = max(find_runs(parts), key=lambda path: int(path.name.split("-")[0]))
    for file in last.iterdir():
        file.unlink()
    (parts / "outputs/search/search.json").unlink()
    assert train(*words, "budget=12runs", "jobs=2", "resume=auto", cwd=parts).returncode == 0
    assert read_tree(parts) == read_tree(whole)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["bugdet=3runs", "optimizer.lr=0.1,0.2"], "bugdet: unknown key; did you mean budget?"),
        (["budget=3runs", "optimizer.lrr=0.1,0.2"], "optimizer.lrr: unknown key; did you mean optimizer.lr?"),
        (["budget=3runs", "model=lstm,lstn"], "model 'lstn' not found; did you mean lstm?"),
        (["budget=3runs"], "no key has several values"),
        (["asha", "optimizer.lr=0.1,0.2"], "search asha: it is no KEY=VALUE; did you mean search=asha?"),
        (["model=mlp", "wine"], "search wine: it is no KEY=VALUE; did you mean data=wine?"),
        (["-m", "optimizer.lr=0.1,0.2"], "search --multirun: it is about a space of configurations; leave it out"),
        (["optimizer.lr=0.1,0.2"], "budget: missing"),
        (["budget=3 apples", "search=shoa"], "'shoa' given; did you mean asha?"),
        (["search=grid", "optimizer.lr=interval(0,1)"], "a grid has no values of an interval"),
        (["budget=3runs", "model.dropout=interval(0,2)", "model=lstm"], "it must be a number >= 0 and <= 1"),
        (["budget=3steps", *RUN, "optimizer.lr=0.1,0.2"], "one configuration with its seeds takes"),
        (["budget=3runs", "sweep=lstm_smal"], "sweep 'lstm_smal' not found; did you mean lstm_small?"),
        (["budget=3runs", "seed=0,1"], "seeds=N trains the finalists"),
        (["budget=3runs", *RUN, "optimizer.lr=0.1,0.2", "members=auto"], "members: auto given"),
    ],
)
def test_problems_are_reported_before_anything_runs(
    words: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, printed = run_main(capsys, monkeypatch, "search", *words)
    assert code == 2
    assert message in printed
    assert not list(tmp_path.iterdir())


def test_page_is_written_next_to_the_record(one_worker: Path) -> None:
    page = one_worker / "outputs/search/report.html"
    assert "#trials" in page.read_text()
    assert (one_worker / "printed").read_text().splitlines()[-1] == "page: outputs/search/report.html"


def test_search_file_is_plain_json(one_worker: Path) -> None:
    (file,) = one_worker.glob("**/search.json")
    assert json.loads(file.read_text(), parse_constant=pytest.fail)["format_version"] == 1
