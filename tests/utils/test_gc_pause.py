from __future__ import annotations

import gc

import pytest

from trainer.utils.gc_pause import pause_gc


def test_collection_is_off_within_and_on_after() -> None:
    assert gc.isenabled()
    with pause_gc():
        assert not gc.isenabled()
        with pause_gc():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_an_error_turns_collection_on_again() -> None:
    with pytest.raises(KeyError), pause_gc():
        raise KeyError
    assert gc.isenabled()


def test_only_a_command_exempts_existing_objects_from_collection_and_once() -> None:
    gc.unfreeze()
    with pause_gc():
        pass
    assert gc.get_freeze_count() == 0
    with pause_gc(freeze=True):
        pass
    count = gc.get_freeze_count()
    assert count > 0
    kept = [[] for _ in range(10_000)]
    with pause_gc(freeze=True):
        pass
    assert gc.get_freeze_count() <= count + 100, len(kept)
    gc.unfreeze()
