"""Resuming on data in which a single row of any split has changed is refused, with what has changed."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from tests.helpers.in_process import send_signal_at
from tests.helpers.own_runs import MODELS, copy_files, evaluate_scores
from trainer.config import compose
from trainer.engine import dataset_fingerprint
from trainer.runs import initial_weights, matching_run, saved_run, train
from trainer.utils.errors import ConfigError, Interrupted

pytestmark = pytest.mark.usefixtures("in_tmp")
ROWS = 120
"""Rows of the series, split in the order of time."""


def interrupt_run(monkeypatch: pytest.MonkeyPatch, *overrides: str, config_dirs: Sequence[Path] = ()) -> Path:
    """Start a run that is stopped after three steps."""
    words = [*overrides, "max_steps=9", "draw=false", "threads=1", "hydra.run.dir=outputs/stopped"]
    with monkeypatch.context() as patched:
        send_signal_at(patched, 3, signal.SIGINT)
        with pytest.raises(Interrupted):
            train.run(compose.compose(words, config_dirs))
    return Path("outputs/stopped")


def check_refusals(path: Path, file: Path, changes: Mapping[str, Callable[[bytes], bytes]], reason: str) -> None:
    """Check that the run is not resumed with each of the changes of a file, and is without one."""
    before = file.read_bytes()
    for name, change in changes.items():
        file.write_bytes(change(before))
        with pytest.raises(ConfigError) as caught:
            train.resume_run(saved_run.load(path))
        assert reason in str(caught.value), name
    file.write_bytes(before)
    assert train.resume_run(saved_run.load(path)).status == "finished"


def change_line(number: int) -> Callable[[bytes], bytes]:
    """Return a function that changes one digit at the end of a line, without changing the length of the file."""

    def change(content: bytes) -> bytes:
        lines = content.splitlines(keepends=True)
        body = lines[number].rstrip()
        last = b"3" if body.endswith(b"7") else b"7"
        lines[number] = body[:-1] + last + lines[number][len(body) :]
        return b"".join(lines)

    return change


def test_a_changed_row_of_any_split_of_a_large_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows are in a file of which ``fingerprint=sampled`` reads only some bytes."""
    monkeypatch.setattr(dataset_fingerprint, "MAX_WHOLE_FILE_BYTES", 100)
    monkeypatch.setattr(dataset_fingerprint, "BLOCK_BYTES", 1)
    keys = copy_files("csv_series")
    overrides = ["model=dlinear", "data=csv_series", f"data.path={keys['path']}", "data.time=time"]
    path = interrupt_run(monkeypatch, *overrides)
    rows = {"last training": ROWS * 6 // 10, "first validation": ROWS * 6 // 10 + 1, "last test": ROWS}
    changes = {name: change_line(row) for name, row in rows.items()}
    changes["appended"] = lambda content: content + b"2020-01-06 00:00,0.5,120.5\n"
    check_refusals(path, Path(keys["path"]), changes, f"files: 1 changed: {Path(keys['path']).absolute()}")


@pytest.mark.slow
def test_auto_finds_no_run_after_a_change_that_samples_do_not_detect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_fingerprint, "MAX_WHOLE_FILE_BYTES", 100)
    monkeypatch.setattr(dataset_fingerprint, "BLOCK_BYTES", 1)
    keys = copy_files("csv_series")
    words = ["model=dlinear", "data=csv_series", f"data.path={keys['path']}", "data.time=time", "max_steps=3"]
    words += ["draw=false", "threads=1"]

    def find_run(*more: str) -> tuple[Path | None, str]:
        config, nowhere = initial_weights.with_input_digests(compose.compose([*words, *more])), Path("nowhere")
        return matching_run.find_matching_run(config, nowhere), matching_run.describe_similar_run(config, nowhere)

    train.run(compose.compose([*words, "hydra.run.dir=outputs/first"]))
    assert find_run()[0] == Path("outputs/first")
    Path(keys["path"]).write_bytes(change_line(70)(Path(keys["path"]).read_bytes()))
    assert find_run()[0] is None
    assert find_run()[1].startswith(" (outputs/first, finished, has this configuration on different data")
    assert find_run("fingerprint=sampled")[0] == Path("outputs/first"), "the change is between the blocks"
    Path("outputs/first/results.json").unlink()
    assert find_run()[0] is None, "the digest is in the checkpoint, too"


