"""The command ``train find`` as a stranger uses it."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tests.helpers.commands import SMALL, write
from tests.helpers.in_process import call_main

pytestmark = pytest.mark.usefixtures("in_tmp")


@pytest.mark.slow
def test_a_rate_is_printed_as_an_override_and_its_curve_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = call_main(capsys, monkeypatch, "find", "lr", *SMALL, "output=curve")
    assert code == 0, out
    assert sorted(path.name for path in Path().rglob("*")) == ["curve", "learning_rate.csv", "learning_rate.png"]
    with open("curve/learning_rate.csv", newline="") as file:
        rates = [float(row["learning rate"]) for row in csv.DictReader(file)]
    assert read_rate(out) in rates


def read_rate(out: str) -> float:
    """Return the rate that is printed as an override."""
    (line,) = (line for line in out.splitlines() if line.startswith("optimizer.lr="))
    return float(line.partition("=")[2])


@pytest.mark.slow
def test_the_answer_is_printed_although_the_curve_cannot_be_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("file").write_text("")
    code, out, err = call_main(capsys, monkeypatch, "find", "lr", *SMALL, "output=file/curve")
    assert (code, read_rate(out) > 0, "file/curve" in err) == (4, True, True)


@pytest.mark.slow
def test_models_of_the_user_are_found(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    write(Path(), {"conf/model/tiny.yaml": "# own\ndefaults: [mlp]\nhidden: [4]\n"})
    words = ("--config-dir", "conf", "model=tiny", *SMALL[1:4], "threads=1")
    code, out, _ = call_main(capsys, monkeypatch, "find", "lr", *words)
    assert (code, read_rate(out) > 0) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "find: nothing given; one of lr, batch_size"),
        (("lrr",), "find: 'lrr' given; did you mean lr?"),
        (("lr", "modle=mlp"), "modle"),
        (("lr", "output="), "find output: '' given"),
        (("lr", "-m"), "find --multirun: it is about one run"),
        (("lr", "debug=overfit"), "debug=overfit: it checks one model on the command line"),
        (("lr", "debug=fast"), "find debug: fast given"),
        (("lr", "resume=auto"), "find resume: it is about a new run"),
    ],
)
def test_what_find_refuses(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    code, _, err = call_main(capsys, monkeypatch, "find", *arguments)
    assert (code, message in err) == (2, True), err
    assert not list(Path().iterdir())
