"""Masks secrets, which are written nowhere: values of the environment, and of keys that sound like one.

A value is followed through whatever interpolates it: all is resolved a second time with a stand-in for the
environment, and what comes out different was made of it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from omegaconf import Container, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from omegaconf.resolvers import oc

from trainer.config.overrides import parse
from trainer.utils.errors import ConfigError

STAND_IN = "a value of the environment"
SECRET = re.compile(
    r"((?<!pad_)(?<!unk_)(?<!cls_)(?<!sep_)(?<!bos_)(?<!eos_)(?<!mask_)token"
    r"|(secret|passwords?|passwd|pwd|passphrase|(api|access|secret|private|auth)[_-]?keys?))_?\d*$"
)
"""How a key ends that names a secret; what only begins so is none (token_mixing, tokens, tokenizer, secret_dim).

Nor is a token of a vocabulary.
"""
OLD_SECRET = re.compile(r"token(?![a-z])|secret|passw|api_key")
"""What an older version took for a secret."""
KEY = re.compile(r"[\w-]+(?=['\"]?\s*:)")
"""A key of a mapping in an override."""
MASK = "***"
_hidden: ContextVar[bool] = ContextVar("_hidden", default=False)


def keep(node: Container, written: Any, resolved: Any) -> Any:
    """The resolved values of a container, but as written where they come from the environment."""
    OmegaConf.register_new_resolver("oc.env", _read, replace=True)
    return _keep(node, written, resolved)


def _keep(node: Container, written: Any, resolved: Any) -> Any:
    if isinstance(written, dict) and isinstance(resolved, dict):
        return {key: _entry(node, key, written[key], item) for key, item in resolved.items()}
    if isinstance(written, list) and isinstance(resolved, list):
        return [_entry(node, index, *pair) for index, pair in enumerate(zip(written, resolved, strict=True))]
    return resolved


def _entry(node: Any, key: Any, written: Any, resolved: Any) -> Any:
    if isinstance(written, dict | list):
        return _keep(node._get_node(key), written, resolved)
    if not isinstance(written, str) or "${" not in written:
        return resolved
    plain = _value(node, key)
    with _stand_in():
        hidden = _value(node, key)
    return resolved if plain == hidden else written


def _value(node: Any, key: Any) -> Any:
    """What an entry resolves to, or why it does not."""
    try:
        found = node[key]
        return OmegaConf.to_container(found, resolve=True) if OmegaConf.is_config(found) else found
    except (OmegaConfBaseException, ValueError, TypeError, LookupError) as error:
        return type(error)


@contextmanager
def _stand_in() -> Iterator[None]:
    token = _hidden.set(True)
    try:
        yield
    finally:
        _hidden.reset(token)


def _read(key: str, *default: str | None) -> str | None:
    """The resolver ``oc.env``, which says something else where the stand-in is asked for."""
    return STAND_IN if _hidden.get() else oc.env(key, *default)


NAME = re.compile(r"\$\{\s*oc\.env\s*:\s*([^\s,}]+)")
SHORTEST = 4
"""Letters of a value that is looked for in a text: a shorter one stands in many words, and is no secret."""


def hide_values(text: str, tree: Mapping[str, Any]) -> str:
    """A text that is written down, with the values of variables that a configuration reads named instead."""
    names = set(NAME.findall(repr(tree)))
    known = {name: os.environ[name] for name in names if len(os.environ.get(name, "")) >= SHORTEST}
    for name, value in sorted(known.items(), key=lambda item: -len(item[1])):
        text = text.replace(value, f"${{oc.env:{name}}}")
    return text


def sounds_secret(key: str) -> bool:
    return SECRET.search(key.lower()) is not None


def mask_override(text: str) -> str:
    """An override that may be shown: values of keys that sound secret are left out, also inside a mapping."""
    key, equals, value = text.partition("=")
    if not equals:
        return text
    if any(map(sounds_secret, key.split("."))):
        return text if "${" in value else f"{key}={MASK}"
    if "{" not in value or not any(map(sounds_secret, KEY.findall(value))):
        return text
    try:
        given = parse([text])[0].value()
    except ConfigError:
        return f"{key}={MASK}"
    if not isinstance(given, dict | list):  # several mappings, of a sweep
        return f"{key}={MASK}"
    clean = _clean("", given)
    return text if clean == given else f"{key}={json.dumps(clean)}"


def mask(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration that may be shown: values of keys that sound secret are left out."""
    return {key: _clean(str(key), value) for key, value in tree.items()}


def find_masked_keys(tree: Mapping[str, Any], at: str = "") -> Iterator[str]:
    """The dotted keys whose value was left out when a configuration was stored, by today's rule or an older one."""
    for key, value in tree.items():
        name = f"{at}.{key}" if at else str(key)
        if isinstance(value, Mapping):
            yield from find_masked_keys(value, name)
        elif MASK in (value if isinstance(value, list) else [value]) and (
            sounds_secret(str(key)) or OLD_SECRET.search(str(key).lower())
        ):
            yield name


def _clean(key: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return mask(value)
    if isinstance(value, list):
        return [_clean(key, item) for item in value]
    return MASK if sounds_secret(key) and isinstance(value, str) and value and "${" not in value else value
