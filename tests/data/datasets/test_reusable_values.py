"""Fitted values that ``init_from`` reuses: every data set that fits values declares those of its inputs."""

from __future__ import annotations

import pytest

from tests.helpers.pairs import DATA
from trainer.config import introspection
from trainer.core.dataset import Dataset
from trainer.engine import factory

OPTIONS = {
    str(option.class_path): set(signature.init_types)
    for option in DATA.values()
    if (signature := introspection.read_signature(str(option.class_path))) and "fitted" in signature.init_types
}
"""Options of each data set that fits values."""


@pytest.mark.parametrize("class_path", sorted(OPTIONS))
def test_values_and_their_options_are_declared(class_path: str) -> None:
    kind: type[Dataset] = factory.find_class({"_target_": class_path}, Dataset)  # type: ignore[type-abstract]
    assert kind.reusable_values
    assert {key for keys in kind.reusable_values.values() for key in keys} <= OPTIONS[class_path]
    # What belongs to the rows is fitted anew.
    assert not {"split", "classes", "labels", "ends", "boundary_contexts"} & kind.reusable_values.keys()
    assert set(kind.counted_values.values()) <= kind.reusable_values.keys()
