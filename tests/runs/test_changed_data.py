"""Saved runs on changed data files: which rows are matched to their former splits, and what is refused."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.marks import mark_slow_after
from tests.helpers.own_runs import evaluate_scores, train_run
from trainer.core import preprocessing
from trainer.engine import checkpoint, factory
from trainer.inference import inspection
from trainer.runs import saved_run
from trainer.utils.errors import ConfigError

pytestmark = pytest.mark.usefixtures("in_tmp")
ALLOWED = "allow_changed_data=true"


def data_file() -> Path:
    return next(Path("files").iterdir())


@pytest.mark.slow
def test_equal_numbers_match_in_any_notation(capsys: pytest.CaptureFixture[str]) -> None:
    path = train_run("csv")
    before = evaluate_scores(path)
    head, *rows = data_file().read_text().splitlines()
    data_file().write_text("\n".join([head, *(row.replace(",", "0,", 1) for row in rows)]) + "\n")
    capsys.readouterr()
    assert evaluate_scores(path, ALLOWED) == before
    assert "does not know" not in capsys.readouterr().err


@pytest.mark.slow
def test_copies_of_rows_are_in_the_same_split(capsys: pytest.CaptureFixture[str]) -> None:
    """Copies of training rows among the test rows would improve the score."""
    path = train_run("csv")
    before = evaluate_scores(path)
    head, *rows = data_file().read_text().splitlines()
    data_file().write_text("\n".join([head, *rows, *rows]) + "\n")
    assert evaluate_scores(path, ALLOWED) == pytest.approx(before, rel=1e-6)
    assert "rows: 120 copies are in the split of the original" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", mark_slow_after(1, ["text_file", "csv_series"]))
def test_prepended_rows_do_not_move_training_rows_to_test(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = train_run(name, *(["data.time=null", "data.columns=[a,b]"] if name == "csv_series" else []))
    before = evaluate_scores(path)
    text = data_file().read_text()
    if name == "csv_series":
        head, *rows = text.splitlines()
        draw = random.Random(1)
        older = [f"2019-12-{1 + n // 24:02d} {n % 24:02d}:00,{draw.random()},{n + draw.random()}" for n in range(60)]
        data_file().write_text("\n".join([head, *older, *rows]) + "\n")
    else:
        data_file().write_text("an introduction that was not there\n" * 30 + text)
    assert evaluate_scores(path, ALLOWED) == pytest.approx(before, rel=1e-6)
    assert "data: validation now starts at " in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(("name", "num_unchanged"), [("csv_series", 80), ("text_file", 150)])
def test_unlocatable_split_start_raises(name: str, num_unchanged: int) -> None:
    path = train_run(name)
    lines = data_file().read_text().splitlines()
    draw = random.Random(0)
    replaced = [" ".join(draw.choices("abcdefgh", k=20)) for _ in lines[num_unchanged:]] if name == "text_file" else []
    data_file().write_text("\n".join([*lines[:num_unchanged], *replaced]) + "\n")
    with pytest.raises(ConfigError, match=r"cannot locate the start of the .* split"):
        evaluate_scores(path, ALLOWED)


@pytest.mark.slow
def test_an_older_run_matches_rows_by_their_text(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(preprocessing.Preprocessing.__init__, "__defaults__", (None, 1))
        path = train_run("csv")
    before = evaluate_scores(path)
    assert checkpoint.load_checkpoint(path / checkpoint.BEST)["data"]["version"] == 1
    assert evaluate_scores(path) == before
    data_file().write_text(data_file().read_text().rstrip("\n") + "\n\n")
    assert evaluate_scores(path, ALLOWED) == before


@pytest.mark.slow
def test_out_of_range_value_in_changed_data_raises() -> None:
    path = train_run("csv")
    data_file().write_text(data_file().read_text().rstrip("\n") + "\n1e20,0.1,x,yes\n")
    with pytest.raises(ConfigError, match="'1e20' is more than 1e"):
        evaluate_scores(path, ALLOWED)


def test_non_feature_columns_may_be_dropped() -> None:
    path = train_run("csv", "data.drop_columns=[b]")
    before = evaluate_scores(path)
    rows = [line.split(",") for line in data_file().read_text().splitlines()]
    data_file().write_text("\n".join(f"{a},{kind},{label}" for a, _, kind, label in rows) + "\n")
    assert evaluate_scores(path, ALLOWED) == before


def test_error_for_unencodable_data_does_not_suggest_allow_changed_data() -> None:
    path = train_run("csv")
    rows = [line.split(",") for line in data_file().read_text().splitlines()]
    data_file().write_text("\n".join(",".join([a, *more]) for a, _, *more in rows) + "\n")
    with pytest.raises(ConfigError) as caught:
        evaluate_scores(path)
    assert "columns: missing b" in str(caught.value)
    assert "it cannot be encoded as in training: " in str(caught.value)
    assert ALLOWED not in str(caught.value)


def test_files_modified_while_reading_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fingerprint would describe data that the run has not read."""
    read = factory.make_dataset

    def read_then_modify(*arguments: Any) -> Any:
        data = read(*arguments)
        path = data_file()
        path.with_name("new").write_text(path.read_text() + "0.1,0.2,x,no\n")
        os.utime(path.with_name("new"), (1, 1))
        path.with_name("new").rename(path)
        return data

    monkeypatch.setattr(factory, "make_dataset", read_then_modify)
    with pytest.raises(ConfigError, match="the data changed while it was read: files: 1 changed"):
        train_run("csv")


@pytest.mark.slow
def test_feature_maps_of_stored_rows_need_no_files() -> None:
    path = train_run("image_folder", "model=cnn")
    saved = saved_run.load(path)
    before = inspection.draw_feature_maps(saved, "trunk.0", 3).read_bytes()
    shutil.rmtree("files")
    assert inspection.draw_feature_maps(saved, "trunk.0", 3).read_bytes() == before
    with pytest.raises(ConfigError, match="does not exist, which this run was trained on"):
        inspection.draw_feature_maps(saved, "trunk.0", 99)


@pytest.mark.parametrize(
    ("model", "verbs"),
    [
        ("model=mlp", "these need no data: train show RUN"),
        ("model=real_nvp", "these need no data: train sample RUN, train score RUN input=PATH, train show RUN"),
    ],
)
@pytest.mark.slow
def test_verbs_that_need_no_data_are_reported(model: str, verbs: str) -> None:
    path = train_run("csv", model)
    shutil.rmtree("files")
    with pytest.raises(ConfigError) as caught:
        evaluate_scores(path)
    assert caught.value.problems[-1] == verbs


@pytest.mark.slow
def test_a_renamed_file_is_reported_as_new(capsys: pytest.CaptureFixture[str]) -> None:
    path = train_run("image_folder")
    first = min(Path("files/kinds/dark").iterdir())
    first.rename(first.with_name("zebra.png"))
    evaluate_scores(path, ALLOWED)
    assert "1 new (by path), added to the test rows" in capsys.readouterr().err
