"""Spaces of a search: ranges in Hydra's grammar, and the values at positions in the unit interval."""

from __future__ import annotations

import math

import pytest

from trainer.config.search_space import Choice, Interval, parse_space
from trainer.utils.errors import ConfigError


def parse_one(word: str) -> Choice | Interval:
    (dimension,) = parse_space([word]).dimensions
    return dimension


@pytest.mark.parametrize(
    ("word", "values"),
    [
        ("batch_size=16,32", ["16", "32"]),
        ("batch_size=choice(16,32,16)", ["16", "32"]),
        ("model.hidden_size=range(32,129,32)", ["32", "64", "96", "128"]),
        ("optimizer.lr=range(0.1,0.35,0.1)", ["0.1", "0.2", "0.3"]),
        ("model.hidden=[4],[8,8]", ["[4]", "[8,8]"]),
        ("optimizer=glob(ad*)", ["adadelta", "adagrad", "adam", "adamax", "adamw"]),
    ],
)
def test_lists_have_the_values_of_hydra(word: str, values: list[str]) -> None:
    dimension = parse_one(word)
    assert isinstance(dimension, Choice)
    found = list(dimension.values)
    assert found == values if "glob" not in word else {"adam", "adamw"} <= {*found}
    positions = [(index + 0.5) / len(found) for index in range(len(found))]
    assert [dimension.pick(position) for position in (0.0, *positions, 1.0)] == [found[0], *found, found[-1]]


def test_logarithms_of_an_interval_are_uniform() -> None:
    dimension = parse_one("optimizer.lr=tag(log,interval(1e-4,1e-1))")
    assert [dimension.pick(position) for position in (0.0, 1 / 3, 2 / 3, 1.0)] == ["0.0001", "0.001", "0.01", "0.1"]
    assert dimension.encode("0.01") == math.log(0.01)
    assert dimension.size is None


def test_integers_of_an_interval_include_both_bounds_and_are_equally_likely() -> None:
    dimension = parse_one("model.hidden_size=int(interval(3,6))")
    picked = [dimension.pick((index + 0.5) / 400) for index in range(400)]
    assert {value: picked.count(value) for value in {*picked}} == {"3": 100, "4": 100, "5": 100, "6": 100}
    assert dimension.size == 4
    logarithmic = parse_one("model.hidden_size=tag(log,int(interval(1,64)))")
    picked = [logarithmic.pick(index / 1000) for index in range(1001)]
    assert (min(map(int, picked)), max(map(int, picked))) == (1, 64)


def test_numbers_are_short_and_stay_within_their_bounds() -> None:
    dimension = parse_one("optimizer.lr=interval(0.12345678,0.98765432)")
    picked = [dimension.pick(index / 100) for index in range(101)]
    assert all(0.12345678 <= float(value) <= 0.98765432 for value in picked)
    assert all(len(value) <= 6 for value in picked[1:-1])


def test_last_override_of_a_key_counts_and_the_others_are_fixed() -> None:
    space = parse_space(["batch_size=16,32", "epochs=2", "batch_size=64,128", "model=mlp"])
    assert [dimension.key for dimension in space.dimensions] == ["batch_size"]
    assert space.fixed == ("epochs=2", "model=mlp")
    assert space.to_overrides({"batch_size": "64"}) == ["epochs=2", "model=mlp", "batch_size=64"]
    with pytest.raises(ConfigError, match="no key has several values"):
        parse_space(["batch_size=16,32", "batch_size=64"])


def test_size_is_that_of_the_grid() -> None:
    assert parse_space(["batch_size=16,32", "model.hidden_size=int(interval(1,4))"]).size == 8
    assert parse_space(["batch_size=16,32", "optimizer.lr=interval(0,1)"]).size is None


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("optimizer.lr=interval(2,1)", "LOW below HIGH"),
        ("optimizer.lr=interval(1,1)", "LOW below HIGH"),
        ("optimizer.lr=interval(0,inf)", "finite numbers"),
        ("optimizer.lr=tag(log,interval(0,1))", "numbers above 0"),
        ("optimizer.lr=tag(lgo,interval(1,2))", "tag lgo has no meaning"),
        ("optimizer.lr=tag(log,choice(1,2))", "is about interval"),
        ("seed=0,1", "seeds=N"),
        ("threads=1,2", "nothing to search"),
        ("monitor=loss,accuracy", "different metrics"),
        ("task=classification,regression", "different metrics"),
        ("data=moons,swiss_roll", "different rows"),
        ("data.path=a.csv,b.csv", "different rows"),
        ("data.target=a,b", "different rows"),
        ("data.seed=0,1", "different rows"),
        ("model=lstm,lstn", "did you mean lstm"),
        ("model=glob(nothing*)", "no model has such a name"),
        ("batch_size=range(0,0)", "contains no value"),
        ("hydra.run.dir=a,b", "take one value"),
        ("+batch_siz=1,2", "adds keys that nothing reads"),
    ],
)
def test_ranges_without_a_meaning_are_refused(word: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_space([word])


def test_all_problems_are_listed() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_space(["seed=0,1", "optimizer.lr=interval(2,1)", "epochs=2,4", "max_steps=9"])
    assert len(caught.value.problems) == 3
