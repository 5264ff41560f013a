"""Console output of a run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.helpers.commands import train, write
from tests.helpers.in_process import call_main

FAST = ("model=mlp", "data=moons", "data.rows=300", "model.hidden=[4]", "threads=1", "draw=false")
LINE = re.compile(
    r"epoch (\d)/4  step \d+/12  loss [\d.]+  val accuracy [\d.]+  [\d,]+ rows/s  \d:\d\d left", re.MULTILINE
)


@pytest.mark.slow
def test_every_epoch_prints_a_plain_line_without_a_terminal(tmp_path: Path) -> None:
    done = train(*FAST, "epochs=4", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert LINE.findall(done.stdout) == ["1", "2", "3", "4"]
    assert "\x1b" not in done.stdout
    assert done.stderr == ""


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.slow
def test_epochs_without_validation_print_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, out, _ = call_main(capsys, monkeypatch, *FAST, "epochs=4", "val_every=2")
    lines = [line for line in out.splitlines() if line.startswith("epoch ")]
    assert [line.split("/")[0] for line in lines] == [f"epoch {k}" for k in range(1, 5)]
    assert ["val accuracy" in line for line in lines] == [False, True, False, True]
    assert all("loss" in line for line in lines)


@pytest.mark.slow
def test_brackets_in_the_run_directory_are_printed_literally(tmp_path: Path) -> None:
    for name in ("[mine] a", "x[/b]"):
        done = train(*FAST, "epochs=1", f'hydra.run.dir="outputs/{name}"', cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert f"saved in outputs/{name} (" in done.stdout


@pytest.mark.slow
def test_draw_and_draw_seconds_limit_the_figures(tmp_path: Path) -> None:
    done = train(*FAST, "epochs=1", 'hydra.run.dir="outputs/none"', cwd=tmp_path)
    assert "figures:" not in done.stdout
    assert not (tmp_path / "outputs/none/confusion.png").exists()
    done = train(*FAST, "epochs=1", "draw=true", "draw_seconds=0", 'hydra.run.dir="outputs/late"', cwd=tmp_path)
    assert "not drawn within draw_seconds=0: confusion, classes, calibration, roc, mistakes" in done.stdout
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_latest_link_is_the_newest_run_and_not_ranked(tmp_path: Path) -> None:
    for name in ("a", "b"):
        done = train(*FAST, "epochs=1", f"hydra.run.dir=outputs/{name}", f"seed={name == 'b':d}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "outputs/latest").readlink() == Path("b")
    done = train("report", cwd=tmp_path)
    assert "left out" not in done.stdout
    rows = (tmp_path / "outputs/leaderboard.csv").read_text().splitlines()
    assert len(rows) == 2
    assert ",2," in rows[1]


@pytest.mark.slow
def test_graph_size_is_printed_in_nodes(tmp_path: Path) -> None:
    done = train("model=gcn", "data=sbm", "data.nodes=200", "epochs=1", "draw=false", cwd=tmp_path)
    assert re.search(r"\d+ / \d+ / \d+ nodes", done.stdout), done.stdout + done.stderr
    assert "nodes/s" in done.stdout


@pytest.mark.slow
def test_more_workers_than_cores_are_reported_once(tmp_path: Path) -> None:
    done = train(*FAST, "epochs=1", "num_workers=9", "data.rows=30", cwd=tmp_path)
    output = done.stdout + done.stderr
    assert output.count("num_workers: 9 processes share") == 1
    assert "UserWarning" not in output


@pytest.mark.slow
@pytest.mark.parametrize("scores", ["[auc,accuracy]", "[accuracy,auc]"])
def test_multiclass_auc_can_be_monitored(scores: str, tmp_path: Path) -> None:
    done = train(
        "model=mlp", "data=wine", f"task.scores={scores}", "monitor=auc", "epochs=1", "draw=false", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"val auc 0\.\d+", done.stdout)
    assert re.search(r"auc +0\.5000 +0\.\d+", done.stdout)


@pytest.mark.usefixtures("in_tmp")
def test_monitoring_unmeasured_auc_names_the_task_scores_key(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = call_main(capsys, monkeypatch, "model=mlp", "data=wine", "monitor=auc", "epochs=1")
    assert code == 2
    assert "task.scores=[accuracy,nll,f1,auc]" in err


@pytest.mark.slow
@pytest.mark.usefixtures("in_tmp")
def test_class_names_are_escaped_in_figures_and_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = "".join(f"{k % 7},{k % 3},{'$' * (1 + k % 3)}\x1b[31m\n" for k in range(90))
    write(tmp_path, {"prices.csv": "a,b,price\n" + rows})
    overrides = ("model=mlp", "data=csv", "data.target=price", "epochs=1", "threads=1")
    code, out, err = call_main(capsys, monkeypatch, *overrides, "data.path=prices.csv")
    assert code == 0, err
    assert "confusion.png" in out
    code, out, err = call_main(capsys, monkeypatch, *overrides, "data.path=no\x1b[31m.csv")
    assert code == 2
    assert "\x1b" not in out + err


@pytest.mark.slow
@pytest.mark.usefixtures("in_tmp")
def test_the_chosen_baseline_rule_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"s.csv": "v\n" + "\n".join(f"{(hour % 24) ** 2}" for hour in range(600)) + "\n"})
    overrides = (
        "model=dlinear",
        "data=csv_series",
        "data.path=s.csv",
        "data.history=48",
        "data.horizon=3",
        "max_steps=2",
    )
    _, out, _ = call_main(capsys, monkeypatch, *overrides, "draw=false", "threads=1")
    assert "\nbaseline: the last 24 steps again\n" in out
