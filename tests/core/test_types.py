"""Validation of configuration values by type, and descriptions of types in messages."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import pytest

from trainer.core.types import (
    ANNOTATION_TYPES,
    Decay,
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    Number,
    Pattern,
    PositiveFloat,
    PositiveInt,
    Probability,
    Range,
    describe_type,
    find_mismatches,
    is_valid_value,
)

Letters = Annotated[str, Pattern("a+", "aaa")]
VALID: list[tuple[Any, Any]] = [
    (1, PositiveInt),
    (0, NonNegativeInt),
    (1e-9, PositiveFloat),
    (3, PositiveFloat),  # a whole number is a number
    (0.0, NonNegativeFloat),
    (0, Probability),
    (1.0, Probability),
    (0.5, Fraction),
    (0.0, Decay),
    (None, PositiveInt | None),
    (2, PositiveInt | None),
    ("bf16", Literal[32, "bf16"]),
    (32, Literal[32, "bf16"]),
    ([1, 2], list[PositiveInt]),
    ([], list[PositiveInt]),
    ([0.9, 0.999], tuple[Decay, Decay]),
    ([1, 2, 3], tuple[int, ...]),
    ({"a": 1}, dict[str, int]),
    ("linear", Probability | Literal["linear"] | None),
    (True, bool),
    ("a", str),
    ("aa", Letters),
    ("b", Literal["b"] | Letters),
]
INVALID: list[tuple[Any, Any]] = [
    (0, PositiveInt),
    (-1, NonNegativeInt),
    (8.0, PositiveInt),
    (True, PositiveInt),
    ("1", PositiveInt),
    (None, PositiveInt),
    (0, PositiveFloat),
    (-1e-3, NonNegativeFloat),
    (math.nan, PositiveFloat),
    (math.inf, PositiveFloat),
    (-math.inf, float),
    ("1e-3", float),
    (True, float),
    (1.5, Probability),
    (-0.1, Probability),
    (0.0, Fraction),
    (1.0, Fraction),
    (1.0, Decay),
    (0, PositiveInt | None),
    (16, Literal[32, "bf16"]),
    ("32", Literal[32, "bf16"]),
    (True, Literal[1]),
    (1, bool),
    (1, str),
    ([0], list[PositiveInt]),
    (1, list[int]),
    ("ab", list[str]),
    ([0.9], tuple[Decay, Decay]),
    ([0.9, 1.0], tuple[Decay, Decay]),
    ([1, "a"], tuple[int, ...]),
    ({"a": "b"}, dict[str, int]),
    ([1], dict[str, int]),
    ("cubic", Probability | Literal["linear"] | None),
    ("aab", Letters),
    ("baa", Letters),
    ("aa\n", Letters),
    ("", Letters),
    (1, Letters),
]


@pytest.mark.parametrize(("value", "kind"), VALID)
def test_valid_value_is_accepted(value: Any, kind: Any) -> None:
    assert is_valid_value(value, kind)


@pytest.mark.parametrize(("value", "kind"), INVALID)
def test_invalid_value_is_refused(value: Any, kind: Any) -> None:
    assert not is_valid_value(value, kind)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (PositiveInt, "a whole number >= 1"),
        (PositiveFloat, "a number > 0"),
        (Probability, "a number >= 0 and <= 1"),
        (Decay, "a number >= 0 and < 1"),
        (PositiveInt | None, "a whole number >= 1 or null"),
        (Literal["cos", "linear"], "one of cos, linear"),
        (list[PositiveInt], "a list of whole numbers >= 1"),
        (list[str | int] | None, "a list of strings or whole numbers or null"),
        (Sequence[Literal["a", "b"] | PositiveInt | Literal["c"]], "a list of any of a, b, c or whole numbers >= 1"),
        (Literal["a"] | Letters | Literal["b"], "one of a, b or text like aaa"),
        (tuple[bool, str], "a list [true or false, text]"),
        (dict[str, int], "a mapping"),
        (Letters, "text like aaa"),
    ],
)
def test_type_is_described(kind: Any, expected: str) -> None:
    assert describe_type(kind) == expected


def test_a_range_is_described_by_its_bounds() -> None:
    assert str(Range(ge=1)) == ">= 1"
    assert 1 in Range(ge=1)
    assert 1 not in Range(gt=1)
    assert 1 not in Range(lt=1)


def test_the_type_vocabulary_matches_the_module() -> None:
    for name in (
        "PositiveInt",
        "NonNegativeInt",
        "PositiveFloat",
        "NonNegativeFloat",
        "Probability",
        "Fraction",
        "Decay",
    ):
        assert ANNOTATION_TYPES[name] is globals()[name]


def test_reading_types_needs_no_torch() -> None:
    code = "import sys, trainer.core.types; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_mismatches_are_reported_with_their_key() -> None:
    kind = list[dict[str, Number]]
    assert list(find_mismatches([{"a": 1, "b": math.nan}], kind, "rows")) == []
    assert list(find_mismatches([{"a": 1}, {"b": "1"}], kind, "rows")) == ["rows.1.b is '1', not a number or nan"]
    assert list(find_mismatches({"a": []}, kind, "rows")) == [
        "rows is a mapping of 1, not a list of mappings",
    ]
    assert list(find_mismatches(True, Number | None, "score")) == ["score is True, not a number or nan or null"]


def test_path_with_overlong_file_name_is_refused() -> None:
    kind = ANNOTATION_TYPES["DataPath"]
    assert is_valid_value("/".join(["a" * 255] * 4), kind)
    assert not is_valid_value(f"data/{'a' * 256}", kind)
    assert not is_valid_value("\N{GREEK SMALL LETTER ALPHA}" * 128, kind)
