"""Every key of every option, wrong in every way it can be wrong, is refused with the name that was meant."""

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
    """``model=lstm``, or nothing for the flat keys."""
    place: str
    """``model.hidden_size``"""
    kind: Any
    neighbours: frozenset[str]


def keys() -> list[Key]:
    flat = get_type_hints(Settings, include_extras=True)
    found = [Key("", name, kind, frozenset({*flat, *registry.GROUPS})) for name, kind in flat.items()]
    for group in registry.OBJECT_GROUPS:
        for name, option in registry.list_options(group).items():
            assert option.class_path, f"{option.path} names no class"
            read = introspection.read_signature(option.class_path)
            assert read, f"{option.path}: there is no class {option.class_path}"
            written = [key for key in written_keys(option) if key in read.init_types]
            kinds = {key: read.init_types[key] for key in written}
            found += [Key(f"{group}={name}", f"{group}.{k}", kind, frozenset(kinds)) for k, kind in kinds.items()]
    return found


def written_keys(option: registry.ConfigOption) -> list[str]:
    """The keys of a group in its YAML, read by another reader than the program's."""
    return [key for key in option_files.read_keys(option) if not key.startswith("_")]


KEYS = keys()


def typos(word: str) -> Iterator[str]:
    """A letter lost, a letter twice, two letters swapped: in the middle of the word, where hands slip."""
    middle = len(word) // 2
    yield word[:middle] + word[middle + 1 :]
    yield word[:middle] + word[middle] + word[middle:]
    yield word[: middle - 1] + word[middle] + word[middle - 1] + word[middle + 1 :]


def wrong_type(kind: Any) -> str:
    """An override value that no annotation of this kind may take."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return wrong_type(args[0])
    if origin in (Union, types.UnionType):
        return next((wrong_type(arg) for arg in args if get_origin(arg) in (list, tuple)), None) or (
            "[[x]]" if {str, DataPath} & set(args) else "zzz"
        )
    if origin in (list, tuple) or kind in (list, tuple):
        return "{zzz: 1}"
    return "[1]" if kind is str else "zzz"


def out_of_range(kind: Any) -> list[str]:
    """Values just outside the interval of a kind, and for real numbers what is no number."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        span = args[1]
        if isinstance(span, PathText):
            return []
        if not isinstance(span, Range):
            return ["zzz"]
        ends = [span.gt, span.ge - 1, span.lt, span.le + 1]
        strange = ["nan", "inf", "-inf"] if args[0] is float else []
        return [f"{end:g}" for end in ends if abs(end) < 1e300] + strange
    if origin in (Union, types.UnionType):
        return [value for arg in args for value in out_of_range(arg)]
    if origin in (list, tuple):
        one = next((value for arg in args if arg is not ... for value in out_of_range(arg)), None)
        count = len(args) if origin is tuple and ... not in args else 1
        return [] if one is None else [f"[{','.join([one] * count)}]"]
    return []


def by_option(made: list[tuple[Key, str, str]]) -> dict[str, list[tuple[Key, str, str]]]:
    """Cases grouped so that no two in a group set the same place: all problems are told at once."""
    groups: dict[str, list[tuple[Key, str, str]]] = {}
    for case in made:
        number = 0
        while any(place == case[1] for _, place, _ in groups.get(f"{case[0].option}#{number}", [])):
            number += 1
        groups.setdefault(f"{case[0].option}#{number}", []).append(case)
    return groups


def told(cases: list[tuple[Key, str, str]]) -> list[tuple[Key, str, str, str]]:
    """(key, place, value, what was said of it) of every case; nothing for a case that went through."""
    found = []
    for name, group in by_option(cases).items():
        chosen = [name.split("#")[0]] if name.split("#")[0] else []
        problems = collect_problems(*chosen, *(f"{place}={value}" for _, place, value in group))
        for key, place, value in group:
            said = [problem for problem in problems if problem.startswith(f"{place}: ")]
            found.append((key, place, value, said[0] if said else ""))
    return found


@pytest.mark.slow
def test_every_misspelled_key_is_refused_and_the_right_one_named(record_property: Any) -> None:
    cases = []
    for key in KEYS:
        above, _, word = key.place.rpartition(".")
        for typo in dict.fromkeys(typos(word)):
            if typo.isidentifier() and typo not in key.neighbours:
                cases.append((key, f"{above}.{typo}" if above else typo, "1"))
    answers = told(cases)
    missed = [f"{place}={value}" for _, place, value, said in answers if "unknown key" not in said]
    assert not missed
    wrong = [said for key, *_, said in answers if not said.endswith(f"did you mean {key.place}?")]
    share = 1 - len(wrong) / len(answers)
    record_property("misspelt keys", len(answers))
    record_property("suggested rightly", share)
    print(f"\n{len(answers)} misspelt keys, {share:.2%} suggested rightly; wrong: {wrong}")
    assert share >= 0.95, wrong


@pytest.mark.slow
def test_every_wrong_type_is_refused(record_property: Any) -> None:
    answers = told([(key, key.place, wrong_type(key.kind)) for key in KEYS])
    record_property("wrong types", len(answers))
    print(f"\n{len(answers)} wrong types")
    missed = [f"{key.option} {place}={value}" for key, place, value, said in answers if "it must be" not in said]
    assert not missed


@pytest.mark.slow
def test_every_value_out_of_range_is_refused(record_property: Any) -> None:
    answers = told([(key, key.place, value) for key in KEYS for value in out_of_range(key.kind)])
    record_property("out of range", len(answers))
    print(f"\n{len(answers)} values out of range")
    missed = [f"{key.option} {place}={value}" for key, place, value, said in answers if "it must be" not in said]
    assert not missed


def test_every_key_has_a_type() -> None:
    """A parameter whose annotation the check cannot read would let anything through."""
    assert [f"{key.option} {key.place}" for key in KEYS if key.kind is UNCHECKED_TYPE] == []


@pytest.mark.slow
def test_every_misspelled_option_is_refused_and_the_right_one_named(record_property: Any) -> None:
    asked, right, wrong = 0, 0, []
    for group in registry.OBJECT_GROUPS:
        names = registry.list_options(group)
        for name in names:
            for typo in dict.fromkeys(typos(name)):
                if typo in names:
                    continue
                asked += 1
                (problem,) = collect_problems(f"{group}={typo}")
                assert problem.startswith(f"{group} {typo!r} not found")
                assert f"choices: {', '.join(names)}" in problem
                if f"did you mean {name}?" in problem:
                    right += 1
                else:
                    wrong.append(problem.split(" choices")[0])
    record_property("misspelt options", asked)
    print(f"\n{asked} misspelt options, {right / asked:.2%} suggested rightly; wrong: {wrong}")
    assert right / asked >= 0.95, wrong
