"""Changed data that a stored run may go on with: its rows are known again, wherever they stand and however written."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.own_runs import evaluate_scores, train_run
from trainer.core import preprocessing
from trainer.engine import checkpoint, factory
from trainer.runs import inspection, saved_run
from trainer.utils.errors import ConfigError

pytestmark = pytest.mark.usefixtures("in_tmp")
ALLOWED = "allow_changed_data=true"


def the_file() -> Path:
    return next(Path("files").iterdir())


def test_equal_numbers_match_in_any_notation(capsys: pytest.CaptureFixture[str]) -> None:
    path = train_run("csv")
    before = evaluate_scores(path)
    head, *rows = the_file().read_text().splitlines()
    the_file().write_text("\n".join([head, *(row.replace(",", "0,", 1) for row in rows)]) + "\n")
    capsys.readouterr()
    assert evaluate_scores(path, ALLOWED) == before
    assert "does not know" not in capsys.readouterr().err


def test_copies_of_rows_are_in_the_same_split(capsys: pytest.CaptureFixture[str]) -> None:
    """As test rows, copies of training rows would flatter."""
    path = train_run("csv")
    before = evaluate_scores(path)
    head, *rows = the_file().read_text().splitlines()
    the_file().write_text("\n".join([head, *rows, *rows]) + "\n")
    assert evaluate_scores(path, ALLOWED) == pytest.approx(before, rel=1e-6)
    assert "rows: 120 copies are in the split of the original" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["csv_series", "text_file"])
def test_what_is_put_in_front_of_a_sequence_makes_no_trained_part_a_test(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = train_run(name, *(["data.time=null", "data.columns=[a,b]"] if name == "csv_series" else []))
    before = evaluate_scores(path)
    text = the_file().read_text()
    if name == "csv_series":
        head, *rows = text.splitlines()
        draw = random.Random(1)
        older = [f"2019-12-{1 + n // 24:02d} {n % 24:02d}:00,{draw.random()},{n + draw.random()}" for n in range(60)]
        the_file().write_text("\n".join([head, *older, *rows]) + "\n")
    else:
        the_file().write_text("what stood here before was never read\n" * 30 + text)
    assert evaluate_scores(path, ALLOWED) == pytest.approx(before, rel=1e-6)
    assert "data: validation now starts at " in capsys.readouterr().err


@pytest.mark.parametrize(("name", "left"), [("csv_series", 80), ("text_file", 150)])
def test_where_a_part_began_may_be_lost(name: str, left: int) -> None:
    path = train_run(name)
    lines = the_file().read_text().splitlines()
    draw = random.Random(0)
    others = [" ".join(draw.choices("abcdefgh", k=20)) for _ in lines[left:]] if name == "text_file" else []
    the_file().write_text("\n".join([*lines[:left], *others]) + "\n")
    with pytest.raises(ConfigError, match=r"cannot locate the start of the .* split"):
        evaluate_scores(path, ALLOWED)


def test_an_older_run_matches_rows_by_their_text(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(preprocessing.Preprocessing.__init__, "__defaults__", (None, 1))
        path = train_run("csv")
    before = evaluate_scores(path)
    assert checkpoint.load_checkpoint(path / checkpoint.BEST)["data"]["version"] == 1
    assert evaluate_scores(path) == before
    the_file().write_text(the_file().read_text().rstrip("\n") + "\n\n")
    assert evaluate_scores(path, ALLOWED) == before


def test_what_a_file_of_rows_may_not_hold_changed_data_may_not_either() -> None:
    path = train_run("csv")
    the_file().write_text(the_file().read_text().rstrip("\n") + "\n1e20,0.1,x,yes\n")
    with pytest.raises(ConfigError, match="'1e20' is more than 1e"):
        evaluate_scores(path, ALLOWED)


def test_non_feature_columns_may_be_dropped() -> None:
    path = train_run("csv", "data.drop_columns=[b]")
    before = evaluate_scores(path)
    rows = [line.split(",") for line in the_file().read_text().splitlines()]
    the_file().write_text("\n".join(f"{a},{kind},{label}" for a, _, kind, label in rows) + "\n")
    assert evaluate_scores(path, ALLOWED) == before


def test_what_cannot_be_encoded_is_not_said_to_be_allowed() -> None:
    path = train_run("csv")
    rows = [line.split(",") for line in the_file().read_text().splitlines()]
    the_file().write_text("\n".join(",".join([a, *more]) for a, _, *more in rows) + "\n")
    with pytest.raises(ConfigError) as caught:
        evaluate_scores(path)
    assert "columns: missing b" in str(caught.value)
    assert "it cannot be encoded as in training: " in str(caught.value)
    assert ALLOWED not in str(caught.value)


def test_files_that_are_written_while_they_are_read_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a run would have the fingerprint of what it never read."""
    read = factory.make_dataset

    def replace_before(*arguments: Any) -> Any:
        data = read(*arguments)
        path = the_file()
        path.with_name("new").write_text(path.read_text() + "0.1,0.2,x,no\n")
        os.utime(path.with_name("new"), (1, 1))
        path.with_name("new").rename(path)
        return data

    monkeypatch.setattr(factory, "make_dataset", replace_before)
    with pytest.raises(ConfigError, match="the data changed while it was read: files: 1 changed"):
        train_run("csv")


@pytest.mark.slow
def test_the_first_rows_are_drawn_without_their_files() -> None:
    path = train_run("image_folder", "model=cnn")
    kept = saved_run.load(path)
    before = inspection.draw_feature_maps(kept, "trunk.0", 3).read_bytes()
    shutil.rmtree("files")
    assert inspection.draw_feature_maps(kept, "trunk.0", 3).read_bytes() == before
    with pytest.raises(ConfigError, match="does not exist, which this run was trained on"):
        inspection.draw_feature_maps(kept, "trunk.0", 99)


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


def test_a_renamed_file_is_reported_as_new(capsys: pytest.CaptureFixture[str]) -> None:
    path = train_run("image_folder")
    first = min(Path("files/kinds/dark").iterdir())
    first.rename(first.with_name("zebra.png"))
    evaluate_scores(path, ALLOWED)
    assert "1 new (by path), added to the test rows" in capsys.readouterr().err
