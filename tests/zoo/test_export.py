"""Exports of every model of ``conf/model``, untrained, and of options that have a path of their own in an export."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.exports import SMALLER, export_pair, make_export_pair
from tests.helpers.pairs import MODELS

ONNX_MODELS = {
    *(
        "mlp",
        "bag_of_words",
        "text_lstm",
        "bilstm_tagger",
        "transformer",
        "gpt",
        "seq2seq",
        "dlinear",
        "gru_forecaster",
    ),
    *(
        "cnn",
        "dynamic_cnn",
        "conv_lstm",
        "unet",
        "vit_tiny",
        "lenet",
        "gcn",
        "gat",
        "graph_net",
        "rgcn",
        "link_predictor",
    ),
    *("distmult", "gcn_lstm", "multimodal", "cgan", "vae", "diffusion", "vq_vae"),
}
"""Models that are exported to ONNX here, some of each family; ``python -m tests.gates.export`` exports all of them."""
QUICK = {"mlp", "gcn", "vae"}
OPTIONS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "LSTM encoder of padded sources": ("seq2seq", "pairs", ("model.cell=lstm", "model.attention=additive")),
    "learned positions end": ("token_transformer", "index_lookup", ("model.layers=1", "model.positions=learned")),
    "noise of every step": ("diffusion", "clusters16", ("task.sampler=ddpm", "task.timesteps=8", "task.prediction=x0")),
    "guidance by class": ("diffusion", "clusters16", ("model.num_classes=16", "task.guidance=2.0", "task.steps=4")),
    "flow": ("diffusion", "clusters16", ("task=flow_matching", "task.sampler=heun", "task.steps=4")),
}
"""Model, data set and options of paths that the defaults of no model take in an export."""


@pytest.mark.parametrize("model", [pytest.param(m, marks=[pytest.mark.slow] * (m not in QUICK)) for m in MODELS])
def test_exported_model_equals_the_model(model: str, tmp_path: Path) -> None:
    formats = ("torch_export", "onnx") if model in ONNX_MODELS - QUICK else ("torch_export",)
    report = export_pair(make_export_pair(model, *SMALLER.get(model, ())), tmp_path, *formats)
    assert report["formats"].keys() == set(formats)
    for name in formats:
        assert report["formats"][name]["largest_difference"] <= 1e-4
        assert len(report["formats"][name]["cases"]) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIONS)
def test_exported_options_equal_the_model(name: str, tmp_path: Path) -> None:
    model, data, overrides = OPTIONS[name]
    report = export_pair(make_export_pair(model, *overrides, data=data), tmp_path, "torch_export")
    assert report["formats"]["torch_export"]["largest_difference"] <= 1e-4
