"""A search that is killed again and again: the same command with resume=auto ends in the same tree, to the bit.

``TRAIN_TEST_KILLS=20`` kills it twenty times.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path

import pytest

from tests.helpers.commands import start, train
from tests.helpers.searches import SEARCH, list_digests, read_tree
from tests.helpers.sweeps import kill_tree

KILLS = int(os.environ.get("TRAIN_TEST_KILLS", "1"))
MAX_COMMANDS = 20 * KILLS
COMMAND = (*SEARCH, "save_every=0", "jobs=2")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux")
@pytest.mark.timeout(200 + 60 * KILLS)
def test_a_search_that_is_killed_ends_in_the_same_tree(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    done = train(*COMMAND, cwd=whole)
    assert done.returncode == 0, done.stderr
    num_files = count_files(whole)
    generator = random.Random(0)
    kills = 0
    for _ in range(MAX_COMMANDS):
        # At some number of files, not some time: commands take longer on a busy machine.
        first = count_files(broken)
        if first >= num_files - 1 and kills < KILLS:
            shutil.rmtree(broken / "outputs")
            first = 0
        target = generator.randint(first + 1, num_files - 1)
        process = start(*COMMAND, cwd=broken)
        while process.poll() is None and count_files(broken) < target:
            time.sleep(0.005)
        if process.poll() is None:
            kill_tree(process)
            kills += 1
        if kills == KILLS:
            break
    assert kills == KILLS
    done = train(*COMMAND, cwd=broken)
    assert done.returncode == 0, done.stderr
    assert read_tree(broken) == read_tree(whole)
    assert list_digests(broken) == list_digests(whole)


def count_files(folder: Path) -> int:
    """Return the number of files of runs, which grows while a search goes on."""
    return sum(path.name.startswith((".attempt", "last.pt", "best.pt", "results.json")) for path in folder.rglob("*"))
