"""Compatibility of models, data sets and tasks by their shapes."""

from __future__ import annotations

import re

import pytest

from trainer.config import compatibility
from trainer.config.introspection import Parameter, Signature
from trainer.core import shapes
from trainer.core.shapes import Shapes

FORWARD = ("forward",)


def make_signature(
    line: str,
    *,
    optional: tuple[str, ...] = (),
    methods: tuple[str, ...] = FORWARD,
    needs: tuple[str, ...] = FORWARD,
) -> Signature:
    entry = {name: Parameter(object, "None") for name in optional}
    return Signature("", line, dict.fromkeys(methods, entry), needs)


CLASSIFY, REGRESS, NOTHING = (
    make_signature("(B, C, ...) -> (B, ...)"),
    make_signature("(B, ...) -> (B, ...)"),
    make_signature("(...) -> ()"),
)
SEQUENCE = make_signature("x (B, T, F) -> (B)")


def test_shapes_line_is_parsed() -> None:
    assert compatibility.parse_shapes("x (B, T, F), lengths (B) -> (B, C)") == Shapes(
        {"x": ("B", "T", "F"), "lengths": ("B",)}, ("B", "C")
    )
    assert compatibility.parse_shapes("x (B, F) -> ()") == Shapes({"x": ("B", "F")}, None)
    assert compatibility.parse_shapes("(B, C, ...) -> (B, ...)") == Shapes({"": ("B", "C", "...")}, ("B", "..."))
    assert compatibility.parse_shapes("A model.") is None


TEXT_OR_IMAGE = "x (B, S), lengths (B) -> (B, C) or x (B, C, H, W) -> (B, C)"


def test_alternatives_are_parsed() -> None:
    parsed = shapes.parse_alternatives(TEXT_OR_IMAGE)
    assert [dict(item.inputs) for item in parsed] == [
        {"x": ("B", "S"), "lengths": ("B",)},
        {"x": ("B", "C", "H", "W")},
    ]
    assert shapes.parse_alternatives("A model.") == ()
    with pytest.raises(ValueError, match=r"shapes: 'x \(B, F\) -> B' given"):
        shapes.parse_alternatives("x (B, S) -> (B, C) or x (B, F) -> B")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("x (B, S), lengths (B) -> (B)", None),
        ("x (B, S) -> (B)", None),
        ("x (B, C, H, W) -> (B)", None),
        ("x (B, C, H, W), lengths (B) -> (B)", "takes no lengths"),
        ("x (B, C, H, W) -> (B, H, W)", "cannot compare with the targets (B, H, W) of data"),
        ("x (B, F) -> (B)", "model needs x (B, S) or x (B, C, H, W); data gives x (B, F)"),
    ],
)
def test_data_must_fit_one_of_the_alternatives(data: str, expected: str | None) -> None:
    model = make_signature(TEXT_OR_IMAGE, optional=("lengths",))
    reason = compatibility.find_incompatibility(model, make_signature(data), CLASSIFY)
    assert (reason is None) if expected is None else (reason is not None and expected in reason), reason


@pytest.mark.parametrize(
    "line",
    ["x (B, T, F -> (B, C)", "x (B, F) -> B, C", "x B, F -> (B)", "x (B), -> (B)", "x (B) y (B) -> (B)", "-> (B)"],
)
def test_malformed_shapes_line_raises(line: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"shapes: {line!r} given")):
        compatibility.parse_shapes(line)


