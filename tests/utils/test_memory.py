"""Memory of the machine and of this process."""

from __future__ import annotations

from trainer.utils.memory import count_machine_bytes, read_resident_bytes


def test_a_process_has_a_part_of_the_memory() -> None:
    assert 10**6 < read_resident_bytes() < count_machine_bytes()
