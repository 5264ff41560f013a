"""Conditions on runs, as in ``data=mnist and accuracy>0.98``: parsed by recursive descent, evaluated without ``eval``.

The grammar, from the weakest to the strongest operator::

    any     := all ("or" all)*
    all     := not ("and" not)*
    not     := "not" not | "(" any ")" | KEY OPERATOR VALUE
    OPERATOR := "=" | "==" | "!=" | "<" | "<=" | ">" | ">=" | "~"

``~`` is whether the value contains a text. A run that lacks the key of a comparison neither meets nor fails it: the
comparison is unknown, as is ``not`` of it (three-valued logic, as in SQL). So is the order of null or NaN and anything
else. Words for true, false and null have no case.
"""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from trainer.utils.errors import ConfigError

MISSING = object()
"""Value of a key that a run lacks."""
Lookup = Callable[[str], Any]
"""Function from a key to its value; ``MISSING`` if there is none."""

_TOKEN = re.compile(
    r"""\s*(?:(?P<symbol>[()]|[=!<>]=|[=<>~])|(?P<quoted>"[^"]*"|'[^']*')|(?P<word>[^\s()=<>!~"']+))""",
)
_ORDERS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
OPERATORS = ("=", "==", "!=", *_ORDERS, "~")
EXAMPLE = 'where="data=mnist and accuracy>0.98"'
MAX_DEPTH = 100
"""Maximum depth of parentheses and ``not``."""


class Token(NamedTuple):
    """A part of a condition.

    Attributes:
        kind: symbol, quoted, word or end.
        text: Its text, without quotes.
        position: Index of its first character.
    """

    kind: str
    text: str
    position: int

    def is_keyword(self, name: str) -> bool:
        """Return whether it is a keyword."""
        return self.kind == "word" and self.text.lower() == name


@dataclass(frozen=True)
class Comparison:
    """A comparison of the value of a key.

    Args:
        key: The key.
        operator: One of ``OPERATORS``.
        text: Text of the other value.
        is_quoted: Whether it was quoted, so that it is text even if it looks like a number.
    """

    key: str
    operator: str
    text: str
    is_quoted: bool = False

    def evaluate(self, lookup: Lookup) -> bool | None:
        """Return whether a run meets the comparison; None if it lacks the key, or its value has no order.

        Raises:
            ConfigError: A number is to be ordered with a text, or the value of a run is neither.
        """
        value = lookup(self.key)
        if value is MISSING:
            return None
        if self.operator == "~":
            return self.text.casefold() in format_value(value).casefold()
        if self.operator in ("=", "=="):
            return self._equals(value)
        if self.operator == "!=":
            return not self._equals(value)
        return self._is_ordered(value, _ORDERS[self.operator])

    def _equals(self, value: Any) -> bool:
        if isinstance(value, list) and any(self._equals(item) for item in value):
            return True
        number = self._parse_number()
        if number is not None and _is_number(value):
            return bool(value == number)
        if value is None or isinstance(value, bool):
            return not self.is_quoted and format_value(value) == self.text.lower()
        return format_value(value) == self.text

    def _is_ordered(self, value: Any, compare: Callable[[Any, Any], bool]) -> bool | None:
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return None
        if isinstance(value, str):
            return compare(value, self.text)
        number = self._parse_number()
        if number is None or not _is_number(value):
            shown = repr(self.text) if self.is_quoted or number is None else self.text
            raise ConfigError(
                f"where: {self.key}{self.operator}{self.text}: a run has {self.key}={format_value(value)}, which has no"
                f" order with {shown}; numbers are ordered with numbers, texts with texts"
            )
        return compare(value, number)

    def _parse_number(self) -> float | None:
        if self.is_quoted:
            return None
        try:
            return float(self.text)
        except ValueError:
            return None


@dataclass(frozen=True)
class Negation:
    """``not`` of a condition.

    Args:
        part: The condition.
    """

    part: Condition

    def evaluate(self, lookup: Lookup) -> bool | None:
        """Return the opposite; None if it is unknown."""
        value = self.part.evaluate(lookup)
        return None if value is None else not value


