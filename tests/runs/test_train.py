"""Files that a run writes."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helpers.commands import SMALL, find_runs, train, write
from tests.helpers.in_process import read_metrics, run
from trainer.config import compose, migrations, validation
from trainer.runs import run_dir, saved_run
from trainer.runs import train as runner
from trainer.runs.results import Result
from trainer.utils.errors import ConfigError

pytestmark = pytest.mark.usefixtures("in_tmp")


def read_results(result: Result) -> dict[str, Any]:
    found = json.loads((Path(result.run_dir) / "results.json").read_text())
    assert isinstance(found, dict)
    return found


def test_results_contain_every_field() -> None:
    result = run("epochs=3")
    results = read_results(result)
    # Of most runs there is nothing to say about these.
    assert set(results) == {field.name for field in fields(Result)} - {
        "changes",
        "skipped_updates",
        "exact_data_digest",
        "budget_identity",
        "debug",
        "ensemble",
        "joint_runs",
        "config_dirs",
    }
    assert (results["status"], results["model"], results["data"], results["task"]) == (
        "finished",
        "mlp",
        "moons",
        "classification",
    )
    assert results["epochs"] == 3
    assert results["steps"] == 3 * 3  # 180 rows in batches of 64
    assert results["params"] == 2 * 4 + 4 + 4 + 1
    assert 0 < results["seconds"] < 60
    assert results["monitor"] == "accuracy"
    for scores in ("val", "test", "baseline", "best_possible"):
        assert 0 <= results[scores]["accuracy"] <= 1
    assert {"python", "torch", "hydra-core", "numpy"} <= set(results["versions"])
    assert results["git"] is None
    assert results["overrides"] == [*SMALL, "draw=false", "epochs=3"]
    assert results["reason"] is None
    assert result.val_score == results["val"]["accuracy"]


@pytest.mark.slow
def test_nan_score_is_null_in_results(tmp_path: Path) -> None:
    """All test targets are the same, so r2 has nothing to explain."""
    parts = ["train"] * 40 + ["val", "test"] * 10
    rows = "".join(f"{i % 7},{0.1 * (i % 5) if part == 'train' else 0.2},{part}\n" for i, part in enumerate(parts))
    (tmp_path / "t.csv").write_text(f"a,y,part\n{rows}")
    overrides = [
        "model=mlp",
        "data=csv",
        "data.path=t.csv",
        "data.target=y",
        "data.split_column=part",
        "task=regression",
    ]
    result = runner.run(compose.compose([*overrides, "epochs=1", "threads=1"]))

    def reject_constant(text: str) -> None:
        pytest.fail(f"{text} is no JSON")

    text = (Path(result.run_dir) / "results.json").read_text()
    results = json.loads(text, parse_constant=reject_constant)
    assert results["test"]["r2"] is None
    assert 0 < results["test"]["mse"] < 10


def test_results_contain_the_git_commit_of_the_working_folder(tmp_path: Path) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    commit = read_results(run())["git"]
    assert commit.rstrip("+").isalnum()
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert head.stdout.startswith(commit.rstrip("+"))


@pytest.mark.slow
def test_metrics_csv_has_one_row_per_validation() -> None:
    rows = read_metrics(Path(run("epochs=4").run_dir))
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert [row["step"] for row in rows] == ["3", "6", "9", "12"]
    assert {"train_loss", "grad_norm", "lr_model", "val_accuracy", "val_nll"} <= set(rows[0])
    sparse = read_metrics(Path(run("epochs=5", "val_every=2").run_dir))
    assert [row["epoch"] for row in sparse] == ["2", "4", "5"]


@pytest.mark.slow
def test_curves_are_saved_as_an_image() -> None:
    from PIL import Image

    with Image.open(Path(run().run_dir) / "curves.png") as picture:
        picture.load()
        assert picture.format == "PNG"
        assert picture.width > picture.height > 100
        colors = picture.convert("RGB").getcolors(1 << 24)
    assert colors is not None
    assert len(colors) > 10


def test_the_saved_configuration_builds_the_same_run() -> None:
    result = run("seed=3")
    tree = yaml.safe_load((Path(result.run_dir) / "config.yaml").read_text())
    assert tree.pop("format_version") == migrations.FORMAT_VERSION
    assert tree["seed"] == 3
    assert tree["model"]["hidden"] == [4]
    assert validation.check_config(tree, result.options) == []
    assert saved_run.load(Path(result.run_dir)).config_hash == result.identity


def test_run_log_contains_scores_and_baseline() -> None:
    text = (Path(run().run_dir) / "train.log").read_text()
    for part in ("mlp on moons", "val_accuracy", "baseline"):
        assert part in text


@pytest.mark.slow
def test_secrets_are_never_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_SECRET", "SECRET123")
    run("data_dir=${oc.env:SOME_SECRET}")
    with pytest.raises(ConfigError):
        run("+api_key=SECRET123")
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"SECRET123" not in path.read_bytes(), path


@pytest.mark.slow
def test_a_secret_in_a_plugins_own_key_is_masked(tmp_path: Path) -> None:
    text = """
        from trainer.data.datasets.tabular.synthetic import Moons
        class Hub(Moons):
            shapes = "x (B, F) -> (B)"
            def __init__(self, rows: int, api_key: str, token_mixing: str):
                assert token_mixing == "even"
                super().__init__(rows, 0.2, 0)
    """
    write(
        tmp_path,
        {
            "own_hub.py": text.replace("\n        ", "\n"),
            "c/data/hub.yaml": "# own\n_target_: own_hub.Hub\nrows: 90\napi_key: ''\ntoken_mixing: even\n",
        },
    )
    done = train(
        *("--config-dir", "c", "plugins=[own_hub]", "model=mlp", "data=hub", "epochs=1", "data.api_key=SECRET123"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    for path in (tmp_path / "outputs").rglob("*"):
        assert not path.is_file() or b"SECRET123" not in path.read_bytes(), path
    (path,) = find_runs(tmp_path)
    assert "token_mixing: even" in (path / "config.yaml").read_text()
    again = train("evaluate", str(path), "plugins=[own_hub]", cwd=tmp_path)
    assert again.returncode == 2
    assert "data.api_key was left out as a secret when the run was saved" in again.stderr
    assert "Traceback" not in again.stderr


@pytest.mark.slow
def test_second_run_in_one_directory_gets_a_numbered_name() -> None:
    first, second = run("hydra.run.dir=outputs/same"), run("hydra.run.dir=outputs/same")
    assert (Path(first.run_dir).name, Path(second.run_dir).name) == ("same", "same-2")


def test_a_run_directory_in_use_is_refused_with_its_process() -> None:
    path = Path(run().run_dir)
    write(path, {"results.json": json.dumps(run_dir.read_results(path) | {"status": "interrupted"})})
    with run_dir.lock_run(path), pytest.raises(ConfigError, match=f"in use by process {os.getpid()}"):
        runner.resume_run(saved_run.load(path))
    assert run_dir.read_results(path)["status"] == "interrupted"
