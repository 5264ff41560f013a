"""Exports of every model of ``conf/model``, untrained, and of options that have a path of their own in an export."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import exports
from tests.helpers.pairs import MODELS, Pair
from trainer.export.checking import check_outputs
from trainer.export.exportable import run_seeded

WRITTEN = {
    *("mlp", "bag_of_words", "text_lstm", "bilstm_tagger", "token_transformer", "seq2seq", "dlinear", "gru_forecaster"),
    *("cnn", "dynamic_cnn", "conv_lstm", "unet", "vit_tiny", "gat", "graph_net", "rgcn", "link_predictor"),
    *("distmult", "multimodal", "cgan", "vae", "diffusion", "vq_vae"),
}
"""Models of each family whose files are written and read back; ``python -m tests.gates.export`` does so for all."""
QUICK = {"matrix_factorization", "gcn", "binary_vae"}
OPTIONS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "LSTM encoder of padded sources": ("seq2seq", "pairs", ("model.cell=lstm", "model.attention=additive")),
    "learned positions end": ("token_transformer", "index_lookup", ("model.layers=1", "model.positions=learned")),
    "noise of every step": ("diffusion", "clusters16", ("task.sampler=ddpm", "task.timesteps=8", "task.prediction=x0")),
    "guidance by class": ("diffusion", "clusters16", ("model.num_classes=16", "task.guidance=2.0", "task.steps=4")),
    "flow": ("diffusion", "clusters16", ("task=flow_matching", "task.sampler=heun", "task.steps=4")),
}
"""Model, data set and options of paths that the defaults of no model take in an export."""


TRACED = [pytest.param(m, marks=[pytest.mark.slow] * (m not in QUICK)) for m in MODELS if m not in WRITTEN]


def check_program(pair: Pair) -> None:
    """Compare a traced program, which no file holds, with its module."""
    exportable = exports.trace_pair(pair)
    module = exportable.program.module()
    assert len(check_outputs(exportable, lambda inputs: run_seeded(module, inputs), "torch_export")) >= 3


@pytest.mark.parametrize("model", TRACED)
def test_traced_program_equals_the_model(model: str) -> None:
    check_program(exports.make_export_pair(model, *exports.SMALLER.get(model, ())))


@pytest.mark.slow
@pytest.mark.parametrize("model", sorted(WRITTEN))
def test_exported_files_equal_the_model(model: str, tmp_path: Path) -> None:
    pair = exports.make_export_pair(model, *exports.SMALLER.get(model, ()))
    report = exports.export_pair(pair, tmp_path, "torch_export", "onnx")
    for name in ("torch_export", "onnx"):
        assert report["formats"][name]["largest_difference"] <= 1e-4
        assert len(report["formats"][name]["cases"]) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIONS)
def test_program_of_other_options_equals_the_model(name: str) -> None:
    model, data, overrides = OPTIONS[name]
    check_program(exports.make_export_pair(model, *overrides, data=data))
