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
    gc.unfreeze()


def test_an_error_turns_collection_on_again() -> None:
    with pytest.raises(KeyError), pause_gc():
        raise KeyError
    assert gc.isenabled()
    gc.unfreeze()


def test_existing_objects_are_exempt_from_later_collections() -> None:
    gc.unfreeze()
    with pause_gc():
        pass
    assert gc.get_freeze_count() > 0
    gc.unfreeze()
    gc.disable()
    try:
        with pause_gc():
            pass
        assert not gc.isenabled()
        assert gc.get_freeze_count() == 0
    finally:
        gc.enable()
