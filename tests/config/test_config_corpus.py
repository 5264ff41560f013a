"""Misspelled keys, wrong types and out-of-range values of every key of every option are refused."""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import pytest

from tests.helpers import option_files
from tests.helpers.refusals import collect_problems
from trainer.config import introspection, registry
from trainer.config.annotations import UNCHECKED_TYPE
from trainer.config.schema import Settings
from trainer.core.types import DataPath, PathText, Range


@dataclass(frozen=True)
class Key:
    option: str
    """``model=lstm``, or empty for global keys."""
    place: str
    """``model.hidden_size``"""
    kind: Any
    neighbors: frozenset[str]


def list_keys() -> list[Key]:
    global_types = get_type_hints(Settings, include_extras=True)
    result = [Key("", name, kind, frozenset({*global_types, *registry.GROUPS})) for name, kind in global_types.items()]
    for group in registry.OBJECT_GROUPS:
        for name, option in registry.list_options(group).items():
            assert option.class_path, f"{option.path} names no class"
            signature = introspection.read_signature(option.class_path)
            assert signature, f"{option.path}: there is no class {option.class_path}"
            names = [key for key in read_yaml_keys(option) if key in signature.init_types]
            kinds = {key: signature.init_types[key] for key in names}
            result += [Key(f"{group}={name}", f"{group}.{k}", kind, frozenset(kinds)) for k, kind in kinds.items()]
    return result


def read_yaml_keys(option: registry.ConfigOption) -> list[str]:
    """Return the keys of a group in its YAML file, read independently of the package."""
    return [key for key in option_files.read_keys(option) if not key.startswith("_")]


KEYS = list_keys()


def make_typos(word: str) -> Iterator[str]:
    """Yield the word with a letter dropped, doubled and transposed in the middle."""
    middle = len(word) // 2
    yield word[:middle] + word[middle + 1 :]
    yield word[:middle] + word[middle] + word[middle:]
    yield word[: middle - 1] + word[middle] + word[middle - 1] + word[middle + 1 :]


def make_value_of_wrong_type(kind: Any) -> str:
    """Return an override value that no annotation of this kind accepts."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return make_value_of_wrong_type(args[0])
    if origin in (Union, types.UnionType):
        return next((make_value_of_wrong_type(arg) for arg in args if get_origin(arg) in (list, tuple)), None) or (
            "[[x]]" if {str, DataPath} & set(args) else "zzz"
        )
    if origin in (list, tuple) or kind in (list, tuple):
        return "{zzz: 1}"
    return "[1]" if kind is str else "zzz"


def make_values_out_of_range(kind: Any) -> list[str]:
    """Return values just outside the interval of a kind, and non-finite numbers for floats."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        interval = args[1]
        if isinstance(interval, PathText):
            return []
        if not isinstance(interval, Range):
            return ["zzz"]
        ends = [interval.gt, interval.ge - 1, interval.lt, interval.le + 1]
        non_finite = ["nan", "inf", "-inf"] if args[0] is float else []
        return [f"{end:.12g}" for end in ends if abs(end) < 1e300] + non_finite
    if origin in (Union, types.UnionType):
        return [value for arg in args for value in make_values_out_of_range(arg)]
    if origin in (list, tuple):
        element = next((value for arg in args if arg is not ... for value in make_values_out_of_range(arg)), None)
        count = len(args) if origin is tuple and ... not in args else 1
        return [] if element is None else [f"[{','.join([element] * count)}]"]
    return []


def group_by_option(cases: list[tuple[Key, str, str]]) -> dict[str, list[tuple[Key, str, str]]]:
    """Group cases so that no two in a group set the same key: all problems are reported at once."""
    groups: dict[str, list[tuple[Key, str, str]]] = {}
    for case in cases:
        number = 0
        while any(place == case[1] for _, place, _ in groups.get(f"{case[0].option}#{number}", [])):
            number += 1
        groups.setdefault(f"{case[0].option}#{number}", []).append(case)
    return groups


def collect_messages(cases: list[tuple[Key, str, str]]) -> list[tuple[Key, str, str, str]]:
    """Return (key, place, value, message) of every case; the message of an accepted value is empty."""
    result = []
    for name, group in group_by_option(cases).items():
        option = [name.split("#")[0]] if name.split("#")[0] else []
        problems = collect_problems(*option, *(f"{place}={value}" for _, place, value in group))
        for key, place, value in group:
            messages = [problem for problem in problems if problem.startswith(f"{place}: ")]
            result.append((key, place, value, messages[0] if messages else ""))
    return result


@pytest.mark.slow
def test_every_misspelled_key_is_refused_with_the_right_suggestion(record_property: Any) -> None:
    cases = []
    for number, key in enumerate(KEYS):
        prefix, _, name = key.place.rpartition(".")
        typos = [typo for typo in make_typos(name) if typo.isidentifier() and typo not in key.neighbors]
        if typos:  # one of the three kinds for each key, in turn
            typo = typos[number % len(typos)]
            cases.append((key, f"{prefix}.{typo}" if prefix else typo, "1"))
    messages = collect_messages(cases)
    accepted = [f"{place}={value}" for _, place, value, message in messages if "unknown key" not in message]
    assert not accepted
    unhelpful = [message for key, *_, message in messages if not message.endswith(f"did you mean {key.place}?")]
    share = 1 - len(unhelpful) / len(messages)
    record_property("misspelled keys", len(messages))
    record_property("suggested rightly", share)
    print(f"\n{len(messages)} misspelled keys, {share:.2%} suggested rightly; wrong: {unhelpful}")
    assert share >= 0.95, unhelpful


@pytest.mark.slow
def test_every_wrong_type_is_refused(record_property: Any) -> None:
    messages = collect_messages([(key, key.place, make_value_of_wrong_type(key.kind)) for key in KEYS])
    record_property("wrong types", len(messages))
    print(f"\n{len(messages)} wrong types")
    accepted = [
        f"{key.option} {place}={value}" for key, place, value, message in messages if "it must be" not in message
    ]
    assert not accepted


@pytest.mark.slow
def test_every_value_out_of_range_is_refused(record_property: Any) -> None:
    messages = collect_messages(
        [(key, key.place, value) for key in KEYS for value in make_values_out_of_range(key.kind)]
    )
    record_property("out of range", len(messages))
    print(f"\n{len(messages)} values out of range")
    accepted = [
        f"{key.option} {place}={value}" for key, place, value, message in messages if "it must be" not in message
    ]
    assert not accepted


def test_every_key_has_a_type() -> None:
    """A parameter whose annotation cannot be read would accept any value."""
    assert [f"{key.option} {key.place}" for key in KEYS if key.kind is UNCHECKED_TYPE] == []


@pytest.mark.slow
def test_every_misspelled_option_is_refused_with_the_right_suggestion(record_property: Any) -> None:
    count, helpful, unhelpful = 0, 0, []
    for group in registry.OBJECT_GROUPS:
        names = registry.list_options(group)
        for name in names:
            for typo in dict.fromkeys(make_typos(name)):
                if typo in names:
                    continue
                count += 1
                (problem,) = collect_problems(f"{group}={typo}")
                assert problem.startswith(f"{group} {typo!r} not found")
                assert f"choices: {', '.join(names)}" in problem
                if f"did you mean {name}?" in problem:
                    helpful += 1
                else:
                    unhelpful.append(problem.split(" choices")[0])
    record_property("misspelled options", count)
    print(f"\n{count} misspelled options, {helpful / count:.2%} suggested rightly; wrong: {unhelpful}")
    assert helpful / count >= 0.95, unhelpful
