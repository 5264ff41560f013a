"""Exports of untrained models of ``conf/model`` on a fitting small data set."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from tests.helpers.pairs import Pair, first_dataset, make_pair
from trainer.config import introspection
from trainer.core import rng
from trainer.export.export_run import export_task
from trainer.export.exportable import Exportable, make_exportable
from trainer.export.tracing import silence_exporter, trace

ONE_LAYER = ("model.layers=1",)
SMALLER: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("gpt", "vit_tiny", "hybrid_cnn_transformer", "transformer", "token_transformer"), ONE_LAYER),
    "patch_transformer": ONE_LAYER,
    "transformer_seq2seq": (*ONE_LAYER, "model.decoder_layers=1"),
    "brain": ("model.num_layers=1",),
    "nested_rnn": ("model.num_layers=2",),
    "real_nvp": ("model.blocks=2",),
    "efficientnet": ("model.phi=-20",),
    "vq_vae_conv": ("model.prior_layers=1",),
}
"""Options that shorten a model, because the time of an export grows with its number of operations."""


def make_export_pair(model: str, *overrides: str, data: str | None = None) -> Pair:
    """Build a model with its first compatible data set; no parameter is zero, which would hide errors."""
    pair = make_pair(model, data or first_dataset(model), *overrides)
    with torch.no_grad(), rng.fork_rng(0, torch.device("cpu")):
        for parameter in pair.task.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.1)
    return pair


def export_pair(pair: Pair, directory: Path, *formats: str) -> dict[str, Any]:
    """Export the untrained model of a pair; return ``check.json``."""
    return export_task(pair.task, pair.data, pair.config.tree["model"]["_target_"], formats, directory)


def trace_pair(pair: Pair) -> Exportable:
    """Trace the untrained model of a pair, without writing a file."""
    with silence_exporter():
        return trace(make_pair_exportable(pair))


def make_pair_exportable(pair: Pair) -> Exportable:
    """Return the inference module of the untrained model of a pair with its inputs."""
    signature = introspection.read_signature(pair.config.tree["model"]["_target_"])
    assert signature is not None
    return make_exportable(pair.task, pair.data, signature.shapes)


@contextmanager
def record_own_paths() -> Iterator[set[str]]:
    """Record the names of the modules that take a path of their own in an export inside the block."""
    is_exporting, names = torch.compiler.is_exporting, set[str]()

    def record() -> bool:
        if is_exporting():
            names.add(Path(sys._getframe(1).f_code.co_filename).stem)
        return is_exporting()

    with patch.object(torch.compiler, "is_exporting", record):
        yield names
