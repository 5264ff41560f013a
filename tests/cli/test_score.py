"""``train score``: log-likelihoods and ELBOs of the rows of a file."""

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
from trainer.cli import main
from trainer.inference import method_options
from trainer.metrics.classification import roc_auc
from trainer.utils.errors import ConfigError

pytestmark = pytest.mark.slow
QUICK = ("threads=1", "epochs=4", "task.samples=50", "task.classifier=null")


def write_people(path: Path, rows: int, outlier_every: int, seed: int) -> Path:
    """Write a table in which income and color follow from age, except in every ``outlier_every``-th row."""
    generator = random.Random(seed)
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["age", "income", "color", "children"])
        for row in range(rows):
            age, other = generator.randint(20, 80), generator.randint(20, 80)
            income_age = other if outlier_every and row % outlier_every == 0 else age
            color = ("red", "green", "blue")[(income_age - 20) // 21]
            writer.writerow(
                [age, round(1000 * income_age + generator.gauss(0, 1500), 2), color, generator.randint(0, 3)]
            )
    return path


def train_run(folder: Path, *words: str) -> Path:
    process = train(*words, *QUICK, cwd=folder)
    assert process.returncode == 0, process.stderr
    return find_runs(folder)[-1]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("table")
    path = write_people(folder / "people.csv", 3000, 0, seed=0)
    return train_run(folder, "model=real_nvp", "data=csv", f"data.path={path}", "data.target=null", "epochs=12")


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_run(
        tmp_path_factory.mktemp("points"), "model=real_nvp", "data=ring", "data.rows=500", "model.blocks=2"
    )


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_run(tmp_path_factory.mktemp("digits"), "model=vae", "data=digits")


def run_and_capture(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run a command that succeeds and return its output."""
    assert main.run_command(words) == 0
    return capsys.readouterr().out


def read_scores(run: Path) -> list[dict[str, str]]:
    """Read the newest score file; the names of several are numbered."""
    newest = max(run.glob("scores*.csv"), key=lambda path: path.stat().st_mtime_ns)
    with open(newest, newline="") as file:
        return list(csv.DictReader(file))


def test_scores_of_a_file_separate_outliers(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_people(tmp_path / "new.csv", 2000, 50, seed=1)
    output = run_and_capture(capsys, "score", str(table), f"input={path}")
    assert "2,000 rows scored, written to " in output
    scores = read_scores(table)
    assert [int(row["row"]) for row in scores] == list(range(1, 2001))
    log_likelihoods = torch.tensor([float(row["log_likelihood"]) for row in scores])
    is_outlier = torch.arange(2000) % 50 == 0
    assert roc_auc(-log_likelihoods, is_outlier) > 0.9
    first = output[output.index("most unusual") :].split("─\n")[1].split()[0]
    assert int(first) == int(log_likelihoods.argmin()) + 1
    run_and_capture(capsys, "score", str(table), f"input={path}")
    assert read_scores(table) == scores, "scores are the same every time"


def test_score_without_input_uses_the_test_split(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_and_capture(capsys, "score", str(table))
    assert [int(row["row"]) for row in read_scores(table)] == list(range(600))


def test_samples_of_a_table_run_are_written_as_csv(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "sampled-0.csv" in run_and_capture(capsys, "sample", str(table), "count=200")
    with open(table / "sampled-0.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 200
    assert {row["color"] for row in rows} == {"red", "green", "blue"}
    ages, incomes = (np.array([float(row[name]) for row in rows]) for name in ("age", "income"))
    assert all("." not in row["age"] for row in rows)
    assert 15 < np.median(ages) < 85
    assert np.corrcoef(ages, incomes)[0, 1] > 0.9


def test_image_scores_have_file_names(digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "pictures"
    (folder / "inner").mkdir(parents=True)
    generator = np.random.default_rng(0)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / "black.png")
    Image.fromarray(generator.integers(256, size=(20, 16, 3)).astype(np.uint8)).save(folder / "inner" / "noise.jpg")
    run_and_capture(capsys, "score", str(digits), f"input={folder}")
    scores = read_scores(digits)
    assert [row["file"] for row in scores] == ["black.png", "inner/noise.jpg"]
    assert {"elbo", "reconstruction"} <= scores[0].keys()
    run_and_capture(capsys, "score", str(digits), f"input={folder / 'black.png'}")
    (one,) = read_scores(digits)
    assert one["file"] == "black.png"


FILES = {
    "empty.csv": "",
    "wide.csv": "1,2,3,4,5,6,7\n",
    "text.csv": "age,income,color,children\n30,30000,red,1\nold,30000,red,1\n",
    "letters.csv": "1,2\n3,x\n",
    "broken.png": "this is no picture",
}


@pytest.mark.parametrize(
    ("kind", "words", "message"),
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
def test_unusable_input_is_refused(
    kind: str,
    words: list[str],
    message: str,
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
    assert message in error
    assert len(error.splitlines()) < 10


def test_task_without_scoring_names_tasks_that_score() -> None:
    with pytest.raises(ConfigError, match="the task of this run cannot score; these can: density, "):
        method_options.find_task_options("trainer.tasks.classification.Classification", "score", "score_rows")


def test_classification_without_a_target_column_is_refused(tmp_path: Path) -> None:
    path = write_people(tmp_path / "people.csv", 100, 0, seed=0)
    process = train("model=mlp", "data=csv", f"data.path={path}", "data.target=null", cwd=tmp_path)
    assert process.returncode == 2
    assert process.stderr == "error: data csv has no targets, which task classification needs\n"


def test_a_class_conditional_model_needs_labels_in_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_people(tmp_path / "people.csv", 300, 0, seed=0)
    overrides = ("model=real_nvp", "data=csv", f"data.path={path}", "data.target=color", "model.num_classes=3")
    run = train_run(tmp_path, *overrides, "model.blocks=1")
    run_and_capture(capsys, "score", str(run), f"input={path}")
    assert len(read_scores(run)) == 300
    run_and_capture(capsys, "sample", str(run), "count=30", "label=2")
    with open(run / "sampled-0-of-2.csv", newline="") as file:
        assert {row["color"] for row in csv.DictReader(file)} == {"red"}  # of blue, green and red
    (tmp_path / "bare.csv").write_text("age,income,children\n30,30000,1\n")
    with pytest.raises(ConfigError, match="the model of this run is conditioned on the class of each row; "):
        main.run_command(["score", str(run), f"input={tmp_path / 'bare.csv'}"])
