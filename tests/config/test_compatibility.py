"""Which models, data sets and tasks go together."""

from __future__ import annotations

import re

import pytest

from trainer.config import compatibility
from trainer.config.introspection import Parameter, Signature
from trainer.core.shapes import Shapes

FORWARD = ("forward",)


def a(
    line: str,
    *,
    optional: tuple[str, ...] = (),
    methods: tuple[str, ...] = FORWARD,
    needs: tuple[str, ...] = FORWARD,
) -> Signature:
    entry = {name: Parameter(object, "None") for name in optional}
    return Signature("", line, dict.fromkeys(methods, entry), needs)


CLASSIFY, REGRESS, NOTHING = a("(B, C, ...) -> (B, ...)"), a("(B, ...) -> (B, ...)"), a("(...) -> ()")
SEQUENCE = a("x (B, T, F) -> (B)")


def test_a_line_is_read() -> None:
    assert compatibility.parse_shapes("x (B, T, F), lengths (B) -> (B, C)") == Shapes(
        {"x": ("B", "T", "F"), "lengths": ("B",)}, ("B", "C")
    )
    assert compatibility.parse_shapes("x (B, F) -> ()") == Shapes({"x": ("B", "F")}, None)
    assert compatibility.parse_shapes("(B, C, ...) -> (B, ...)") == Shapes({"": ("B", "C", "...")}, ("B", "..."))
    assert compatibility.parse_shapes("A model.") is None


@pytest.mark.parametrize(
    "line",
    ["x (B, T, F -> (B, C)", "x (B, F) -> B, C", "x B, F -> (B)", "x (B), -> (B)", "x (B) y (B) -> (B)", "-> (B)"],
)
def test_a_malformed_declaration_is_rejected(line: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"shapes: {line!r} given")):
        compatibility.parse_shapes(line)


@pytest.mark.parametrize(
    ("wanted", "given", "fits"),
    [
        ("B T F", "B T F", True),
        ("B T F", "N T F", True),
        ("B T F", "B F", False),
        ("B T F", "B C F", False),
        ("B ...", "B T F", True),
        ("B ...", "B", True),
        ("B C ...", "B", False),
        ("B C ...", "N C T", True),
        ("B C ...", "B T V", False),
        ("B ...", "B S", False),
    ],
)
def test_dims_match_by_letter(wanted: str, given: str, fits: bool) -> None:
    assert compatibility.is_compatible(tuple(wanted.split()), tuple(given.split())) is fits


@pytest.mark.parametrize(
    ("model", "data", "task", "words"),
    [
        (a("x (B, F) -> (B, C)"), a("x (N, F), edge_index (2, E) -> (N)"), CLASSIFY, None),
        (
            a("x (B, ...) -> (B, ...)"),
            a("x (N, F), edge_index (2, E) -> (N)"),
            NOTHING,
            "model with task needs independent rows (B, ...); data gives x (N, F)",
        ),
        (
            a("x (N, F), edge_index (2, E) -> (N, C)"),
            a("x (N, F), edge_index (2, E), sizes (G) -> (G)"),
            CLASSIFY,
            "model gives (N, C), one for each node; data has targets for each graph",
        ),
        (a("x (N, F), sizes (G) -> (G, C)"), a("x (N, F), edge_index (2, E), sizes (G) -> (G)"), CLASSIFY, None),
        (
            a("x (B, ...) -> (B, C)"),
            a("x (N, F), edge_index (2, E), pairs (P, 2) -> (P)"),
            CLASSIFY,
            "model gives (B, C), one for each node; data has targets for each pair of nodes",
        ),
        (a("x (B, T, F) -> (B, C)"), SEQUENCE, CLASSIFY, None),
        (a("x (B, F) -> (B, C)"), SEQUENCE, CLASSIFY, "model needs x (B, F); data gives x (B, T, F)"),
        (a("x (N, F), edges (2, E) -> (N, C)"), SEQUENCE, CLASSIFY, "model needs x (N, F), edges (2, E)"),
        (
            a("x (B, T, F), y (B) -> (B, C)"),
            SEQUENCE,
            CLASSIFY,
            "model needs x (B, T, F), y (B); data gives x (B, T, F)",
        ),
        (a("x (B, T, F), y (B) -> (B, C)", optional=("y",)), SEQUENCE, CLASSIFY, None),
        (a("x (B, T, F) -> (B, C)"), a("x (B, T, F), lengths (B) -> (B)"), CLASSIFY, "read the padding"),
        (a("x (B, T, F), lengths (B) -> (B, C)"), a("x (B, T, F), lengths (B) -> (B)"), CLASSIFY, None),
        (a("x (B, T, F) -> (B, C)"), SEQUENCE, REGRESS, "cannot compare with the targets (B) of data"),
        (a("x (B, T, F) -> (B, C)"), a("x (B, T, F) -> ()"), CLASSIFY, "data has no targets, which task needs"),
        (a("x (B, ...) -> (B, ...)"), a("x (B, F) -> ()"), NOTHING, None),
        (a("x (B, T, F) -> (B, C)"), a("x (B, T, F) -> (B, K)"), a("(B, C) -> (B, K)"), None),
        (a("x (B, T, F) -> (B, C)"), SEQUENCE, a("(B, C) -> (B, K)"), "cannot compare with the targets (B) of data"),
        (a("x (B, T, F) -> (B, C)"), SEQUENCE, a("x (B, C), y (B) -> (B)"), None),
        (
            a("x (B, F) -> (B, C)"),
            SEQUENCE,
            a("(B) -> (B)", needs=("encode",)),
            "data with task needs encode(), which model does not have",
        ),
    ],
)
def test_a_pair_fits_or_a_sentence_says_why(
    model: Signature, data: Signature, task: Signature, words: str | None
) -> None:
    reason = compatibility.find_incompatibility(model, data, task)
    assert (reason is None) if words is None else (reason is not None and words in reason), reason


def test_the_sentence_speaks_of_the_options() -> None:
    targets = {
        "model": "trainer.models.tabular.mlp.MLP",
        "data": "trainer.data.datasets.tabular.synthetic.Moons",
        "task": "trainer.tasks.gan.Adversarial",
    }
    reason = compatibility.explain_incompatibility(targets, {"model": "mine", "data": "yours", "task": "theirs"})
    assert reason is not None
    assert "model mine" in reason