@pytest.mark.parametrize(
    ("pattern", "dims", "fits"),
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
def test_dims_match_by_letter(pattern: str, dims: str, fits: bool) -> None:
    assert compatibility.is_compatible(tuple(pattern.split()), tuple(dims.split())) is fits


@pytest.mark.parametrize(
    ("model", "data", "task", "expected"),
    [
        (make_signature("x (B, F) -> (B, C)"), make_signature("x (N, F), edge_index (2, E) -> (N)"), CLASSIFY, None),
        (
            make_signature("x (B, ...) -> (B, ...)"),
            make_signature("x (N, F), edge_index (2, E) -> (N)"),
            NOTHING,
            "model with task needs independent rows (B, ...); data gives x (N, F)",
        ),
        (
            make_signature("x (N, F), edge_index (2, E) -> (N, C)"),
            make_signature("x (N, F), edge_index (2, E), sizes (G) -> (G)"),
            CLASSIFY,
            "model gives (N, C), one for each node; data has targets for each graph",
        ),
        (
            make_signature("x (N, F), sizes (G) -> (G, C)"),
            make_signature("x (N, F), edge_index (2, E), sizes (G) -> (G)"),
            CLASSIFY,
            None,
        ),
        (
            make_signature("x (B, ...) -> (B, C)"),
            make_signature("x (N, F), edge_index (2, E), pairs (P, 2) -> (P)"),
            CLASSIFY,
            "model gives (B, C), one for each node; data has targets for each pair of nodes",
        ),
        (make_signature("x (B, T, F) -> (B, C)"), SEQUENCE, CLASSIFY, None),
        (make_signature("x (B, F) -> (B, C)"), SEQUENCE, CLASSIFY, "model needs x (B, F); data gives x (B, T, F)"),
        (make_signature("x (N, F), edges (2, E) -> (N, C)"), SEQUENCE, CLASSIFY, "model needs x (N, F), edges (2, E)"),
        (
            make_signature("x (B, T, F), y (B) -> (B, C)"),
            SEQUENCE,
            CLASSIFY,
            "model needs x (B, T, F), y (B); data gives x (B, T, F)",
        ),
        (make_signature("x (B, T, F), y (B) -> (B, C)", optional=("y",)), SEQUENCE, CLASSIFY, None),
        (
            make_signature("x (B, T, F) -> (B, C)"),
            make_signature("x (B, T, F), lengths (B) -> (B)"),
            CLASSIFY,
            "read the padding",
        ),
        (
            make_signature("x (B, T, F), lengths (B) -> (B, C)"),
            make_signature("x (B, T, F), lengths (B) -> (B)"),
            CLASSIFY,
            None,
        ),
        (make_signature("x (B, T, F) -> (B, C)"), SEQUENCE, REGRESS, "cannot compare with the targets (B) of data"),
        (
            make_signature("x (B, T, F) -> (B, C)"),
            make_signature("x (B, T, F) -> ()"),
            CLASSIFY,
            "data has no targets, which task needs",
        ),
        (make_signature("x (B, ...) -> (B, ...)"), make_signature("x (B, F) -> ()"), NOTHING, None),
        (
            make_signature("x (B, T, F) -> (B, C)"),
            make_signature("x (B, T, F) -> (B, K)"),
            make_signature("(B, C) -> (B, K)"),
            None,
        ),
        (
            make_signature("x (B, T, F) -> (B, C)"),
            SEQUENCE,
            make_signature("(B, C) -> (B, K)"),
            "cannot compare with the targets (B) of data",
        ),
        (make_signature("x (B, T, F) -> (B, C)"), SEQUENCE, make_signature("x (B, C), y (B) -> (B)"), None),
        (
            make_signature("x (B, F) -> (B, C)"),
            SEQUENCE,
            make_signature("(B) -> (B)", needs=("encode",)),
            "data with task needs encode(), which model does not have",
        ),
    ],
)
def test_incompatibility_is_explained(model: Signature, data: Signature, task: Signature, expected: str | None) -> None:
    reason = compatibility.find_incompatibility(model, data, task)
    assert (reason is None) if expected is None else (reason is not None and expected in reason), reason


def test_explanation_contains_option_names() -> None:
    targets = {
        "model": "trainer.models.tabular.mlp.MLP",
        "data": "trainer.data.datasets.tabular.synthetic.Moons",
        "task": "trainer.tasks.gan.Adversarial",
    }
    reason = compatibility.explain_incompatibility(targets, {"model": "mine", "data": "yours", "task": "theirs"})
    assert reason is not None
    assert "model mine" in reason
