"""Conditions on runs, compared with Python's own evaluation of the same expressions."""

from __future__ import annotations

import contextlib
import itertools
import random
from typing import Any

import pytest

from trainer.analysis import run_query
from trainer.utils.errors import ConfigError

KEYS = {"lr": 0.1, "optimizer.lr": 0.001, "accuracy": 0.98, "seed": 0, "model": "mlp", "status": "finished"}
NUMBERS = ["0", "0.1", "1e-3", "0.98", "-2", "1"]
WORDS = ["mlp", "lstm", "finished", "ml"]


def evaluate(text: str, values: dict[str, Any]) -> bool | None:
    return run_query.parse_condition(text).evaluate(lambda key: values.get(key, run_query.MISSING))


def make_expression(rng: random.Random, depth: int) -> tuple[str, str]:
    """Return a random condition, and the Python expression of the same meaning over ``v``."""
    kind = rng.choice(["compare"] if depth == 0 else ["compare", "and", "or", "not", "parentheses"])
    if kind == "compare":
        key = rng.choice([*KEYS])
        is_text = isinstance(KEYS[key], str)
        other = rng.choice(WORDS if is_text else NUMBERS)
        sign = rng.choice(["=", "==", "!=", "~"] if is_text else ["=", "!=", "<", "<=", ">", ">="])
        literal = repr(other) if is_text else other
        space = rng.choice(["", " "])
        python = f"{literal} in v[{key!r}]" if sign == "~" else f"v[{key!r}] {'==' if sign == '=' else sign} {literal}"
        return f"{key}{space}{sign}{space}{other}", f"({python})"
    first, second = (make_expression(rng, depth - 1) for _ in range(2))
    if kind == "not":
        return f"not ({first[0]})", f"(not ({first[1]}))"
    if kind == "parentheses":
        return f"({first[0]})", f"({first[1]})"
    # Without parentheses, so that precedence is tested too.
    return f"{first[0]} {rng.choice([kind, kind.upper()])} {second[0]}", f"{first[1].strip()} {kind} {second[1]}"


def test_random_conditions_have_the_value_that_python_gives_them() -> None:
    rng = random.Random(0)
    seen = set()
    for _ in range(2000):
        condition, python = make_expression(rng, rng.randrange(4))
        expected = eval(python, {"v": KEYS})
        seen.add(expected)
        assert evaluate(condition, KEYS) is expected, condition
    assert seen == {True, False}


def kleene(sign: str, first: bool | None, second: bool | None) -> bool | None:
    order = {False: 0, None: 1, True: 2}
    return (min if sign == "and" else max)(first, second, key=order.__getitem__)


@pytest.mark.parametrize("sign", ["and", "or"])
def test_a_key_that_a_run_lacks_is_unknown(sign: str) -> None:
    comparisons = {"a=1": True, "a=2": False, "b=1": None}
    for first, second in itertools.product(comparisons, repeat=2):
        expected = kleene(sign, comparisons[first], comparisons[second])
        assert evaluate(f"{first} {sign} {second}", {"a": 1}) is expected
        opposite = None if expected is None else not expected
        assert evaluate(f"not ({first} {sign} {second})", {"a": 1}) is opposite


@pytest.mark.parametrize(
    ("condition", "value", "expected"),
    [
        ("key=true", True, True),
        ("key=True", True, True),
        ("key=FALSE", False, True),
        ("key!=True", True, False),
        ("key=True", "true", False),
        ("key=None", None, False),
        ("key=NULL", None, True),
        ("key<5", None, None),
        ("not key<5", None, None),
        ("not key>=5", float("nan"), None),
        ("key<inf", 5, True),
        ("key=1", True, False),
        ("key=null", None, True),
        ("key=[64,32]", [64, 32], True),
        ("key=64", [64, 32], True),
        ("key=good", ["good", "paper"], True),
        ("key!=good", ["paper"], True),
        ("key~PAP", ["good", "paper"], True),
        ("key='1'", 1, True),
        ("key>'2026-01'", "2026-02-03", True),
        ("key<2", "text", False),
        ("key!=nan", float("nan"), True),
        ("key=nan", float("nan"), False),
        ('key="a b"', "a b", True),
        ("key~]", "[x]", True),
    ],
)
def test_values_of_every_kind(condition: str, value: object, expected: bool | None) -> None:
    assert evaluate(condition, {"key": value}) is expected


@pytest.mark.parametrize(
    ("condition", "value"), [("key<high", 0.1), ("key>'1'", 2), ("key<=5", [4, 3]), ("key>0", True), ("key<true", True)]
)
def test_values_without_an_order_are_refused(condition: str, value: object) -> None:
    with pytest.raises(ConfigError, match=r"where: key.*: a run has key=.*, which has no order with"):
        evaluate(condition, {"key": value})


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("", "a key is expected at character 1, but there is the end"),
        ("a", "one of = == != < <= > >= ~ after a is expected at character 2"),
        ("a=", "a value after a= is expected"),
        ("a=1 b=2", "and, or, or the end is expected at character 5, but there is 'b'"),
        ("a=1 and", "a key is expected at character 8"),
        ("(a=1", "and, or, or ) is expected"),
        ("a=1)", "but there is ')'"),
        ("a='x", "a key, a value or an operator is expected at character 3"),
        ("or=1", "a key is expected at character 1, but there is 'or'"),
        ("a=!", "a key, a value or an operator is expected at character 3"),
        ("not " * 200 + "a=1", "nested more than 100 times"),
        ("(" * 5000, "nested more than 100 times"),
    ],
)
def test_what_is_not_a_condition_is_refused_with_its_position(condition: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        run_query.parse_condition(condition)
    assert message in str(error.value)


def test_random_texts_are_parsed_or_refused() -> None:
    rng = random.Random(1)
    for _ in range(3000):
        text = "".join(
            rng.choice(["a", "=", "<", "(", ")", " and ", " or ", "not ", "'", "1", " ", "~", "\x1b"])
            for _ in range(12)
        )
        with contextlib.suppress(ConfigError):
            assert evaluate(text, {"a": 1}) in (True, False, None)
