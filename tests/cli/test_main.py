"""Commands of ``train``: imports, error messages, lists and keys."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import get_type_hints

import pytest

from tests.helpers.commands import SMALL, environment, train, write
from tests.helpers.in_process import run_main
from tests.helpers.marks import mark_slow_after
from trainer.cli import main
from trainer.config import registry
from trainer.config.schema import Settings
from trainer.utils.errors import ConfigError

IMPORT_REPORT = """
import sys
sys.argv = ["train", *{arguments!r}]
from trainer.cli.main import main
try:
    main()
except SystemExit as end:
    code = end.code
heavy = ("hydra", "omegaconf", "torch", "rich", "numpy")
print(code, *(name for name in heavy if name in sys.modules), file=sys.stderr)
"""


# Imports.


@pytest.mark.parametrize(
    ("arguments", "code", "modules"),
    mark_slow_after(
        3,
        [
            (["--help"], 0, []),
            (["sample", "--help"], 0, []),
            (["show", "model=lstm"], 0, []),
            (["model=lstmm", "optimizer.lrr=1", "epochs=x"], 2, ["hydra", "omegaconf"]),
            (["list"], 0, []),
            (["list", "models", "data"], 0, []),
            (["show"], 0, []),
            (["shwo"], 2, []),
            (["model=gcn", "data=synthetic_seq"], 2, ["hydra", "omegaconf"]),
            (["model._target_=torch.load"], 2, ["hydra", "omegaconf"]),
            (["device=gpu"], 2, ["hydra", "omegaconf"]),
            (["resume", "nope"], 2, ["hydra", "omegaconf"]),
            (["evaluate", "nope"], 2, ["hydra", "omegaconf"]),
            (["-m", "model=lstm,nope"], 2, ["hydra", "omegaconf"]),
        ],
    ),
)
def test_command_imports_only_the_libraries_it_needs(
    arguments: list[str], code: int, modules: list[str], tmp_path: Path
) -> None:
    import subprocess

    script = IMPORT_REPORT.format(arguments=arguments)
    command = [sys.executable, "-P", "-c", script]
    process = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True)
    assert process.stderr.splitlines()[-1].split() == [str(code), *modules]
    assert list(tmp_path.iterdir()) == []


# Error messages.


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["model=lstmm"], 2, ["model 'lstmm' not found", "did you mean lstm?", "choices: "]),
        (["optimizer.lrr=1"], 2, ["optimizer.lrr: unknown key; did you mean optimizer.lr?"]),
        ([*SMALL, "optimizer.lr=abc"], 2, ["optimizer.lr: 'abc' given; it must be a number > 0"]),
        (["model=gcn", "data=synthetic_seq"], 2, ["model gcn needs x (N, F)", "synthetic_seq", "works with:"]),
        (["seed=[1"], 2, ["cannot read 'seed=[1'", "^"]),
        ([*SMALL, "data.rows=3", "drop_last=true"], 2, ["drop_last"]),
        (
            [*SMALL, "device=gpu"],
            2,
            ["device: 'gpu' given; it must be one of auto, cpu, cuda, mps or text like cuda:1"],
        ),
        ([*SMALL, "monitor=acuracy"], 2, ["monitor: 'acuracy'", "did you mean accuracy?"]),
        (
            [*SMALL, "resume=/nope/run"],
            2,
            ["/nope/run is not a run directory", "the nearest directory that exists is /"],
        ),
        (["resume", "nope/run"], 2, ["nope/run is not a run directory"]),
        (["evaluate", "/nope"], 2, ["/nope is not a run directory"]),
        (["evaluate", "n" * 999], 2, ["is not a run directory"]),
        (["report", "/nope"], 2, ["/nope"]),
        (
            ["--config-dir", "/nope/conf", *SMALL],
            2,
            ["/nope/conf does not exist; the nearest directory that exists is /"],
        ),
        (
            ["--config-dir", __file__, *SMALL],
            2,
            [f"{__file__} is a file"],
        ),
        (["evaluate", __file__], 2, [f"{__file__} is a file"]),
        ([*SMALL, "model._target_=os.system"], 2, ["target 'os.system' is not on the allow-list"]),
    ],
)
def test_bad_input_is_reported_in_a_few_lines(
    arguments: list[str],
    code: int,
    words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    exit_code, stderr = run_main(capsys, monkeypatch, *arguments)
    assert exit_code == code, stderr
    assert stderr.startswith("error: ")
    assert len(stderr.strip().splitlines()) <= 10
    for word in words:
        assert word in stderr
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["model=lstmm", "optimizer.lrr=1"], "did you mean lstm?"),
        ([*SMALL, "data.rows=3", "drop_last=true"], "drop_last"),
        (["resume", "nope/run"], "nope/run is not a run directory"),
    ],
)
@pytest.mark.slow
def test_subprocess_reports_bad_input_without_traceback(arguments: list[str], words: str, tmp_path: Path) -> None:
    process = train(*arguments, cwd=tmp_path)
    assert (process.returncode, words in process.stderr, process.stdout.strip()) == (2, True, "")
    assert "Traceback" not in process.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("name", ["cuda", "cuda:99", "mps"])
def test_a_missing_device_is_an_environment_error(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    if (name == "cuda" and torch.cuda.is_available()) or (name == "mps" and torch.backends.mps.is_available()):
        pytest.skip("this machine has one")
    monkeypatch.chdir(tmp_path)
    code, stderr = run_main(capsys, monkeypatch, *SMALL, f"device={name}")
    assert (code, f"device={name}" in stderr) == (4, True), stderr
    assert list(tmp_path.rglob("*")) == []


def test_outputs_that_is_a_file_is_a_system_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(write(tmp_path, {"outputs": "a file"}))
    code, stderr = run_main(capsys, monkeypatch, *SMALL)
    assert (code, "cannot create" in stderr) == (4, True), stderr


def test_debug_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train", "model=lstmm", "debug=true"])
    with pytest.raises(ConfigError):
        main.main()
    monkeypatch.setattr(sys, "argv", ["train", "model=lstmm"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(ConfigError):
        main.main()


@pytest.mark.slow
def test_many_problems_are_cut_to_ten_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, stderr = run_main(capsys, monkeypatch, *(f"nonsense{i}=1" for i in range(30)))
    assert code == 2
    assert len(stderr.strip().splitlines()) == 10
    assert "... and 21 more" in stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lsit"], "unknown command 'lsit'; did you mean list?"),
        (["lstm"], "unknown command 'lstm'; choose it by: train model=lstm"),
        (["digits"], "choose it by: train data=digits"),
        (["list", "modles"], "did you mean models?"),
        (["show", "modle=lstm"], "did you mean model?"),
        (["show", "model=lstmm"], "did you mean lstm?"),
        (["--confg-dir", "x"], "--confg-dir: unknown option; did you mean --config-dir?"),
        (["--config-dir"], "--config-dir"),
        (["resume"], "takes one run directory"),
        (["resume", "a", "b"], "takes one run directory"),
        (["report", "a", "b"], "takes one directory"),
        (["show", "lstm"], "there is no run directory lstm; to show the option: train show model=lstm"),
        (["show", "digit"], "there is no run directory digit; did you mean digits?"),
        (["sample"], "12-00-00-char_lstm-tinyshakespeare prompt="),
        (["score"], "12-00-00-vae-digits input="),
        (["--shell-completion"], "train --shell-completion install=bash"),
        (["-m", "seed=0,1", "hydra/sweeper=optuna"], "hydra/sweeper 'optuna' is not installed; installed: basic"),
        (["-m", "seed=0,1", "hydra/launcher=jobllib"], "hydra/launcher 'jobllib' does not exist; did you mean joblib?"),
        (["hydra/launcher=joblib"], "hydra/launcher: it starts the jobs of a sweep, maybe of a single one; add -m"),
        (["-m", "seed=0,1", "api_key=SECRET", "hydra/sweeper=basic"], "use ${oc.env:NAME} instead"),
        (["\x1b[2Jlist"], r"unknown command '\x1b[2Jlist'"),
        (["evaluate", "caf\udce9\x1b[31m"], r"caf\udce9\x1b[31m does not exist"),
        (["=3"], "there is no key before ="),
        (["model", "mlp"], "unknown command 'model': it is a configuration key; set it by: train model=mlp"),
        (["epochs"], "set it by: train epochs=VALUE"),
        (["list", "lstm"], "train list lstm: unknown; show it by: train show model=lstm; one of"),
        (["list", "modls"], "did you mean models?"),
    ],
)
def test_wrong_verb_arguments_are_reported_with_a_hint(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, stderr = run_main(capsys, monkeypatch, *arguments)
    assert (code, words in stderr) == (2, True), stderr


@pytest.mark.parametrize("option", ["optimizer=adamw", "model=gat"])
def test_show_omits_the_args_section_of_the_docstring(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run_command(["show", option]) == 0
    output = capsys.readouterr().out
    assert "Args:" not in output
    assert "\n\nReferences:\n    " in output
    assert "    lr: " not in output


def test_version_flag_prints_the_package_name(capsys: pytest.CaptureFixture[str]) -> None:
    from trainer.cli import main

    assert main.run_command(["--version"]) == 0
    assert capsys.readouterr().out.startswith("train-zoo ")


def test_long_error_line_is_truncated() -> None:
    from trainer.cli import main

    line = main.format_error(ConfigError("x" * 10_000))
    assert len(line) < 2100
    assert line.endswith(" ...")


# Lists and keys.


@pytest.fixture
def unlimited_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unset ``COLUMNS``, so that lines are as long as in a file."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.mark.usefixtures("unlimited_width")
@pytest.mark.slow
def test_list_and_show_print_every_option_and_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run_command(["list"]) == 0
    listing = capsys.readouterr().out
    assert listing.count("Shapes: B batch, ") == 1
    for group in registry.GROUPS:
        for name, option in registry.list_options(group).items():
            assert any(row.startswith(name) and option.description in row for row in listing.splitlines()), name
            assert main.run_command(["show", f"{group}={name}"]) == 0
            output = capsys.readouterr().out
            for key, _, meaning in option.find_entries():
                if f"{group}.{key} " in output:
                    assert meaning in output
    assert main.run_command(["show"]) == 0
    output = capsys.readouterr().out
    for key in get_type_hints(Settings):
        assert any(row.startswith(key) for row in output.splitlines()), key


@pytest.mark.usefixtures("unlimited_width")
def test_show_gives_type_default_and_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    main.run_command(["show", "model=lstm"])
    row = next(row for row in capsys.readouterr().out.splitlines() if row.startswith("model.hidden_size"))
    assert row.split("  ")[0] == "model.hidden_size"
    for word in (" 64 ", "a whole number >= 1", "hidden state size"):
        assert word in row


def test_show_lists_overrides_outside_the_group(capsys: pytest.CaptureFixture[str]) -> None:
    main.run_command(["show", "model=dcgan"])
    _, table = capsys.readouterr().out.split("ALSO SETS")
    rows = {row.split()[0]: " ".join(row.split()[1:]) for row in table.splitlines()[1:] if row}
    assert (rows["task"], rows["scheduler"], rows["optimizer.betas"]) == ("gan", "none", "[0.5, 0.99]")
    assert rows["epochs"] == "80 for about 1,000 images; a few for 60,000"
    assert "model.latent" not in rows
    main.run_command(["show", "scheduler=cosine"])
    assert "SETS" not in capsys.readouterr().out
