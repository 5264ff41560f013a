"""What comes from the environment is written nowhere, whatever way it takes through the configuration."""

from __future__ import annotations

from typing import Any

import pytest
from omegaconf import OmegaConf

from trainer.config import secret_masking

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
    return secret_masking.restore_env_references(node, written, resolved), resolved


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


def test_values_of_keys_that_sound_secret_are_left_out() -> None:
    names = (
        "token_mixing",
        "token_dim",
        "tokens",
        "max_tokens",
        "tokenizer",
        "pad_token",
        "secret_dim",
        "key",
        "monkey",
    )
    open_keys = dict.fromkeys(names, "keep") | {"rows": 3}
    hidden = (
        "api_key",
        "apiKey",
        "hub_token",
        "hubToken",
        "password",
        "client_secret",
        "secret_key",
        "db_passwd",
        "token2",
    )
    tree = {
        "data": {**dict.fromkeys(hidden, "x"), **open_keys},
        "token": "${oc.env:T}",
        "secret": None,
        "password": "",
    }
    masked = secret_masking.mask_tree(tree)
    assert masked["data"] == {
        **dict.fromkeys(hidden, "***"),
        **open_keys,
    }
    assert (masked["token"], masked["secret"], masked["password"]) == ("${oc.env:T}", None, "")
    assert list(secret_masking.find_masked_keys(masked)) == [f"data.{key}" for key in hidden]


def test_what_an_older_rule_left_out_is_known() -> None:
    tree = {
        "model": {"token_mixing": "***", "token_id": ["***"]},
        "data": {"missing": ["***"], "api_key": "${oc.env:K}"},
    }
    assert list(secret_masking.find_masked_keys(tree)) == ["model.token_mixing", "model.token_id"]


@pytest.mark.parametrize(
    "text",
    [
        "+api_key=SECRET123",
        "data.api_key.first=SECRET123",
        "data.x={api_key: SECRET123}",
        "data.x={a: [{hub_token: SECRET123}], b: 1}",
        "data.x=[1,{password: 'SECRET123'}]",
        "data.x={api_key: SECRET123},{api_key: b}",
        "data.x={api_key: SECRET123, y: ${epochs}}",
        "data.x={api_key: SECRET123",
    ],
)
def test_a_secret_in_an_override_is_masked_wherever_it_stands(text: str) -> None:
    masked = secret_masking.mask_override(text)
    assert "SECRET123" not in masked
    assert masked.startswith(text.partition("=")[0] + "=")


@pytest.mark.parametrize(
    "text",
    [
        "data.x={tokens: 1, b: hub_token}",
        "data.x={tokens: 1},{tokens: 2}",
        "model.token_mixing=a",
        "data.x={a: 1}",
        "data.tokens={words: 2}",
        "x={api_key: '${oc.env:K}'}",
        "model=lstm",
    ],
)
def test_an_override_without_a_secret_stays(text: str) -> None:
    assert secret_masking.mask_override(text) == text


def test_values_of_variables_that_a_configuration_reads_are_named_in_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """In every place of a tree; the longer value first, where one begins another; a short one is left."""
    for name, value in (("DOOR", "hunter22"), ("DOORS", "hunter22-and-more"), ("N", "1"), ("OTHER", "other")):
        monkeypatch.setenv(name, value)
    tree = {
        "a": ["${oc.env:DOOR}"],
        "b": {"c": "x/${ oc.env: DOORS,none}"},
        "n": "${oc.env:N}",
        "m": "${oc.env:MISSING}",
    }
    text = "no hunter22, hunter22-and-more; 1 other"
    assert secret_masking.hide_values(text, tree) == "no ${oc.env:DOOR}, ${oc.env:DOORS}; 1 other"
