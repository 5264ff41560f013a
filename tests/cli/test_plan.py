"""The command ``train plan`` as a stranger uses it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.commands import SMALL, write
from tests.helpers.in_process import call_main

pytestmark = pytest.mark.usefixtures("in_tmp")


@pytest.mark.slow
def test_a_plan_is_written_and_nothing_else(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAIN_DATA", "cache")
    code, out, _ = call_main(capsys, monkeypatch, "plan", *SMALL, "output=plan.json")
    assert (code, [path.name for path in Path().iterdir()]) == (0, ["plan.json"])
    assert "saved in plan.json" in out
    (run,) = json.loads(Path("plan.json").read_text())["runs"]
    assert (run["parameters"], run["steps"], run["rows"]["train"]) == (17, 6, [180, "rows"])
    # Forward: 2 x 4 and 4 x 1 products a row. Backward: as many for the weights, 4 x 1 for the hidden values.
    assert run["multiply_adds_per_step"] == 64 * (8 + 4 + 8 + 4 + 4)
    assert min(run["seconds"], run["memory_bytes"], run["disk_bytes"]) > 0


@pytest.mark.slow
def test_models_of_the_user_are_planned(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    write(Path(), {"conf/model/tiny.yaml": "# own\ndefaults: [mlp]\nhidden: [4]\n"})
    code, out, _ = call_main(capsys, monkeypatch, "plan", "--config-dir", "conf", "model=tiny", *SMALL[1:4])
    assert (code, "tiny on moons: 17 parameters" in out) == (0, True), out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("modle=mlp",), "modle"),
        (("model=cnn", "data=moons"), "model cnn needs x"),
        (("output=plan.txt",), "plan output: 'plan.txt' given; a plan is written to a .json file"),
        (("hydra/launcher=slurm", "-m"), "a plan is about processes of this machine"),
        (("output=nope/plan.json",), "nope does not exist; the nearest directory that exists is"),
        (("search", "model=mlp"), "plan search: a plan takes the keys of a run, as in: train plan model="),
        (("", "model=mlp"), "cannot read '' as KEY=VALUE"),
        (("--cfg", "job"), "plan --cfg: a plan is about runs"),
        (("debug=overfit",), "debug=overfit: it checks one model on the command line"),
        (("resume=outputs/x",), "plan resume: a plan is about a new run"),
    ],
)
def test_what_a_plan_refuses(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    code, _, err = call_main(capsys, monkeypatch, "plan", *arguments)
    assert (code, message in err) == (2, True), err
    assert not list(Path().iterdir())