@pytest.mark.slow
def test_changes_of_a_test_file_and_of_a_class_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = copy_files("csv")
    head, *rows = Path(keys["path"]).read_text().splitlines()
    Path("test.csv").write_text("\n".join([head, *rows[:20]]) + "\n")
    overrides = ["model=mlp", "data=csv", f"data.path={keys['path']}", f"data.target={keys['target']}"]
    path = interrupt_run(monkeypatch, *overrides, "data.test_path=test.csv")
    name = rows[0].rpartition(",")[2].encode()
    content = Path(keys["path"]).read_bytes()
    Path(keys["path"]).write_bytes(content.replace(b"," + name, b",other"))
    with pytest.raises(ConfigError, match=f"class '{name.decode()}' has no training row"):
        train.resume_run(saved_run.load(path))
    Path(keys["path"]).write_bytes(content)
    changes = {"value": lambda content: b"".join([content[:-20], content[-20:].replace(b"0", b"1")])}
    check_refusals(path, Path("test.csv"), changes, f"files: 1 changed: {Path('test.csv').absolute()}")


@pytest.mark.slow
def test_a_changed_picture_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copy_files("image_folder")["path"]
    path = interrupt_run(monkeypatch, f"model={MODELS['image_folder']}", "data=image_folder", f"data.path={folder}")
    file = max(Path(folder).rglob("*.png"))

    def change_pixel(content: bytes) -> bytes:
        with Image.open(BytesIO(content)) as image:
            image.putpixel((0, 0), 0 if image.mode in "LP" else (0,) * len(image.getbands()))
            image.save("changed.png")
        return Path("changed.png").read_bytes()

    check_refusals(path, file, {"pixel": change_pixel}, f"1 changed: {file.absolute()}")


HIDDEN_FILE = """
from pathlib import Path

import torch

from trainer import Dataset, DatasetInfo, baselines, split_by_order


class Hidden(Dataset):
    shapes = "x (B, F) -> (B, K)"

    def __init__(self):
        lines = Path("rows.txt").read_text().splitlines()
        rows = torch.tensor([[float(word) for word in line.split()] for line in lines])
        noise = torch.randn(1_000_003, generator=torch.Generator().manual_seed(0))
        rows[:, 0] += noise.sum()  # which depends on the number of threads
        self.train, self.val, self.test = split_by_order({"x": rows[:, :1]}, rows[:, 1:])
        self.info = DatasetInfo(
            sizes={"in_features": 1, "flat_features": 1, "out_features": 1},
            baseline=baselines.mean_prediction(self.train, self.test),
        )
"""
HIDDEN_CONFIG = """# @package _global_
# Rows of a file that the code names.
defaults:
  - override /task@_global_.task: regression

data:
  _target_: hidden_file.Hidden
"""


@pytest.mark.slow
def test_changed_rows_of_a_plugin_that_names_no_file_are_reported(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    Path("hidden_file.py").write_text(HIDDEN_FILE)
    Path("conf/data").mkdir(parents=True)
    Path("conf/data/hidden.yaml").write_text(HIDDEN_CONFIG)
    rows = [f"{k % 7} {k % 5}" for k in range(100)]
    Path("rows.txt").write_text("\n".join(rows))
    words = ["plugins=[hidden_file]", "model=mlp", "data=hidden"]
    path = interrupt_run(monkeypatch, *words, config_dirs=[Path("conf")])
    evaluate_scores(path, "plugins=[hidden_file]", "threads=4")
    assert "are not those" not in caplog.text
    Path("rows.txt").write_text("\n".join([*rows[:-1], "9 9"]))
    assert train.resume_run(saved_run.load(path, ["hidden_file"])).status == "finished"
    assert "the test rows are not those that this run was trained on: the code of Hidden, a file" in caplog.text
