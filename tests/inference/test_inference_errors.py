"""Errors of models that are applied to other rows."""

from __future__ import annotations

import pytest
import torch

from trainer.inference.inference_errors import explain_inference_errors
from trainer.utils.errors import SystemFault


def test_exhausted_memory_is_a_system_fault_with_a_remedy() -> None:
    with (
        pytest.raises(SystemFault, match=r"out of memory: .*; a smaller batch_size, or smaller inputs, need less"),
        explain_inference_errors({}),
    ):
        torch.empty(2**60)


def test_other_errors_pass_with_their_traceback() -> None:
    with pytest.raises(RuntimeError, match="another"), explain_inference_errors({}):
        raise RuntimeError("another")
