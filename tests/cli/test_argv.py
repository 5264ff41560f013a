"""Flags are read once, and Hydra is given what was read."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainer.cli import argv
from trainer.utils.errors import ConfigError


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        (["--cfg", "job", "seed=1", "--resolve"], ["--cfg=job", "--resolve"]),
        (["-c=all", "-p", "model"], ["--cfg=all", "--package=model"]),
        (["--info", "seed=1"], ["--info=all"]),
        (["-i", "plugins"], ["--info=plugins"]),
        (["-m", "--config-dir", "/tmp", "seed=1,2", "-cd=/"], ["--multirun"]),
        (["-sc", "install=bash"], ["--shell-completion"]),
    ],
)
def test_what_hydra_is_given(arguments: list[str], given: list[str]) -> None:
    argv.split_args(arguments)
    assert argv.make_hydra_args(arguments) == given


@pytest.mark.parametrize(
    ("arguments", "said"),
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
def test_invalid_loggers_and_callbacks_are_refused(arguments: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        argv.split_args(arguments)
    assert said in str(caught.value)


def test_a_file_is_not_a_folder() -> None:
    with pytest.raises(ConfigError, match=f"{__file__} is a file"):
        argv.split_args(["--config-dir", __file__])
    assert argv.split_args(["--config-dir", "."])[1] == [Path.cwd()]


@pytest.mark.parametrize("words", [[], ["install=foo"], ["install=bash", "query=bash"], ["seed=1"]])
def test_completion_is_for_one_shell(words: list[str]) -> None:
    with pytest.raises(ConfigError, match="takes no other arguments"):
        argv.check_standalone_flag(words, [], {"--shell-completion"})
    argv.check_standalone_flag(["install=zsh"], [], {"--shell-completion"})
    with pytest.raises(ConfigError, match="takes no other arguments"):
        argv.check_standalone_flag(["seed=1"], [], {"--hydra-help"})
