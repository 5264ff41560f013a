"""Values from the environment and of secret keys are never written."""

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


def restore_references(tree: dict[str, Any]) -> tuple[Any, Any]:
    node = OmegaConf.create(tree)
    unresolved, resolved = (OmegaConf.to_container(node, resolve=resolve) for resolve in (False, True))
    return secret_masking.restore_env_references(node, unresolved, resolved), resolved


@pytest.mark.parametrize("tree", TREES)
def test_environment_interpolations_are_restored(tree: dict[str, Any]) -> None:
    restored, resolved = restore_references(tree)
    assert SECRET in str(resolved) or "123123123" in str(resolved)
    assert SECRET not in str(restored)
    assert "123123123" not in str(restored)
    # The restored tree resolves to the same values.
    assert OmegaConf.to_container(OmegaConf.create(restored), resolve=True) == resolved


def test_other_interpolations_are_resolved() -> None:
    tree = {"a": 3, "b": "${a}", "c": ["${b}", {"d": "${oc.select:nope,5}"}], "e": "${c}"}
    assert restore_references(tree)[0] == {"a": 3, "b": 3, "c": [3, {"d": 5}], "e": [3, {"d": 5}]}


def test_environment_resolver_still_works_after_restoring() -> None:
    restore_references({"a": "${oc.env:SOME_SECRET}"})
    assert OmegaConf.create({"a": "${oc.env:SOME_SECRET}", "b": "${oc.env:NOT_SET_ANYWHERE,null}"}).a == SECRET


def test_values_of_secret_keys_are_masked() -> None:
    similar_keys = (
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
    open_keys = dict.fromkeys(similar_keys, "keep") | {"rows": 3}
    secret_keys = (
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
        "data": {**dict.fromkeys(secret_keys, "x"), **open_keys},
        "token": "${oc.env:T}",
        "secret": None,
        "password": "",
    }
    masked = secret_masking.mask_tree(tree)
    assert masked["data"] == {
        **dict.fromkeys(secret_keys, "***"),
        **open_keys,
    }
    assert (masked["token"], masked["secret"], masked["password"]) == ("${oc.env:T}", None, "")
    assert list(secret_masking.find_masked_keys(masked)) == [f"data.{key}" for key in secret_keys]


def test_values_masked_by_an_older_version_are_found() -> None:
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
def test_secret_in_an_override_is_masked(text: str) -> None:
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
def test_override_without_a_secret_is_unchanged(text: str) -> None:
    assert secret_masking.mask_override(text) == text


def test_hide_values_replaces_environment_values_in_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer values are replaced first, as one may begin with another; short ones are left."""
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
