"""Exhausted memory, described: in which phase of training, how much was needed, and what needs less."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable
from types import FrameType

from trainer.config.schema import Settings
from trainer.core.batch import Batch

_PHASES = (
    ("torch.autograd", "backward", "the backward pass"),
    ("trainer.engine.param_group", "step", "the optimizer step"),
    ("trainer.engine.evaluation", None, "an evaluation"),
    ("trainer.engine.strategy", None, "the forward pass"),
    ("trainer.engine.sanity_check", None, "the forward pass"),
    ("trainer.engine.dataloader", None, "loading a batch"),
    ("trainer.engine.dataset_loading", None, "loading the data"),
    ("trainer.engine.checkpoint_callback", None, "a checkpoint"),
)
"""Phases by module and function of a frame of the traceback; those that call others come later."""
_REQUEST = re.compile(r"[Tt]ried to allocate ([\d.]+) (bytes|[KMG]iB)")
_UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def describe_memory_error(error: BaseException, settings: Settings) -> str:
    """Describe an error for which memory was exhausted, with a remedy.

    Args:
        error: The error of torch or Python.
        settings: Settings of the run.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    phase = _find_phase(frames)
    where = f" in {phase}" if phase else ""
    num_rows = next((len(batch) for frame in frames if isinstance(batch := frame.f_locals.get("batch"), Batch)), None)
    batch_size = min(settings.batch_size, num_rows or settings.batch_size)
    if batch_size > 1:
        smaller = f"batch_size={-(-batch_size // 2)} accumulate={2 * settings.accumulate}"
        remedy = f"{smaller} has the same gradient and needs less, as do checkpoint_activations and a smaller model"
    else:
        remedy = "a smaller model, or smaller inputs, need less"
    return f"out of memory{where}, batch_size={settings.batch_size}: {_describe_request(error)}; {remedy}"


def _find_phase(frames: Iterable[FrameType]) -> str | None:
    """Return the phase of a traceback: the first of the table that one of its frames belongs to."""
    places = {(str(frame.f_globals.get("__name__", "")), frame.f_code.co_name) for frame in frames}
    for module, function, phase in _PHASES:
        if any(name == module and function in (None, called) for name, called in places):
            return phase
    return None


def _describe_request(error: BaseException) -> str:
    """Return how much memory was requested, or the first line of the message."""
    match = _REQUEST.search(str(error))
    if match is None:
        return str(error).split("\n")[0] or type(error).__name__
    return f"tried to allocate {float(match.group(1)) * _UNITS[match.group(2)] / 1e9:.3g} GB"
