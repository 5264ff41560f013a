"""Exports of untrained models of ``conf/model``, and of options that have a path of their own in an export.

``python -m tests.gates.export`` writes the files of all models.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import trainer
from tests.helpers import exports
from tests.helpers.pairs import MODELS, Pair
from trainer.export.checking import check_outputs
from trainer.export.exportable import run_seeded

WRITTEN = ("bilstm_tagger", "gat", "diffusion", "vq_vae")
"""Models whose files are written and read back: loops in both directions, edges, noise, loops of integers."""
OMITTED = {
    *("alexnet", "attention_cnn", "efficientnet", "hybrid_cnn_transformer", "mobilenet", "unet", "vgg", "cnn_lstm"),
    *("resnet", "vit_b16", "attention_rnn", "bigru", "bilstm", "birnn", "lstm", "nested_rnn", "rnn", "conv_lstm"),
    *("char_lstm", "text_gru", "text_lstm", "seq2seq", "transformer_seq2seq", "pretrained", "multimodal"),
    *("gnn", "gin", "sage", "mean_gnn", "graph_vae", "gcn_lstm", "gru_forecaster", "patch_transformer"),
    *("conv_vae", "dcgan", "diffusion_unet", "style_gan", "vq_vae_conv"),
}
"""Models that only the gate exports: they take no path in an export that no other model or ``OPTIONS`` takes."""
ELSEWHERE = {"bag_of_words", "cnn", "dlinear", "gru", "mlp"}
"""Models whose files the tests of ``tests/export`` write."""
QUICK = {"matrix_factorization", "gcn", "binary_vae"}
TRACED = MODELS.keys() - OMITTED - ELSEWHERE - set(WRITTEN)
OPTIONS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "LSTM encoder of padded sources": ("seq2seq", "pairs", ("model.cell=lstm", "model.attention=additive")),
    "causal mask": ("gpt", "text_file", ("model.layers=1", "model.attention=reference")),
    "learned positions end": ("token_transformer", "index_lookup", ("model.layers=1", "model.positions=learned")),
    "noise of every step": ("diffusion", "clusters16", ("task.sampler=ddpm", "task.timesteps=8", "task.prediction=x0")),
    "guidance by class": ("diffusion", "clusters16", ("model.num_classes=16", "task.guidance=2.0", "task.steps=4")),
    "flow": ("diffusion", "clusters16", ("task=flow_matching", "task.sampler=heun", "task.steps=4")),
}
"""Model, data set and options of paths that the defaults of no model take in an export."""
OWN_PATHS: dict[str, set[str]] = {
    "brain": {"spatiotemporal", "repeated_graph", "recurrent", "step_scan"},
    "graph_net": {"categorical_embedding", "graph_readout", "sparse", "graph", "tensor_cache"},
    "rgcn": {"relational_graph_conv"},
    "lenet": {"adaptive_pool"},
    "dynamic_cnn": {"attention_convs"},
    "LSTM encoder of padded sources": {"seq2seq"},
    "causal mask": {"attention"},
    "noise of every step": {"diffusion_process"},
}
"""Modules with a path of their own in an export, which the test of a model or of options takes."""
REFUSED = {"neural_ode"}
"""Modules that refuse an export, which ``tests/export`` tests."""


def check_program(pair: Pair, name: str) -> None:
    """Compare a traced program, which no file holds, with its module."""
    with exports.record_own_paths() as paths:
        exportable = exports.trace_pair(pair)
    assert OWN_PATHS.get(name, set()) <= paths
    module = exportable.exported_program.module()
    assert len(check_outputs(exportable, lambda inputs: run_seeded(module, inputs), "torch_export")) >= 3


@pytest.mark.slow
@pytest.mark.parametrize(
    "model", [pytest.param(m, marks=[pytest.mark.slow] * (m not in QUICK)) for m in sorted(TRACED)]
)
def test_traced_program_equals_the_model(model: str) -> None:
    check_program(exports.make_export_pair(model, *exports.SMALLER.get(model, ())), model)


@pytest.mark.slow
@pytest.mark.parametrize("model", WRITTEN)
def test_exported_files_equal_the_model(model: str, tmp_path: Path) -> None:
    pair = exports.make_export_pair(model, *exports.SMALLER.get(model, ()))
    report = exports.export_pair(pair, tmp_path, "torch_export", "onnx")
    for name in ("torch_export", "onnx"):
        assert report["formats"][name]["largest_difference"] <= 1e-4
        assert len(report["formats"][name]["cases"]) >= 3
    contents = json.loads((tmp_path / "preprocess.json").read_text())
    assert contents["program"] is None
    assert contents["reason"].startswith("the inputs of model.onnx are arrays: predict.py is for tables, ")
    assert not (tmp_path / "predict.py").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIONS)
def test_program_of_other_options_equals_the_model(name: str) -> None:
    model, data, overrides = OPTIONS[name]
    check_program(exports.make_export_pair(model, *overrides, data=data), name)


def test_every_path_of_exports_is_taken() -> None:
    files = Path(trainer.__file__).parent.rglob("*.py")
    found = {file.stem for file in files if "compiler.is_exporting()" in file.read_text(encoding="utf-8")}
    assert found == set().union(REFUSED, *OWN_PATHS.values())
    assert OWN_PATHS.keys() <= OPTIONS.keys() | TRACED
