"""Directories of sweeps that continue."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.helpers.commands import SMALL
from trainer.config import compose
from trainer.runs import sweep_dir


@pytest.mark.usefixtures("in_tmp")
def test_jobs_on_data_that_differs_between_its_samples_have_another_directory() -> None:
    config = compose.compose([*SMALL, "hydra.sweep.dir=outputs/sweep"])
    first, second = (
        [("job", replace(config, fingerprint={"digest": "same", "exact_digest": digest}))] for digest in ("a", "b")
    )
    path = sweep_dir.claim_sweep_dir(first)
    assert sweep_dir.find_sweep_dir(first) == path
    assert sweep_dir.find_sweep_dir(second) is None
