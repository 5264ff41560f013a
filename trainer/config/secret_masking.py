"""Masking of secrets, which are never saved: values of environment variables, and of keys with secret names.

A value of the environment is traced through interpolations by resolving everything a second time with a placeholder:
values that differ depend on the environment.
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

from trainer.utils.errors import ConfigError

ENV_PLACEHOLDER = "a value of the environment"
"""Value of every environment variable in the second resolution."""
SECRET_KEY_PATTERN = re.compile(
    r"((?<!pad_)(?<!unk_)(?<!cls_)(?<!sep_)(?<!bos_)(?<!eos_)(?<!mask_)token"
    r"|(secret|passwords?|passwd|pwd|passphrase|(api|access|secret|private|auth)[_-]?keys?))_?\d*$"
)
"""Matches the end of a key that names a secret.

Keys that only begin like one do not match (token_mixing, tokens, tokenizer, secret_dim), nor do special tokens of a
vocabulary (pad_token).
"""
OLD_SECRET_KEY_PATTERN = re.compile(r"token(?![a-z])|secret|passw|api_key")
"""Pattern that an older version used instead."""
MAPPING_KEY_PATTERN = re.compile(r"[\w-]+(?=['\"]?\s*:)")
"""Matches the keys of a mapping in an override."""
MASK = "***"
"""Replacement for a secret value."""
_HIDE_ENV: ContextVar[bool] = ContextVar("_hidden", default=False)


def restore_env_references(node: Container, raw: Any, resolved: Any) -> Any:
    """Return the resolved values of a container, but as written where they depend on the environment.

    Args:
        node: Composed configuration, which resolves interpolations.
        raw: Its values as written.
        resolved: Its values with all interpolations resolved.
    """
    OmegaConf.register_new_resolver("oc.env", _resolve_env, replace=True)
    return _restore_node(node, raw, resolved)


def _restore_node(node: Container, raw: Any, resolved: Any) -> Any:
    if isinstance(raw, dict) and isinstance(resolved, dict):
        return {key: _restore_entry(node, key, raw[key], item) for key, item in resolved.items()}
    if isinstance(raw, list) and isinstance(resolved, list):
        return [_restore_entry(node, index, *pair) for index, pair in enumerate(zip(raw, resolved, strict=True))]
    return resolved


def _restore_entry(node: Any, key: Any, raw: Any, resolved: Any) -> Any:
    if isinstance(raw, dict | list):
        return _restore_node(node._get_node(key), raw, resolved)
    if not isinstance(raw, str) or "${" not in raw:
        return resolved
    value = _resolve_entry(node, key)
    with _hide_env():
        value_without_env = _resolve_entry(node, key)
    return resolved if value == value_without_env else raw


def _resolve_entry(node: Any, key: Any) -> Any:
    """Return the resolved value of an entry, or the type of the exception if it cannot be resolved."""
    try:
        value = node[key]
        return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    except (OmegaConfBaseException, ValueError, TypeError, LookupError) as error:
        return type(error)


@contextmanager
def _hide_env() -> Iterator[None]:
    token = _HIDE_ENV.set(True)
    try:
        yield
    finally:
        _HIDE_ENV.reset(token)


def _resolve_env(key: str, *default: str | None) -> str | None:
    """Resolve ``oc.env``, or return the placeholder while the environment is hidden."""
    return ENV_PLACEHOLDER if _HIDE_ENV.get() else oc.env(key, *default)


ENV_NAME_PATTERN = re.compile(r"\$\{\s*oc\.env\s*:\s*([^\s,}]+)")
"""Matches a reference to an environment variable; group 1 is its name."""
MIN_SECRET_LENGTH = 4
"""Minimum length of a value that is masked in text: a shorter one is part of many words, and not a secret."""


def hide_values(text: str, tree: Mapping[str, Any]) -> str:
    """Return a text with the values of environment variables replaced by references to them.

    Args:
        text: Text that will be saved, such as a traceback.
        tree: Raw configuration; only variables that it refers to are replaced.
    """
    names = set(ENV_NAME_PATTERN.findall(repr(tree)))
    values = {name: os.environ[name] for name in names if len(os.environ.get(name, "")) >= MIN_SECRET_LENGTH}
    for name, value in sorted(values.items(), key=lambda item: -len(item[1])):
        text = text.replace(value, f"${{oc.env:{name}}}")
    return text


def is_secret_key(key: str) -> bool:
    """Return whether the name of a key suggests that its value is a secret."""
    return SECRET_KEY_PATTERN.search(key.lower()) is not None


def mask_override(text: str) -> str:
    """Return an override with the values of secret keys masked, also inside a mapping.

    Args:
        text: Override, such as ``logger.wandb.api_key=abc``. References to the environment are not masked.
    """
    key, equals, value = text.partition("=")
    if not equals:
        return text
    if any(map(is_secret_key, key.split("."))):
        return text if "${" in value else f"{key}={MASK}"
    if "{" not in value or not any(map(is_secret_key, MAPPING_KEY_PATTERN.findall(value))):
        return text
    from trainer.config.override_parser import parse_overrides  # imports Hydra, which a saved run does not need

    try:
        parsed = parse_overrides([text])[0].value()
    except ConfigError:
        return f"{key}={MASK}"
    if not isinstance(parsed, dict | list):  # a sweep over several mappings
        return f"{key}={MASK}"
    masked = _mask_value("", parsed)
    return text if masked == parsed else f"{key}={json.dumps(masked)}"


def mask_tree(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration with the values of secret keys masked."""
    return {key: _mask_value(str(key), value) for key, value in tree.items()}


def find_masked_keys(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the dotted keys of a saved configuration whose values are masked, by the current or an older rule.

    Args:
        tree: Saved configuration.
        prefix: Dotted key of ``tree`` itself.
    """
    for key, value in tree.items():
        path = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, Mapping):
            yield from find_masked_keys(value, path)
        elif MASK in (value if isinstance(value, list) else [value]) and (
            is_secret_key(str(key)) or OLD_SECRET_KEY_PATTERN.search(str(key).lower())
        ):
            yield path


def _mask_value(key: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return mask_tree(value)
    if isinstance(value, list):
        return [_mask_value(key, item) for item in value]
    return MASK if is_secret_key(key) and isinstance(value, str) and value and "${" not in value else value