@dataclass(frozen=True)
class Combination:
    """Conditions that are joined by ``and`` or ``or``.

    Args:
        parts: The conditions.
        decisive: The value that one part needs for the whole to have it: False for ``and``, True for ``or``.
    """

    parts: Sequence[Condition]
    decisive: bool

    def evaluate(self, lookup: Lookup) -> bool | None:
        """Return the value of the whole; None if it is unknown."""
        values = [part.evaluate(lookup) for part in self.parts]
        if self.decisive in values:
            return self.decisive
        return None if None in values else not self.decisive


Condition = Comparison | Negation | Combination


def list_keys(condition: Condition) -> list[str]:
    """Return the keys of a condition, in order."""
    if isinstance(condition, Comparison):
        return [condition.key]
    parts = [condition.part] if isinstance(condition, Negation) else condition.parts
    return [*dict.fromkeys(key for part in parts for key in list_keys(part))]


def parse_condition(text: str) -> Condition:
    """Parse a condition.

    Raises:
        ConfigError: It does not follow the grammar; the message names the position.
    """
    parser = _Parser(text)
    condition = parser.parse_any(0)
    parser.expect_end()
    return condition


class _Parser:
    """Parser of one condition.

    Args:
        text: The condition.
    """

    def __init__(self, text: str):
        self.text = text
        self.tokens = self._split()
        self.index = 0

    def _split(self) -> list[Token]:
        tokens, position = [], 0
        while self.text[position:].strip():
            match = _TOKEN.match(self.text, position)
            if match is None:
                start = len(self.text) - len(self.text[position:].lstrip())
                raise self._make_error("a key, a value or an operator", Token("symbol", self.text[start], start))
            kind = str(match.lastgroup)
            part = match.group(kind)
            tokens.append(Token(kind, part[1:-1] if kind == "quoted" else part, match.start(kind)))
            position = match.end()
        return [*tokens, Token("end", "", len(self.text))]

    @property
    def current(self) -> Token:
        """The next token."""
        return self.tokens[self.index]

    def take(self) -> Token:
        """Return the next token and go on to the one after it."""
        token = self.current
        self.index += 1
        return token

    def expect_end(self) -> None:
        if self.current.kind != "end":
            raise self._make_error("and, or, or the end", self.current)

    def parse_any(self, depth: int) -> Condition:
        return self._parse_joined("or", self._parse_all, depth)

    def _parse_all(self, depth: int) -> Condition:
        return self._parse_joined("and", self._parse_not, depth)

    def _parse_joined(self, keyword: str, parse_part: Callable[[int], Condition], depth: int) -> Condition:
        parts = [parse_part(depth)]
        while self.current.is_keyword(keyword):
            self.take()
            parts.append(parse_part(depth))
        return parts[0] if len(parts) == 1 else Combination(tuple(parts), decisive=keyword == "or")

    def _parse_not(self, depth: int) -> Condition:
        if depth > MAX_DEPTH:
            raise ConfigError(f"where: nested more than {MAX_DEPTH} times")
        if self.current.is_keyword("not"):
            self.take()
            return Negation(self._parse_not(depth + 1))
        if self.current[:2] == ("symbol", "("):
            self.take()
            condition = self.parse_any(depth + 1)
            if self.current[:2] != ("symbol", ")"):
                raise self._make_error("and, or, or )", self.current)
            self.take()
            return condition
        return self._parse_comparison()

    def _parse_comparison(self) -> Comparison:
        key = self.take()
        if key.kind != "word" or any(key.is_keyword(name) for name in ("and", "or")):
            raise self._make_error("a key", key)
        sign = self.take()
        if sign.text not in OPERATORS or sign.kind != "symbol":
            raise self._make_error(f"one of {' '.join(OPERATORS)} after {key.text}", sign)
        value = self.take()
        if value.kind not in ("word", "quoted"):
            raise self._make_error(f"a value after {key.text}{sign.text}", value)
        return Comparison(key.text, sign.text, value.text, value.kind == "quoted")

    def _make_error(self, expected: str, token: Token) -> ConfigError:
        found = "the end" if token.kind == "end" else repr(token.text)
        return ConfigError(
            f"where: {self.text!r}: {expected} is expected at character {token.position + 1}, but there is {found};"
            f" as in {EXAMPLE}"
        )


def format_value(value: Any) -> str:
    """Return the text of a value, as it is written in a condition: ``true``, ``null``, ``[64,32]``."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), default=str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
