"""How ordinary each row of a file is, asked as a user asks it."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.commands import find_runs, train
from tests.helpers.in_process import run_main
from trainer.cli import main, verb_args
from trainer.metrics.classification import roc_auc
from trainer.utils.errors import ConfigError

pytestmark = pytest.mark.slow
QUICK = ("threads=1", "epochs=4", "task.samples=50", "task.classifier=null")


def people(path: Path, rows: int, odd: int, seed: int) -> Path:
    """Who is older earns more and likes blue; every ``odd``-th row has a stranger's income and colour."""
    draw = random.Random(seed)
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["age", "income", "colour", "children"])
        for row in range(rows):
            age, other = draw.randint(20, 80), draw.randint(20, 80)
            told = other if odd and row % odd == 0 else age
            colour = ("red", "green", "blue")[(told - 20) // 21]
            writer.writerow([age, round(1000 * told + draw.gauss(0, 1500), 2), colour, draw.randint(0, 3)])
    return path


def made(folder: Path, *words: str) -> Path:
    done = train(*words, *QUICK, cwd=folder)
    assert done.returncode == 0, done.stderr
    return find_runs(folder)[-1]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("table")
    path = people(folder / "people.csv", 3000, 0, seed=0)
    return made(folder, "model=real_nvp", "data=csv", f"data.path={path}", "data.target=null", "epochs=12")


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("points"), "model=real_nvp", "data=ring", "data.rows=500", "model.blocks=2")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("digits"), "model=vae", "data=digits")


def said_by(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a command says that ends well."""
    assert main.run_command(words) == 0
    return capsys.readouterr().out


def scored(run: Path) -> list[dict[str, str]]:
    """The newest ratings: older ones are kept, and their names are numbered."""
    newest = max(run.glob("scores*.csv"), key=lambda path: path.stat().st_mtime_ns)
    with open(newest, newline="") as file:
        return list(csv.DictReader(file))


def test_rows_that_do_not_belong_are_found_in_a_file(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = people(tmp_path / "new.csv", 2000, 50, seed=1)
    said = said_by(capsys, "score", str(table), f"input={path}")
    assert "2,000 rows scored, written to " in said
    found = scored(table)
    assert [int(row["row"]) for row in found] == list(range(1, 2001))
    ratings = torch.tensor([float(row["log_likelihood"]) for row in found])
    odd = torch.arange(2000) % 50 == 0
    assert roc_auc(-ratings, odd) > 0.9
    first = said[said.index("most unusual") :].split("─\n")[1].split()[0]
    assert int(first) == int(ratings.argmin()) + 1
    said_by(capsys, "score", str(table), f"input={path}")
    assert scored(table) == found, "ratings are the same every time"


def test_without_a_file_the_test_rows_are_rated(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said_by(capsys, "score", str(table))
    assert [int(row["row"]) for row in scored(table)] == list(range(600))


def test_samples_of_a_table_are_a_table(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "sampled-0.csv" in said_by(capsys, "sample", str(table), "count=200")
    with open(table / "sampled-0.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 200
    assert {row["colour"] for row in rows} == {"red", "green", "blue"}
    ages, incomes = (np.array([float(row[name]) for row in rows]) for name in ("age", "income"))
    assert all("." not in row["age"] for row in rows)
    assert 15 < np.median(ages) < 85
    assert np.corrcoef(ages, incomes)[0, 1] > 0.9


def test_images_are_rated_by_their_names(digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "pictures"
    (folder / "inner").mkdir(parents=True)
    random_ = np.random.default_rng(0)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / "black.png")
    Image.fromarray(random_.integers(256, size=(20, 16, 3)).astype(np.uint8)).save(folder / "inner" / "noise.jpg")
    said_by(capsys, "score", str(digits), f"input={folder}")
    found = scored(digits)
    assert [row["file"] for row in found] == ["black.png", "inner/noise.jpg"]
    assert {"elbo", "reconstruction"} <= found[0].keys()
    said_by(capsys, "score", str(digits), f"input={folder / 'black.png'}")
    (one,) = scored(digits)
    assert one["file"] == "black.png"


FILES = {
    "empty.csv": "",
    "wide.csv": "1,2,3,4,5,6,7\n",
    "text.csv": "age,income,colour,children\n30,30000,red,1\nold,30000,red,1\n",
    "letters.csv": "1,2\n3,x\n",
    "broken.png": "this is no picture",
}


@pytest.mark.parametrize(
    ("kind", "words", "said"),
    [
        ("table", ["input=nope.csv"], "nope.csv does not exist"),
        ("table", ["input=empty.csv"], "empty.csv is empty"),
        ("table", ["input=wide.csv"], "has 7 columns; the training table has 4, of which 4 are features"),
        ("table", ["input=text.csv"], "row 2 (line 3), column 'age': 'old' is not a finite number"),
        ("table", ["inptu=text.csv"], "score inptu: unknown key; did you mean input?"),
        ("points", ["input=nope.csv"], "nope.csv does not exist"),
        ("points", ["input=empty.csv"], "empty.csv is empty"),
        ("points", ["input=wide.csv"], "has rows of 7 numbers; this run has rows of 2"),
        ("points", ["input=letters.csv"], "row 2 (line 2), column 'column 1': 'x' is not a finite number"),
        ("digits", ["input=nope"], "nope does not exist"),
        ("digits", ["input=bare"], "bare has no images (.png, "),
        ("digits", ["input=broken.png"], "broken.png is not an image of a supported format"),
    ],
)
def test_a_file_that_cannot_be_rated_is_refused(
    kind: str,
    words: list[str],
    said: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = request.getfixturevalue(kind)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bare").mkdir()
    for name, content in FILES.items():
        (tmp_path / name).write_text(content)
    code, error = run_main(capsys, monkeypatch, "score", str(run), *words)
    assert code == 2
    assert error.startswith("error: ")
    assert said in error
    assert len(error.splitlines()) < 10


def test_a_task_that_rates_nothing_says_which_do() -> None:
    with pytest.raises(ConfigError, match="the task of this run cannot score; these can: density, "):
        verb_args.get_verb_parameters("score", "trainer.tasks.classification.Classification", method="score_rows")


def test_a_table_without_a_target_is_refused_by_what_needs_one(tmp_path: Path) -> None:
    path = people(tmp_path / "people.csv", 100, 0, seed=0)
    done = train("model=mlp", "data=csv", f"data.path={path}", "data.target=null", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "error: data csv has no targets, which task classification needs\n"


def test_a_class_conditional_model_needs_labels_in_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = people(tmp_path / "people.csv", 300, 0, seed=0)
    told = ("model=real_nvp", "data=csv", f"data.path={path}", "data.target=colour", "model.num_classes=3")
    run = made(tmp_path, *told, "model.blocks=1")
    said_by(capsys, "score", str(run), f"input={path}")
    assert len(scored(run)) == 300
    said_by(capsys, "sample", str(run), "count=30", "label=2")
    with open(run / "sampled-0-of-2.csv", newline="") as file:
        assert {row["colour"] for row in csv.DictReader(file)} == {"red"}  # of blue, green and red
    (tmp_path / "bare.csv").write_text("age,income,children\n30,30000,1\n")
    with pytest.raises(ConfigError, match="the model of this run is conditioned on the class of each row; "):
        main.run_command(["score", str(run), f"input={tmp_path / 'bare.csv'}"])
