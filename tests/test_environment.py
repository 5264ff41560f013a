"""What comes from the environment is written nowhere, whatever way it takes through the configuration."""

from __future__ import annotations

from typing import Any

import pytest
from omegaconf import OmegaConf

from trainer import environment

SECRET = "SECRET123"
TREES: list[dict[str, Any]] = [
    {"a": "${oc.env:SOME_SECRET}"},
    {"a": "${oc.env:SOME_SECRET}", "b": "${a}", "c": "${b}"},
    {"a": "x-${oc.env:SOME_SECRET}-y", "b": {"c": "${a}"}},
    {"a": ["plain", "${oc.env:SOME_SECRET}"], "b": "${a}"},
    {"a": [{"b": ["${oc.env:SOME_SECRET}"]}], "c": "${a.0.b.0}"},
    {"a": {"b": "${oc.env:SOME_SECRET}"}, "c": "${a}", "d": ["${a}"]},
    {"a": "${oc.env:SOME_SECRET}", "b": "${oc.select:a,none}"},
    {"a": "${oc.env:SOME_SECRET}", "b": "${oc.dict.values:c}", "c": {"d": "${a}"}},
    {"a": "${oc.env:NOT_SET_ANYWHERE,${b}}", "b": "${oc.env:SOME_SECRET}"},
    {"a": {"b": "${oc.env:SOME_SECRET}", "c": "${.b}", "d": {"e": "${..c}"}}},
    {"name": "SOME_SECRET", "a": "${oc.env:${name}}"},
    {"a": "${oc.decode:${oc.env:SOME_NUMBER}}", "b": "${a}"},
]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_SECRET", SECRET)
    monkeypatch.setenv("SOME_NUMBER", "123123123")


def kept(tree: dict[str, Any]) -> tuple[Any, Any]:
    node = OmegaConf.create(tree)
    written, resolved = (OmegaConf.to_container(node, resolve=resolve) for resolve in (False, True))
    return environment.keep(node, written, resolved), resolved


@pytest.mark.parametrize("tree", TREES)
def test_it_stays_as_written(tree: dict[str, Any]) -> None:
    found, resolved = kept(tree)
    assert SECRET in str(resolved) or "123123123" in str(resolved)
    assert SECRET not in str(found)
    assert "123123123" not in str(found)
    # And it can be read again.
    assert OmegaConf.to_container(OmegaConf.create(found), resolve=True) == resolved


def test_everything_else_is_resolved() -> None:
    tree = {"a": 3, "b": "${a}", "c": ["${b}", {"d": "${oc.select:nope,5}"}], "e": "${c}"}
    assert kept(tree)[0] == {"a": 3, "b": 3, "c": [3, {"d": 5}], "e": [3, {"d": 5}]}


def test_outside_the_variable_is_read_as_ever() -> None:
    kept({"a": "${oc.env:SOME_SECRET}"})
    assert OmegaConf.create({"a": "${oc.env:SOME_SECRET}", "b": "${oc.env:NOT_SET_ANYWHERE,null}"}).a == SECRET
