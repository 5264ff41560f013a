"""Parsing of command-line flags and the arguments passed on to Hydra."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainer.cli import argv
from trainer.utils.errors import ConfigError


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--cfg", "job", "seed=1", "--resolve"], ["--cfg=job", "--resolve"]),
        (["-c=all", "-p", "model"], ["--cfg=all", "--package=model"]),
        (["--info", "seed=1"], ["--info=all"]),
        (["-i", "plugins"], ["--info=plugins"]),
        (["-m", "--config-dir", "/tmp", "seed=1,2", "-cd=/"], ["--multirun"]),
        (["-sc", "install=bash"], ["--shell-completion"]),
    ],
)
def test_make_hydra_args_normalizes_flags(arguments: list[str], expected: list[str]) -> None:
    argv.split_args(arguments)
    assert argv.make_hydra_args(arguments) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cfg"], "one of job, hydra, all"),
        (["--cfg", "jbo"], "'jbo' given; one of job, hydra, all"),
        (["--info=nope"], "one of all, config"),
        (["--resolve"], "add --cfg job"),
        (["--package", "model"], "add --cfg job"),
        (["--cfg", "job", "--package"], "takes a key"),
        (["-m", "--cfg", "job"], "--multirun and --cfg: these are different actions; keep one"),
        (["--info", "-sc"], "keep one"),
        (["-m=3"], "takes no value"),
        (["--config-dir"], "takes a directory"),
        (["--config-dir", "a\0b"], "does not exist"),
        (["--config-dir", "~nobody_of_that_name/x"], "is not a directory"),
        (["--config-dir", "n" * 999], "does not exist"),
        (["--config-path", "x"], "unknown option"),
        (["-cp", "x"], "unknown option"),
        (["--config-d", "x"], "unknown option; did you mean --config-dir?"),
        (["--"], "unknown option"),
        (["-r"], "unknown option"),
    ],
)
def test_invalid_flags_raise(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as excinfo:
        argv.split_args(arguments)
    assert message in str(excinfo.value)


def test_config_dir_that_is_a_file_raises() -> None:
    with pytest.raises(ConfigError, match=f"{__file__} is a file"):
        argv.split_args(["--config-dir", __file__])
    assert argv.split_args(["--config-dir", "."])[1] == [Path.cwd()]


@pytest.mark.parametrize("words", [[], ["install=foo"], ["install=bash", "query=bash"], ["seed=1"]])
def test_standalone_flags_refuse_other_arguments(words: list[str]) -> None:
    with pytest.raises(ConfigError, match="takes no other arguments"):
        argv.check_standalone_flag(words, [], {"--shell-completion"})
    argv.check_standalone_flag(["install=zsh"], [], {"--shell-completion"})
    with pytest.raises(ConfigError, match="takes no other arguments"):
        argv.check_standalone_flag(["seed=1"], [], {"--hydra-help"})
