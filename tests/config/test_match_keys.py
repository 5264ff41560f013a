"""Keys of equal size are checked with each other, before torch is imported."""

from __future__ import annotations

import pytest

from trainer.config import compose
from trainer.config.match_keys import drop_match, parse_target
from trainer.utils.errors import ConfigError

REFUSED_TARGETS = ("50kk", "-3", "0", "0k", "0.0M", "0.00k", ".5M", "5.M", "k", "many")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("50k", 5e4),
        ("2.5M", 2.5e6),
        ("1G", 1e9),
        ("700", 700),
        (1234, 1234),
        ("2ms", 2e-3),
        ("500us", 5e-4),
        ("1.5s", 1.5),
    ],
)
def test_targets_have_units(text: float | str, number: float) -> None:
    assert parse_target(text) == number


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("match=params",), "match: params needs target=NUMBER"),
        (("target=50k",), "target: it has no effect without match"),
        (("match_keys=[model.hidden]",), "match_keys: it has no effect without match"),
        (("match=params", "target=1k", "match_keys=[model.hiden]"), "match_keys: the model has no key 'model.hiden'"),
        (("match=width", "target=1k"), "match: 'width' given"),
        (("match=seconds",), "match: seconds needs target=NUMBER, such as 2ms"),
        (
            ("match=seconds", "target=50k"),
            "target: 50k given; match=seconds needs a number with one of the units us, ms",
        ),
        (
            ("match=params", "target=2ms"),
            "target: 2ms given; match=params needs a number with one of the units k, M, G",
        ),
        (("match=seconds", "target=2ms", "resume=auto"), "resume: auto does not find a run of match=seconds"),
        *((("match=params", f"target={target}"), "target: ") for target in REFUSED_TARGETS),
    ],
)
def test_invalid_keys_are_refused(overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        compose.compose(["model=mlp", "data=moons", *overrides])


@pytest.mark.parametrize("target", ["0.5M", "0.05M", "10.0k", "2.50M", "1G", "0.5"])
def test_fractions_of_a_unit_are_targets(target: str) -> None:
    config = compose.compose(["model=mlp", "data=moons", "match=params", f"target={target}"])
    assert str(config.settings.target) == target


def test_solved_widths_replace_the_keys() -> None:
    tree = {
        "model": {"hidden": [4], "dropout": 0},
        "match": "params",
        "target": "1k",
        "match_keys": ["hidden"],
    }
    expected = {"model": {"hidden": [9], "dropout": 0}, "match": None, "target": None, "match_keys": []}
    assert drop_match(tree, {"hidden": [9]}) == expected
