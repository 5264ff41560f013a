"""An override that YAML cannot read, or that stands for more than is sane, is shown as the text it is."""

from __future__ import annotations

from pathlib import Path
from time import monotonic

import pytest

from tests.helpers.finished_runs import make_config, read_leaderboard, write_run
from trainer.runs.finished_runs import read_runs

ALIASES = "{a0: &a0 [x, x, x, x, x, x, x, x, x]"
ALIASES += "".join(f", a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 20)) + "}"
UNREADABLE = {
    "depth": "[" * 3000,
    "depth that is closed": "[" * 3000 + "]" * 3000,
    "aliases": ALIASES,
    "a list that holds itself": "&a [*a]",
    "a number of many digits": "1" * 5000,
    "a number of many digits, otherwise": "0b" + "1" * 20000,
    "a truth that is none": "!!bool x",
    "a number that is none": "!!int ''",
    "a time that is none": "!!timestamp x",
    "bytes that are none": "!!binary é",
    "code": "!!python/name:os.system",
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_an_unparsable_value_is_a_string(name: str, tmp_path: Path) -> None:
    text = UNREADABLE[name]
    started = monotonic()
    for seed in (0, 1):
        write_run(tmp_path, str(seed), make_config(seed), [f"seed={seed}", f"data.missing={text}"])
    (tmp_path / "1/config.yaml").write_text(f"seed: 1\ndata: {text}\n")
    (first, second) = read_runs(tmp_path)
    assert first.explicit_overrides["data.missing"] == second.config["data.missing"] == text
    assert len(read_leaderboard(tmp_path)) == 2
    assert monotonic() - started < 5


@pytest.mark.parametrize("text", ["[0000-00-00]", "[2024-13-01]", "[2024-01-31]"])
def test_a_date_is_the_text_that_it_is_to_hydra(text: str, tmp_path: Path) -> None:
    write_run(tmp_path, "a", make_config(), [f"data.missing={text}"])
    (tmp_path / "a/config.yaml").write_text(f"seed: 0\ndata:\n  missing: {text}\n")
    (run,) = read_runs(tmp_path)
    assert run.explicit_overrides["data.missing"] == run.config["data.missing"] == [text[1:-1]]
