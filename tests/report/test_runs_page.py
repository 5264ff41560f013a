"""The page of a directory has a table for each data set, links to the pages of its runs, and unfinished runs."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from tests.helpers.finished_runs import make_config, write_run
from tests.helpers.in_process import call_main, run
from trainer.report import runs_page, write_page, write_report
from trainer.runs import run_dir
from trainer.utils.errors import ConfigError

pytestmark = pytest.mark.usefixtures("in_tmp")


def write_runs(root: Path) -> None:
    for seed in range(8):
        for lr, score in ((0.01, 0.7), (0.1, 0.8)):
            scores = {"accuracy": score + 0.01 * seed, "f1": 0.5}
            name = f"{lr}-{seed}"
            overrides = [f"optimizer.lr={lr}", f"seed={seed}"]
            write_run(root, name, make_config(seed, lr), overrides, val=scores, test=scores, params=int(1000 * lr))


def render(root: Path) -> str:
    return write_page.render_page("runs.html", runs_page.make_runs_page(root))


def test_settings_are_in_the_order_of_the_leaderboard(tmp_path: Path) -> None:
    write_runs(tmp_path)
    contents = runs_page.make_runs_page(tmp_path)
    (table,) = contents["tables"]
    assert [row["label"] for row in table["rows"]] == ["mlp optimizer.lr=0.1", "mlp optimizer.lr=0.01"]
    assert [row["num_runs"] for row in table["rows"]] == [8, 8]
    assert table["rows"][1]["verdict"] == "worse"
    assert "better than optimizer.lr=0.01" in table["lines"][0]
    assert "0.8350" in render(tmp_path)


def test_runs_link_to_their_pages(tmp_path: Path) -> None:
    write_runs(tmp_path)
    odd = "a #1 100%"
    (tmp_path / "0.1-0").rename(tmp_path / odd)
    (tmp_path / odd / write_page.REPORT_FILE).write_text("page")
    text = render(tmp_path)
    assert 'href="a%20%231%20100%25/report.html"' in text
    assert text.count("<a href=") - text.count('<a href="#') == 1


def test_unfinished_runs_are_listed_with_their_reason(tmp_path: Path) -> None:
    write_run(tmp_path, "broken", make_config(), [], status="failed", reason="loss is <nan>")
    text = render(tmp_path)
    assert "No finished run yet." in text
    assert "loss is &lt;nan&gt;" in text


@pytest.mark.slow
def test_report_writes_the_page_of_a_run_or_of_a_directory(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = run().run_dir
    code, out, _ = call_main(capsys, monkeypatch, "report", path)
    assert (code, out.splitlines()[-1]) == (0, f"page: {path}/report.html")
    assert "<svg" in Path(path, "report.html").read_text()
    code, out, _ = call_main(capsys, monkeypatch, "report", "output=all.html")
    assert (code, out.splitlines()[-1]) == (0, "page: all.html")
    assert f'href="{path}/report.html"' in Path("all.html").read_text()


def test_links_are_relative_to_the_page(tmp_path: Path) -> None:
    write_runs(tmp_path / "runs")
    (tmp_path / "runs" / "0.1-0" / write_page.REPORT_FILE).write_text("page")
    write_report.write_report(tmp_path / "runs", tmp_path / "elsewhere.html")
    assert 'href="runs/0.1-0/report.html"' in (tmp_path / "elsewhere.html").read_text()


def test_only_a_run_can_be_watched(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="follows a single run"):
        write_report.watch_run(tmp_path)


@pytest.mark.slow
def test_a_watched_page_is_written_again_until_the_run_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_report, "WATCH_SECONDS", 0.05)
    path = Path(run("epochs=2").run_dir)
    metrics, page = path / run_dir.METRICS_FILE, path / write_page.REPORT_FILE
    header, first, _ = metrics.read_text().splitlines()
    metrics.write_text(f"{header}\n{first}\n")
    with run_dir.lock_run(path):
        watcher = threading.Thread(target=write_report.watch_run, args=(path,))
        watcher.start()
        deadline = time.monotonic() + 60
        while not page.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        before = page.read_text()
        metrics.write_text(f"{header}\n{first}\n{first.replace('1,', '7,', 1)}\n")
        while page.read_text() == before and time.monotonic() < deadline:
            time.sleep(0.05)
        assert page.read_text() != before
        assert watcher.is_alive()
    watcher.join(60)
    assert not watcher.is_alive()
