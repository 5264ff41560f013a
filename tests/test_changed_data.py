"""Changed data that a stored run may go on with: its rows are known again, wherever they stand and however written."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from own_runs import scores, trained

from trainer import checkpoint, preprocessing
from trainer.errors import ConfigError

pytestmark = pytest.mark.usefixtures("in_tmp")
ALLOWED = "allow_changed_data=true"


def the_file() -> Path:
    return next(Path("files").iterdir())


def test_a_number_is_the_same_however_it_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    path = trained("csv")
    before = scores(path)
    head, *rows = the_file().read_text().splitlines()
    the_file().write_text("\n".join([head, *(row.replace(",", "0,", 1) for row in rows)]) + "\n")
    capsys.readouterr()
    assert scores(path, ALLOWED) == before
    assert "never read" not in capsys.readouterr().err


def test_copies_of_rows_are_where_those_are(capsys: pytest.CaptureFixture[str]) -> None:
    """As test rows, copies of training rows would flatter."""
    path = trained("csv")
    before = scores(path)
    head, *rows = the_file().read_text().splitlines()
    the_file().write_text("\n".join([head, *rows, *rows]) + "\n")
    assert scores(path, ALLOWED) == pytest.approx(before, rel=1e-6)
    assert "rows: 120 that are copies of others stay with them" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["csv_series", "text_file"])
def test_what_is_put_in_front_of_a_sequence_makes_no_trained_part_a_test(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = trained(name, *(["data.time=null", "data.columns=[a,b]"] if name == "csv_series" else []))
    before = scores(path)
    text = the_file().read_text()
    if name == "csv_series":
        head, *rows = text.splitlines()
        draw = random.Random(1)
        older = [f"2019-12-{1 + n // 24:02d} {n % 24:02d}:00,{draw.random()},{n + draw.random()}" for n in range(60)]
        the_file().write_text("\n".join([head, *older, *rows]) + "\n")
    else:
        the_file().write_text("what stood here before was never read\n" * 30 + text)
    assert scores(path, ALLOWED) == pytest.approx(before, rel=1e-6)
    assert "data: validation begins at " in capsys.readouterr().err


@pytest.mark.parametrize(("name", "left"), [("csv_series", 80), ("text_file", 150)])
def test_where_a_part_began_may_be_lost(name: str, left: int) -> None:
    path = trained(name)
    lines = the_file().read_text().splitlines()
    draw = random.Random(0)
    others = [" ".join(draw.choices("abcdefgh", k=20)) for _ in lines[left:]] if name == "text_file" else []
    the_file().write_text("\n".join([*lines[:left], *others]) + "\n")
    with pytest.raises(ConfigError, match=r"where the .* part began cannot be told"):
        scores(path, ALLOWED)


def test_a_run_of_before_knows_its_rows_by_how_they_were_written(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(preprocessing.Preprocessing.__init__, "__defaults__", (None, 1))
        path = trained("csv")
    before = scores(path)
    assert checkpoint.load(path / checkpoint.BEST)["data"]["version"] == 1
    assert scores(path) == before
    the_file().write_text(the_file().read_text().rstrip("\n") + "\n\n")
    assert scores(path, ALLOWED) == before
