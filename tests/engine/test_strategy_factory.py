"""Selection of the strategy of a run."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_fsdp_is_imported_by_no_run_that_does_not_use_it() -> None:
    code = "import sys; import trainer.runs.train; print([name for name in sys.modules if name.endswith('.fsdp')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
