"""``train export`` on saved runs."""

from __future__ import annotations

import json
import shutil
from importlib import metadata
from pathlib import Path

import pytest
import torch

from tests.helpers.in_process import call_main, run, run_main
from tests.helpers.own_runs import train_run
from trainer.export import torch_export_format
from trainer.export.exportable import Exportable
from trainer.inference.load_run import load_run
from trainer.runs import saved_run

pytestmark = pytest.mark.usefixtures("in_tmp")


@pytest.fixture
def run_dir() -> Path:
    return Path(run().run_dir)


def load_program(path: Path) -> torch.nn.Module:
    return torch.export.load(path).module()


@pytest.mark.slow
def test_exported_files_hold_the_best_weights(
    run_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors import safe_open
    from safetensors.torch import load_file

    code, out, err = call_main(capsys, monkeypatch, "export", str(run_dir), "format=[safetensors,torch_export]")
    assert (code, err) == (0, "")
    folder = run_dir / "export"
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", "model.pt2", "check.json"}
    assert str(folder / "model.pt2") in out
    task, data = load_run(saved_run.load(run_dir), reads_files=False)
    weights = load_file(folder / "model.safetensors")
    assert weights.keys() == task.model.state_dict().keys()
    assert all(torch.equal(value, weights[name]) for name, value in task.model.state_dict().items())
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "version": "1"}
    x = data.test.batch(torch.arange(3), 0).inputs["x"]
    assert torch.equal(load_program(folder / "model.pt2")(x=x), task.model(x))


@pytest.mark.slow
def test_check_lists_sizes_cases_and_versions(
    run_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_main(capsys, monkeypatch, "export", str(run_dir), "format=torch_export", "output=out/here") == (0, "")
    check = json.loads(Path("out/here/check.json").read_text())
    assert check["format_version"] == 1
    assert check["versions"]["torch"] == metadata.version("torch")
    result = check["formats"]["torch_export"]
    assert result["inputs"] == {"x": {"dtype": "float32", "shape": ["batch", 2]}}
    assert result["file"] == "model.pt2"
    assert [case["sizes"]["batch"] for case in result["cases"]] == [1, 7, 64]
    assert result["largest_difference"] <= check["max_difference"] == 1e-4


@pytest.mark.slow
def test_training_files_are_not_needed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    path = train_run("csv")
    shutil.rmtree("files")
    assert run_main(capsys, monkeypatch, "export", str(path), "format=torch_export") == (0, "")


@pytest.mark.slow
def test_wrong_file_is_an_error_and_none_is_left(
    run_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = torch_export_format.write

    def write_other_weights(exportable: Exportable, directory: Path) -> None:
        write(exportable, directory)
        bias = exportable.task.model.get_parameter("head.bias")
        with torch.no_grad():
            bias += 2e-4

    arguments = ("export", str(run_dir), "format=[safetensors,torch_export]")
    assert run_main(capsys, monkeypatch, *arguments) == (0, "")
    earlier = (run_dir / "export" / "check.json").read_bytes()
    monkeypatch.setattr(torch_export_format, "write", write_other_weights)
    code, err = run_main(capsys, monkeypatch, *arguments)
    assert code == 1
    assert err.startswith("error: format=torch_export: the outputs of the exported file differ by 0.0002 at batch 1;")
    assert err.count("\n") == 1
    assert (run_dir / "export" / "check.json").read_bytes() == earlier, "an earlier export stays"
    code, _ = run_main(capsys, monkeypatch, *arguments, "output=fresh")
    assert code == 1
    assert not Path("fresh").exists()


@pytest.mark.slow
def test_model_that_cannot_be_exported_is_refused_in_a_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = ("model=neural_ode", "data=damped_oscillator", "data.rows=60", "model.solver=dopri5", "max_steps=1")
    path = Path(run(*overrides, "model.hidden=[4]").run_dir)
    code, err = run_main(capsys, monkeypatch, "export", str(path), "format=torch_export")
    assert code == 2
    reason = "solver: dopri5 takes as many steps as the data requires and cannot be exported; rk4 can"
    assert err == f"error: torch.export cannot trace this model: {reason}\n"
    assert not (path / "export").exists()


@pytest.mark.slow
def test_directory_with_other_files_is_refused(
    run_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("mine").mkdir()
    Path("mine/notes.txt").write_text("keep")
    monkeypatch.setenv("HOME", str(Path.cwd()))
    code, err = run_main(capsys, monkeypatch, "export", str(run_dir), "format=torch_export", "output=mine")
    assert (code, err) == (2, "error: export output: mine has files that no export wrote; choose another directory\n")
    code, err = run_main(capsys, monkeypatch, "export", str(run_dir), "format=onnx", "output=~/mine/notes.txt")
    path = Path.cwd() / "mine/notes.txt"
    assert (code, err) == (2, f"error: export output: {path} is a file, not a directory\n")
    assert Path("mine/notes.txt").read_text() == "keep"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "export format: missing; one or more of safetensors, torch_export, onnx"),
        (("format=onxx",), "export format: 'onxx' given; did you mean onnx?"),
        (("format=onnx", "ouput=x"), "export ouput: unknown key; did you mean output?"),
    ],
)
def test_wrong_arguments_are_refused(
    run_dir: Path,
    arguments: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code, err = run_main(capsys, monkeypatch, "export", str(run_dir), *arguments)
    assert code == 2
    assert message in err
