"""The page of a run has its scores, curves, figures, configuration and commands, in one file of limited size."""

from __future__ import annotations

import json
import math
import re
from dataclasses import MISSING, fields
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from tests.helpers.in_process import run
from trainer.analysis import run_record
from trainer.config import compose
from trainer.report import run_page, score_rows, write_page
from trainer.report.embedded_images import embed_images
from trainer.report.training_charts import count_rows
from trainer.runs import train
from trainer.runs.results import Result
from trainer.utils.errors import ConfigError

pytestmark = pytest.mark.usefixtures("in_tmp")
MAX_PAGE_BYTES = 1_500_000


class Reader(HTMLParser):
    """Collects the identifiers, links and sources of a page, and checks that elements are closed in order."""

    VOID = ("meta", "link", "img", "input", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.ids |= {values["id"]} if values.get("id") else set()
        self.links += [value for key in ("href", "src") if (value := values.get(key))]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass  # of SVG

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def render(path: Path) -> str:
    return write_page.render_page("run.html", run_page.make_run_page(run_record.read_record(path)))


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    assert not reader.open
    return reader


@pytest.mark.slow
def test_the_page_of_a_run_is_complete_and_self_contained() -> None:
    result = train.run(compose.compose(["model=mlp", "data=digits", "epochs=2", "optimizer.lr=0.004"]))
    text = render(Path(result.run_dir))
    reader = read(text)
    assert len(text) < MAX_PAGE_BYTES
    assert all(link.startswith(("#", "data:")) for link in reader.links)
    assert {link[1:] for link in reader.links if link.startswith("#")} <= reader.ids
    assert not re.search(r"https?://", text)
    assert text.count("data:image/png") == sum(name.endswith(".png") for name in result.artifacts or []) > 0
    assert f"{result.test[result.monitor]:.4f}" in text
    assert re.search(r"optimizer\.lr</code></th><td class=\"text\">0\.004</td>", text)
    assert "train model=mlp data=digits" in text
    assert text.count("<svg") >= 8


@pytest.mark.slow
def test_a_run_without_figures_or_validations_has_a_page() -> None:
    result = run("epochs=0")
    Path(result.run_dir, "metrics.csv").unlink()
    Path(result.run_dir, "config.yaml").write_text("[broken")
    text = render(Path(result.run_dir))
    read(text)
    assert "<svg" not in text


def write_results(path: Path, **changes: object) -> Path:
    path.mkdir()
    defaults = {field.name: field.default for field in fields(Result) if field.default is not MISSING}
    defaults |= {
        field.name: field.default_factory() for field in fields(Result) if field.default_factory is not MISSING
    }
    results = {
        "run_dir": str(path),
        "identity": "0123456789abcdef",
        "options": {},
        "task": "classification",
        "seed": 0,
        "status": "finished",
        "model": "<script>alert(1)</script>",
        "data": "moons",
        "monitor": "accuracy",
        "val": {"accuracy": 0.9},
        "test": {"accuracy": 0.8},
        "baseline": {"accuracy": 0.5},
        "best_possible": {"accuracy": 0.9},
        "higher_is_better": {"accuracy": True},
        "overrides": ["data.path=my file.csv"],
        "artifacts": ["../secret.png", "gone.png"],
    }
    (path / "results.json").write_text(json.dumps(defaults | results | changes))
    return path


def test_texts_of_the_run_are_escaped_and_quoted(tmp_path: Path) -> None:
    text = render(write_results(tmp_path / "a run"))
    read(text)
    assert "<script>alert" not in text
    assert "train &#39;data.path=my file.csv&#39;" in text
    assert "secret" not in text


def test_samples_of_a_generator_are_not_called_predictions(tmp_path: Path) -> None:
    path = write_results(tmp_path / "run", artifacts=["progress.png"])
    Image.new("RGB", (8, 8)).save(path / "progress.png")
    text = render(path)
    assert "<figcaption>Samples during training</figcaption>" in text
    assert "Predictions on the test rows" not in text


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "better than the baseline of 0.5000; 75% of the way from it to the best possible score of 0.9000."),
        ({"test": {"accuracy": 0.899}}, "0.5000; 99% of the way from it to the best possible score of 0.9000."),
        ({"test": {"accuracy": 0.4}}, "Test accuracy 0.4000, not better than the baseline of 0.5000."),
        ({"baseline": {}}, "Test accuracy 0.8000."),
        ({"status": "failed"}, "This run is failed; it has no test score yet."),
        ({"test": {"accuracy": None}}, "it has no test score yet."),
    ],
)
def test_the_verdict_compares_with_baseline_and_best_possible(
    tmp_path: Path, changes: dict[str, object], verdict: str
) -> None:
    record = run_record.read_record(write_results(tmp_path / "run", **changes))
    assert score_rows.write_verdict(record).endswith(verdict)


@pytest.mark.parametrize(
    ("rows", "batch_size", "history", "counts"),
    [
        (100, 32, [(4, 1), (8, 2)], [100, 200]),  # the last batch of an epoch has four rows
        (100, 32, [(4, 1), (6, 2)], [100, 164]),  # the run ends within an epoch
        (140, 64, [(1, 1), (2, 2)], [140, 280]),  # all nodes of a graph in each step
        (1000, 10, [(50, 1)], [500]),
        (0, 10, [(50, 1)], [math.nan]),
    ],
)
def test_rows_are_counted_as_often_as_they_were_used(
    tmp_path: Path, rows: int, batch_size: int, history: list[tuple[int, int]], counts: list[float]
) -> None:
    path = write_results(tmp_path / "run", rows={"train": rows} if rows else {})
    (path / "config.yaml").write_text(f"batch_size: {batch_size}\naccumulate: 1\n")
    (path / "metrics.csv").write_text("step,epoch\n" + "".join(f"{step},{epoch}\n" for step, epoch in history))
    record = run_record.read_record(path)
    object.__setattr__(record, "results", {**record.results, "rows": {"train": rows} if rows else {}})
    record.__dict__["config"] = {"batch_size": batch_size, "accumulate": 1}
    assert count_rows(record) == pytest.approx(counts, nan_ok=True)


def test_a_trial_of_one_step_is_marked(tmp_path: Path) -> None:
    record = run_record.read_record(write_results(tmp_path / "run", debug="fast"))
    assert "debug=fast: its scores are of one step" in score_rows.write_verdict(record)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a run directory"):
        run_record.read_record(tmp_path)


def test_images_are_reduced_to_their_share_of_the_page(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for seed, path in enumerate(paths):
        Image.effect_noise((900, 700), 80 + seed).save(path)
    (tmp_path / "broken.png").write_bytes(b"no image")
    damaged = bytearray(paths[0].read_bytes())
    damaged[33:37] = b"\xff\xff\xff\xff"  # the length of a chunk
    (tmp_path / "damaged.png").write_bytes(damaged)
    bad = [tmp_path / "broken.png", tmp_path / "damaged.png", tmp_path / "gone.png"]
    images, problems = embed_images([*paths, *bad], max_bytes=600_000)
    assert problems == [f"{path.name} is missing or cannot be read" for path in bad]
    assert [(image.width, image.height) for image in images] == [(900, 700)] * 3
    assert sum(len(image.uri) for image in images) * 3 / 4 <= 600_000
