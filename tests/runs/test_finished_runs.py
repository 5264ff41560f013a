"""Overrides that YAML cannot parse, or whose aliases expand too far, are read as text."""

from __future__ import annotations

from pathlib import Path
from time import process_time

import pytest

from tests.helpers.finished_runs import make_config, read_leaderboard, write_run
from trainer.runs.finished_runs import read_runs

ALIASES = "{a0: &a0 [x, x, x, x, x, x, x, x, x]"
ALIASES += "".join(f", a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 20)) + "}"
UNPARSABLE = {
    "unclosed nesting": "[" * 3000,
    "deep nesting": "[" * 3000 + "]" * 3000,
    "aliases": ALIASES,
    "recursive list": "&a [*a]",
    "integer of many digits": "1" * 5000,
    "binary integer of many digits": "0b" + "1" * 20000,
    "invalid bool": "!!bool x",
    "invalid int": "!!int ''",
    "invalid timestamp": "!!timestamp x",
    "invalid binary": "!!binary é",
    "python tag": "!!python/name:os.system",
}


@pytest.mark.parametrize("name", UNPARSABLE)
def test_an_unparsable_value_is_a_string(name: str, tmp_path: Path) -> None:
    text = UNPARSABLE[name]
    started = process_time()  # not of other processes
    for seed in (0, 1):
        write_run(tmp_path, str(seed), make_config(seed), [f"seed={seed}", f"data.missing={text}"])
    (tmp_path / "1/config.yaml").write_text(f"seed: 1\ndata: {text}\n")
    (first, second) = read_runs(tmp_path)
    assert first.explicit_overrides["data.missing"] == second.config["data.missing"] == text
    assert len(read_leaderboard(tmp_path)) == 2
    assert process_time() - started < 5


@pytest.mark.parametrize("text", ["[0000-00-00]", "[2024-13-01]", "[2024-01-31]"])
def test_date_is_read_as_text_like_in_hydra(text: str, tmp_path: Path) -> None:
    write_run(tmp_path, "a", make_config(), [f"data.missing={text}"])
    (tmp_path / "a/config.yaml").write_text(f"seed: 0\ndata:\n  missing: {text}\n")
    (run,) = read_runs(tmp_path)
    assert run.explicit_overrides["data.missing"] == run.config["data.missing"] == [text[1:-1]]


def test_a_seed_that_follows_that_of_the_run_is_no_setting(tmp_path: Path) -> None:
    """The seed of an augmentation is that of the run by default; one that was chosen is a setting."""
    for seed in (0, 1):
        write_run(tmp_path, f"default/{seed}", make_config(seed) | {"augment": {"seed": seed}}, [f"seed={seed}"])
        chosen = make_config(seed) | {"augment": {"seed": 0}}
        write_run(tmp_path, f"chosen/{seed}", chosen, [f"seed={seed}", "augment.seed=0"])
    keys = {run.path.parent.name: set[str]() for run in read_runs(tmp_path)}
    for run in read_runs(tmp_path):
        keys[run.path.parent.name].add(run.setting_key)
    assert len(keys["default"]) == len(keys["chosen"]) == 1
    assert keys["default"].isdisjoint(keys["chosen"])
