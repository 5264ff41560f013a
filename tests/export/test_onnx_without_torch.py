"""Exported ONNX files in a process that cannot import torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.exports import export_pair, make_export_pair, make_pair_exportable

SCRIPT = """
import sys
sys.modules["torch"] = sys.modules["trainer"] = None  # importing them fails
import numpy, onnxruntime
folder = sys.argv[1]
inputs = dict(numpy.load(f"{folder}/inputs.npz"))
session = onnxruntime.InferenceSession(f"{folder}/model.onnx")
(output,) = session.run(None, {value.name: inputs[value.name] for value in session.get_inputs()})
expected = numpy.load(f"{folder}/expected.npy")
assert output.shape == expected.shape, (output.shape, expected.shape)
print(abs(output - expected).max())
"""


@pytest.mark.slow
def test_onnx_needs_only_numpy_and_onnxruntime(tmp_path: Path) -> None:
    pair = make_export_pair("bilstm_tagger")
    export_pair(pair, tmp_path, "onnx")
    contents = json.loads((tmp_path / "preprocess.json").read_text())
    assert contents["program"] is None
    assert contents["reason"].startswith("the inputs of model.onnx are arrays: predict.py reads tables, ")
    assert not (tmp_path / "predict.py").exists()
    exportable = make_pair_exportable(pair)
    inputs = exportable.resize_batch(5)
    np.savez(tmp_path / "inputs.npz", **{name: value.numpy() for name, value in inputs.items()})
    np.save(tmp_path / "expected.npy", exportable.run(inputs).numpy())
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) <= 1e-4
