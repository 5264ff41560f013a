"""Pauses of the garbage collector."""

from __future__ import annotations

import gc

import pytest

from trainer.utils.gc_pause import pause_gc


def test_nested_pauses_disable_and_restore_collection() -> None:
    assert gc.isenabled()
    with pause_gc():
        assert not gc.isenabled()
        with pause_gc():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_collection_is_restored_after_an_error() -> None:
    with pytest.raises(KeyError), pause_gc():
        raise KeyError
    assert gc.isenabled()


@pytest.mark.slow
def test_freeze_exempts_existing_objects_only_once() -> None:
    gc.unfreeze()
    with pause_gc():
        pass
    assert gc.get_freeze_count() == 0
    with pause_gc(freeze=True):
        pass
    count = gc.get_freeze_count()
    assert count > 0
    objects = [[] for _ in range(10_000)]
    with pause_gc(freeze=True):
        pass
    assert gc.get_freeze_count() <= count + 100, len(objects)
    gc.unfreeze()
